"""What a turn of the camera does to its picture, as a homography.

A pinhole without distortion gives K R K^-1 exactly. A bent lens gives no homography at all; then
it is the one that comes nearest over a grid of points, those that leave the picture left out.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from aam_edge.ego.picture_motion import checked, normalised
from aam_edge.intrinsics import Floats, Intrinsics

COLUMNS, ROWS = 9, 7
LEAST_POINTS = 12
BEYOND = 0.5
"""Points may lie so far outside the picture, in parts of it, and still count."""


class TurnedPicture:
    """One lens, its rays looked up once."""

    def __init__(self, lens: Intrinsics) -> None:
        self._lens = lens
        width, height = lens.size
        x = np.linspace(-0.5, width - 0.5, COLUMNS)
        y = np.linspace(-0.5, height - 0.5, ROWS)
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        rays = lens.rays(points)
        is_seen = np.isfinite(rays).all(axis=1)
        self._points, self._rays = points[is_seen], rays[is_seen]

    def homography(self, turn: Floats) -> Floats | None:
        """(3, 3) in -1..1 over the picture, None where little of the picture stays in view.

        Args:
            turn: (3, 3), takes directions of the optical frame then to those now.
        """
        there = self._lens.pixels(self._rays @ turn.T)
        size = np.array(self._lens.size)
        with np.errstate(invalid="ignore"):
            is_near = (np.abs(there - (size - 1) / 2) < (0.5 + BEYOND) * size).all(axis=1)
        if is_near.sum() < LEAST_POINTS:
            return None
        found: Any
        found, _ = cv2.findHomography(self._points[is_near], there[is_near], 0)
        if found is None:
            return None
        return checked(normalised(np.asarray(found, np.float64), self._lens.size))
