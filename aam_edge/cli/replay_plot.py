"""The plot of `aam-edge replay`: how maps differ over time, and where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Attention, Image

if TYPE_CHECKING:
    from aam_edge.cli.replay_again import Pair

WIDTH, MARGIN, CHART = 960, 64, 150
INK, GRID, LINE = (40, 40, 40), (225, 225, 225), (190, 90, 20)
FONT = cv2.FONT_HERSHEY_SIMPLEX

Floats = NDArray[np.float64]
Curve = Sequence[tuple[float, float, float]]
"""Time (s), CC, shift (px)."""


def draw(curve: Curve, worst: Sequence[Pair]) -> Image:
    """Two charts over time, then the recorded and the new map of the pairs that differ most."""
    points = np.array(curve, np.float64)
    times, cc, shift = points.T
    least = min(0.9, float(cc.min()))
    furthest = max(1.0, float(np.nanmax(shift, initial=0.0)))
    parts = [
        chart(times, cc, (least, 1.0), "CC of the recorded and the new map"),
        chart(times, shift, (0.0, furthest), "distance of the best targets, pixels"),
        *(pictures(pair) for pair in worst),
    ]
    return np.concatenate(parts)


def chart(times: Floats, values: Floats, limits: tuple[float, float], title: str) -> Image:
    """A line over time; holes where values are NaN."""
    image = np.full((CHART + 2 * 28, WIDTH, 3), 255, np.uint8)
    low, high = limits
    begin_s = float(times[0])
    end_s = max(float(times[-1]), begin_s + 1e-3)

    def place(time_s: float, value: float) -> tuple[int, int]:
        x = MARGIN + (time_s - begin_s) / (end_s - begin_s) * (WIDTH - MARGIN - 20)
        return round(x), round(28 + (high - value) / (high - low) * CHART)

    for value in np.linspace(low, high, 3):
        left, y = place(begin_s, float(value))
        cv2.line(image, (left, y), (WIDTH - 20, y), GRID, 1)
        cv2.putText(image, f"{value:.4g}", (6, y + 5), FONT, 0.42, INK, 1, cv2.LINE_AA)
    cv2.putText(image, title, (MARGIN, 18), FONT, 0.5, INK, 1, cv2.LINE_AA)
    cv2.putText(image, f"{begin_s:.1f} s", (MARGIN, CHART + 48), FONT, 0.42, INK, 1, cv2.LINE_AA)
    cv2.putText(image, f"{end_s:.1f} s", (WIDTH - 70, CHART + 48), FONT, 0.42, INK, 1, cv2.LINE_AA)
    known = ~np.isnan(values)
    for start in range(len(values)):
        if not known[start]:
            continue
        here = place(times[start], values[start])
        is_joined = start + 1 < len(values) and known[start + 1]
        there = place(times[start + 1], values[start + 1]) if is_joined else here
        cv2.line(image, here, there, LINE, 2, cv2.LINE_AA)
    return image


def pictures(pair: Pair) -> Image:
    """The picture with the recorded map and with the new one, side by side."""
    side = WIDTH // 2
    halves = [
        half(pair.image, attention, f"{word}: {attention.prompt}", side)
        for word, attention in (("recorded", pair.then), ("now", pair.now))
    ]
    title = np.full((30, WIDTH, 3), 255, np.uint8)
    words = f"{pair.time_s:.2f} s: CC {pair.cc:.3f}, best target moved by {pair.shift_px:.0f} px"
    cv2.putText(title, words, (12, 21), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return np.concatenate([title, np.concatenate(halves, axis=1)])


def half(image: Image, attention: Attention, words: str, width: int) -> Image:
    """One picture with its map, its best target and a line of words."""
    height = round(image.shape[0] * width / image.shape[1])
    heat = attention.heatmap(image)
    small = np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if attention.targets:
        scale = width / image.shape[1]
        centre = round(attention.targets[0].x * scale), round(attention.targets[0].y * scale)
        cv2.circle(small, centre, 10, (255, 255, 255), 2, cv2.LINE_AA)
    small[height - 32 :] //= 3
    cv2.putText(small, words[:60], (10, height - 12), FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return small
