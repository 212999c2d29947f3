"""Small line charts as SVG, for a page that needs no other file."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 26, 22
COLOURS = ("#2563eb", "#d9480f", "#2b8a3e", "#9c36b5", "#0c8599", "#e8590c")
MOST_POINTS = 400
SMOOTH = 0.05
"""Part of a curve over which it is averaged."""


@dataclass(slots=True)
class Line:
    """One curve."""

    name: str
    points: list[tuple[float, float]]
    is_smooth: bool = True
    """Its running mean is drawn, and behind it what it is the mean of."""

    @staticmethod
    def of(name: str, rows: list[dict[str, Any]], key: str) -> Line:
        """Of log lines, over their steps."""
        return Line(name, [(row["steps"], row[key]) for row in rows])

    @property
    def finite(self) -> list[tuple[float, float]]:
        """Its points, thinned out to what can be seen."""
        points = [p for p in self.points if math.isfinite(p[1])]
        step = max(1, len(points) // MOST_POINTS)
        return points[::step]


def chart(title: str, lines: list[Line]) -> str:
    """A chart with axes, its extremes written out."""
    points = [point for line in lines for point in line.finite]
    if not points:
        return ""
    (x0, x1), (y0, y1) = (_range([p[axis] for p in points]) for axis in (0, 1))

    def place(x: float, y: float) -> str:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    drawn = [_grid(x0, x1, y0, y1), _text(LEFT, 15, title, "#1c2430", size=13)]
    for number, line in enumerate(lines):
        colour, raw = COLOURS[number % len(COLOURS)], line.finite
        if line.is_smooth and len(raw) > 20:
            drawn.append(_path([place(*p) for p in raw], colour, 0.25))
            raw = _smoothed(raw)
        drawn.append(_path([place(*p) for p in raw], colour, 1.0))
        if len(raw) < 20:
            drawn += [_dot(place(*p), colour) for p in raw]
        if len(lines) > 1:
            drawn.append(_text(LEFT + 8, TOP + 14 + 15 * number, line.name, colour))
    box = f"viewBox='0 0 {WIDTH} {HEIGHT}' role='img'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {box}>{''.join(drawn)}</svg>"


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    half = max(1, round(len(points) * SMOOTH))
    smooth = []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - half) : i + half + 1]]
        smooth.append((x, sum(near) / len(near)))
    return smooth


def _grid(x0: float, x1: float, y0: float, y1: float) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = "".join(
        f"<line x1='{LEFT}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e3e7ec'/>"
        for y in (TOP, (TOP + bottom) / 2, bottom)
    )
    middle = (TOP + bottom) / 2
    return lines + "".join(
        (
            _text(LEFT - 5, TOP + 4, f"{y1:.3g}", "#5b6675", anchor="end"),
            _text(LEFT - 5, middle + 4, f"{(y0 + y1) / 2:.3g}", "#5b6675", anchor="end"),
            _text(LEFT - 5, bottom + 4, f"{y0:.3g}", "#5b6675", anchor="end"),
            _text(LEFT, HEIGHT - 6, f"{x0:g}", "#5b6675"),
            _text(right, HEIGHT - 6, f"{x1:g} steps", "#5b6675", anchor="end"),
        )
    )


def _text(
    x: float, y: float, words: str, colour: str, anchor: str = "start", size: int = 11
) -> str:
    place = f"x='{x:.1f}' y='{y:.1f}' fill='{colour}' text-anchor='{anchor}' font-size='{size}'"
    return f"<text {place} font-family='system-ui, sans-serif'>{html.escape(words)}</text>"


def _path(places: list[str], colour: str, opacity: float) -> str:
    line = f"stroke='{colour}' stroke-opacity='{opacity}' stroke-width='1.6' fill='none'"
    return f"<polyline points='{' '.join(places)}' {line}/>"


def _dot(place: str, colour: str) -> str:
    x, _, y = place.partition(",")
    return f"<circle cx='{x}' cy='{y}' r='2.4' fill='{colour}'/>"
