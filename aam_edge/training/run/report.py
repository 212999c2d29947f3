"""`report.html`: one page that needs no other file and tells how a run went."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aam_edge
from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.run.drawn_photos import draw_item
from aam_edge.training.run.settings import RunConfig, as_plain
from aam_edge.training.run.svg import Line, chart
from aam_edge.training.run.validate import Observer, Score, Validation

NAME = "report.html"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1080px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.facts { color: #5b6675; margin: .2rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #e3e7ec; }
td:first-child, th:first-child { text-align: left; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1rem; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; border-radius: 4px; display: block; }
figcaption { font-size: 13px; color: #5b6675; } svg { width: 100%; height: auto; }
pre { background: #f5f7f9; padding: .8rem; overflow: auto; font-size: 12.5px; border-radius: 4px; }
"""


@dataclass(slots=True)
class Report:
    """What goes into the page."""

    config: RunConfig
    lines: list[dict[str, Any]]
    """Of the log."""
    validation: Validation | None
    """The last one."""
    held: dict[str, list[Item]]
    observer: Observer
    skipped: str

    def write(self, out: Path) -> Path:
        """Writes the page; returns its path."""
        path = out / NAME
        try:
            path.write_text(self.page())
        except OSError as problem:
            raise DataError("report cannot be written", path, "make room") from problem
        return path

    def page(self) -> str:
        """The whole page."""
        steps = [line for line in self.lines if "loss" in line]
        sections = [
            self._head(steps),
            _section("Scores on people and photos that it has not learned from", self._table()),
            _section("Curves", f"<div class='charts'>{''.join(self._charts(steps))}</div>"),
            *self._photos(),
            _section("Settings", f"<pre>{html.escape(_yaml(as_plain(self.config)))}</pre>"),
        ]
        title = html.escape(self.config.out)
        return (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
            f"<style>{STYLE}</style><body>{''.join(sections)}</body></html>\n"
        )

    def _head(self, steps: list[dict[str, Any]]) -> str:
        speed = _median([step["pictures_per_s"] for step in steps])
        when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        facts = (
            f"{self.config.model.size}, begun with {self.config.start}; {len(steps)} steps in "
            f"{self.config.epochs} epochs; median {speed:.1f} images/s"
        )
        version = f"aam-edge {aam_edge.__version__}, {when}"
        data = f"data: {', '.join(self.config.data.sets) or self.config.data.photos}; left out: "
        rows = (facts, f"{data}{self.skipped}", version)
        told = "".join(f"<p class='facts'>{html.escape(row)}</p>" for row in rows)
        return f"<h1>{html.escape(self.config.out)}</h1>{told}"

    def _table(self) -> str:
        if self.validation is None or not self.validation.table():
            return "<p>There was no validation (data.val=none, or a set without photos).</p>"
        table = self.validation.table()
        metrics = list(dict.fromkeys(metric for row in table.values() for metric in row))
        head = "".join(f"<th>{html.escape(m)}</th>" for m in ("set", *metrics))
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td>"
            + "".join(f"<td>{_figure(row.get(metric))}</td>" for metric in metrics)
            + "</tr>"
            for name, row in table.items()
        )
        return f"<table><tr>{head}</tr>{rows}</table>"

    def _charts(self, steps: list[dict[str, Any]]) -> Iterable[str]:
        if not steps:
            return
        # Steps of photos and of clips have other losses: each its own line.
        kinds = {
            "photos": [s for s in steps if "clips" not in s["parts"]],
            "clips": [s for s in steps if "clips" in s["parts"]],
        }
        yield chart("loss", [Line.of(k, rows, "loss") for k, rows in kinds.items() if rows])
        for part in dict.fromkeys(name for step in steps for name in step["parts"]):
            if part != "clips":
                points = [(s["steps"], s["parts"][part]) for s in steps if part in s["parts"]]
                if any(value for _, value in points):  # nothing taught it: nothing to see
                    yield chart(f"loss: {part}", [Line(part, points)])
        yield from self._score_charts()
        yield chart("images/s", [Line.of("images/s", steps, "pictures_per_s")])

    def _score_charts(self) -> Iterable[str]:
        scored = [line for line in self.lines if "val" in line]
        sets = dict.fromkeys(name for line in scored for name in line["val"])
        for metric in ("CC", "KLD", "NSS", "peak"):
            curves = []
            for name in sets:
                points = [
                    (line["steps"], line["val"][name][metric])
                    for line in scored
                    if metric in line["val"].get(name, {})
                ]
                if points:
                    curves.append(Line(name, points, is_smooth=False))
            if curves:
                yield chart(f"validation: {metric}", curves)

    def _photos(self) -> Iterable[str]:
        """The best and the worst by CC."""
        if self.validation is None:
            return
        ranked = sorted(self.validation.scores, key=lambda score: -score.scores["CC"])
        half = -(-len(ranked) // 2)
        best, worst = ranked[:half], ranked[half:][::-1]
        for title, scores in (("Worst", worst), ("Best", best)):
            figures = "".join(self._photo(score) for score in scores[: self.config.report.photos])
            if figures:
                note = "left: where people looked, right: where the network looks"
                yield _section(
                    f"{title} photos",
                    f"<p class='facts'>{note}</p><div class='photos'>{figures}</div>",
                )

    def _photo(self, score: Score) -> str:
        item = self.held[score.gaze_set][score.place]
        try:
            picture = draw_item(item, self.observer)
        except DataError:
            return ""
        told = " ".join(f"{name} {value:.2f}" for name, value in score.scores.items())
        words = html.escape(f"{score.gaze_set}, {score.name}: {told}")
        return f"<figure><img alt='' src='{picture}'><figcaption>{words}</figcaption></figure>"


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{content}"


def _figure(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:g}"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _yaml(tree: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _yaml(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return "\n".join(lines)
