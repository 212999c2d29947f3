"""Photos named in a CSV: SALICON, MIT1003, CAT2000, OSIE, FIGRIM, U-EYE, FiWI, SalECI."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment
from aam_edge.training.corpus.layouts import GazeSet, PhotoList
from aam_edge.training.corpus.skipped import Skipped

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def read_photos(
    gaze_set: GazeSet, layout: PhotoList, root: Path, split: str, skipped: Skipped
) -> Iterator[Item]:
    """One item a line of the list; a photo without its map is skipped."""
    word = gaze_set.word_of(split)
    table, stimuli, maps = (
        root / part.format(split=word) for part in (layout.table, layout.stimuli, layout.maps)
    )
    drawn = root / layout.fixations.format(split=word) if layout.fixations else None
    columns = 2 if drawn is None else 3
    return (
        Item(
            gaze_set.name, name, split, gaze_set.kind, gaze_set.prompt, (moment,),
            condition=gaze_set.condition,
        )
        for line in read_lines(table, columns, skipped)
        for name, moment in _moment(line, stimuli, maps, drawn, skipped)
    )  # fmt: skip


def read_lines(table: Path, columns: int, skipped: Skipped) -> list[list[str]]:
    """The lines of a CSV below its headings, if it has any; a short line is skipped."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        lines = [line for line in csv.reader(text.splitlines()) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        todo = f"check the split's list ({problem.__class__.__name__})"
        raise DataError("list cannot be read", table, todo) from problem
    if lines and Path(lines[0][0].strip()).suffix.lower() not in PICTURES:
        del lines[0]
    for line in lines:
        if len(line) < columns:
            skipped.add(f"{table}: {','.join(line)}", "line is too short")
    return [line for line in lines if len(line) >= columns]


def _moment(
    line: list[str], stimuli: Path, maps: Path, drawn: Path | None, skipped: Skipped
) -> Iterator[tuple[str, Moment]]:
    """Name and moment of a line; nothing where stimulus or map is missing."""
    stimulus, saliency_map = find(stimuli, line[0]), find(maps, line[1])
    for path in (stimulus, saliency_map):
        if not path.is_file():
            skipped.add(path, "file is missing")
            return
    fixations = None if drawn is None else find(drawn, line[2])
    if fixations is not None and not fixations.is_file():
        skipped.add(fixations, "fixation map is missing, the density is kept")
        fixations = None
    name = stimulus.relative_to(stimuli).with_suffix("").as_posix()
    yield name, Moment(stimulus, saliency_map, fixations)


def find(folder: Path, entry: str) -> Path:
    r"""The file of a list's entry: `/a.jpg`, `Action\a.jpg`, `a`, or with another ending."""
    path = folder / entry.strip().replace("\\", "/").lstrip("/")
    if path.is_file():
        return path
    stem = path.with_suffix("") if path.suffix.lower() in PICTURES else path
    others = (stem.with_name(stem.name + suffix) for suffix in PICTURES)
    return next((other for other in others if other.is_file()), path)
