"""What was measured, as text, as Markdown, as JSON, and a line a photo as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aam_edge.errors import SinkError
from aam_edge.training.measure.found import OF_PRESENCE, OF_THINGS, Figure
from aam_edge.training.measure.run import SetScores
from aam_edge.training.measure.scores import METRICS, intervals
from aam_edge.training.measure.search import SearchScores

SEARCH_COLUMNS = (*OF_THINGS, *OF_PRESENCE)
NAME_WIDTH, WIDTH = 36, 15


@dataclass(frozen=True, slots=True)
class Line:
    """One row: a set, who was scored on it, and all figures by name."""

    gaze_set: str
    n: int
    who: str
    figures: dict[str, Figure]


def gaze_lines(scores: SetScores, resamples: int) -> list[Line]:
    """A line for each who was scored."""
    found = []
    for who, rows in scores.rows.items():
        figures = intervals(np.array(rows), scores.stimuli, resamples)
        found.append(Line(scores.name, len(rows), who, dict(zip(METRICS, figures, strict=True))))
    return found


def prompt_lines(scores: SetScores, resamples: int) -> list[Line]:
    """The same for each of a few prompts alone; none where there is one, or one a photo."""
    prompts = sorted(set(scores.prompts))
    if not 1 < len(prompts) <= len(set(scores.stimuli)) // 2:
        return []
    found: list[Line] = []
    for prompt in prompts:
        here = [i for i, asked in enumerate(scores.prompts) if asked == prompt]
        part = SetScores(f"{scores.name}: {prompt}", scores.split)
        part.rows = {who: [rows[i] for i in here] for who, rows in scores.rows.items()}
        part.stimuli = [scores.stimuli[i] for i in here]
        found += gaze_lines(part, resamples)
    return found


def search_lines(scores: SearchScores) -> list[Line]:
    """A line for each who searched; n counts things."""
    return [
        Line(scores.name, len(tally.rows), who, tally.figures())
        for who, tally in scores.tallies.items()
    ]


def as_text(lines: Sequence[Line], columns: Sequence[str]) -> str:
    """Each set with its lines; below each figure its interval."""
    said = []
    for number, line in enumerate(lines):
        if not number or line.gaze_set != lines[number - 1].gaze_set:
            head = f"{line.gaze_set}, n {line.n}"
            said += ["" if number else None, head.ljust(NAME_WIDTH) + _cells(columns)]
        figures = [line.figures[name] for name in columns]
        said.append(f"  {line.who}".ljust(NAME_WIDTH) + _cells(_value(f) for f in figures))
        ends = _cells(_ends(f) for f in figures)
        said += [" " * NAME_WIDTH + ends] if ends.strip() else []
    return "\n".join(text.rstrip() for text in said if text is not None)


def as_markdown(lines: Sequence[Line], columns: Sequence[str]) -> str:
    """One table, intervals in brackets."""
    said = [_markdown_row(["set", "n", "", *columns]), "|---" * (3 + len(columns)) + "|"]
    for line in lines:
        cells = []
        for figure in (line.figures[name] for name in columns):
            ends = _ends(figure)
            cells.append(f"{_value(figure)} ({ends})" if ends else _value(figure))
        said.append(_markdown_row([line.gaze_set, str(line.n), line.who, *cells]))
    return "\n".join(said)


def as_record(lines: Iterable[Line]) -> dict[str, Any]:
    """Set, who and figure to value, low and high; null where nothing was measured."""
    record: dict[str, Any] = {}
    for line in lines:
        rows = record.setdefault(line.gaze_set, {"n": line.n, "rows": {}})["rows"]
        rows[line.who] = {
            name: None if math.isnan(f[0]) else [_rounded(v) for v in f]
            for name, f in line.figures.items()
        }
    return record


def write_photos(path: Path, measured: Sequence[SetScores]) -> None:
    """A line for each photo, or moment of a clip, and each who was scored on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["set", "split", "photo", "where", "prompt", "who", *METRICS])
            for scores in measured:
                table.writerows(_photo_rows(scores))
    except OSError as problem:
        what = f"result cannot be written, {problem.strerror}"
        raise SinkError(what, path, "choose another place") from problem


def _photo_rows(scores: SetScores) -> Iterable[list[str]]:
    for i, where in enumerate(scores.where):
        for who, rows in scores.rows.items():
            if not np.isnan(rows[i]).all():
                values = ["" if math.isnan(v) else f"{v:.6f}" for v in rows[i].tolist()]
                what = [scores.name, scores.split, scores.stimuli[i], where, scores.prompts[i]]
                yield [*what, who, *values]


def _cells(words: Iterable[str]) -> str:
    return "".join(word.rjust(WIDTH) for word in words)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(figure: Figure) -> str:
    return "-" if math.isnan(figure[0]) else f"{figure[0]:.3f}"


def _ends(figure: Figure) -> str:
    return "" if math.isnan(figure[1]) else f"{figure[1]:.3f}..{figure[2]:.3f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
