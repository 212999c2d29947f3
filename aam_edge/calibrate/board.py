"""Boards of known size, and finding their corners in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import UsageError
from aam_edge.intrinsics import Floats
from aam_edge.messages import Image

SEARCHED_SIDE = 960
"""A chessboard is looked for in a picture no larger, its corners are refined in the whole one."""
LEAST_CHARUCO = 8
"""Corners of a ChArUco board that make a view; fewer say little."""
REFINE = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 30, 0.001)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture's corners of the board."""

    name: str
    size: tuple[int, int]
    """(W, H) of the picture."""
    places: Floats
    """(n, 3), on the board, metres."""
    corners: Floats
    """(n, 2), in the picture, pixels."""


class Board(Protocol):
    """Something whose corners are known."""

    def find(self, image: Image, name: str) -> View | None:
        """The board in a picture (H, W, 3) BGR; None where it is not seen."""


@dataclass(frozen=True)
class Chessboard:
    """A plain chessboard, seen whole or not at all."""

    columns: int
    """Inner corners along a row."""
    rows: int
    square_m: float

    def find(self, image: Image, name: str) -> View | None:
        """All its corners, to a part of a pixel."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        shrunk = min(1.0, SEARCHED_SIDE / max(grey.shape))
        small = cv2.resize(grey, None, fx=shrunk, fy=shrunk, interpolation=cv2.INTER_AREA)
        flags = cv2.CALIB_CB_ADAPTIVE_THRESH + cv2.CALIB_CB_NORMALIZE_IMAGE
        flags += cv2.CALIB_CB_FAST_CHECK
        is_seen, found = cv2.findChessboardCorners(small, (self.columns, self.rows), flags=flags)
        if not is_seen:
            return None
        # (n, 1, 2) in OpenCV 4, (n, 2) in 5.
        corners = np.asarray((found.reshape(-1, 1, 2) + 0.5) / shrunk - 0.5, np.float32)
        side = max(2, min(11, round(_least_distance(corners[:, 0]) / 2.5)))
        refined = cv2.cornerSubPix(grey, corners, (side, side), (-1, -1), REFINE)
        places = grid(self.columns, self.rows) * self.square_m
        size = image.shape[1], image.shape[0]
        return View(name, size, places, refined.reshape(-1, 2).astype(np.float64))


@dataclass(frozen=True)
class Charuco:
    """A chessboard with ArUco markers in its white squares; a part of it is enough."""

    columns: int
    """Squares along a row."""
    rows: int
    square_m: float
    marker_m: float
    dictionary: str = "4X4_50"

    def check(self) -> None:
        """UsageError where there can be no such board."""
        assert self.board is not None

    @cached_property
    def board(self) -> Any:
        """OpenCV's own; UsageError where there can be no such board."""
        number = getattr(cv2.aruco, f"DICT_{self.dictionary.upper()}", None)
        if number is None:
            todo = "give one of OpenCV's, such as 4X4_50 or 6X6_250"
            raise UsageError("no such dictionary of markers", self.dictionary, todo)
        size = self.columns, self.rows
        if not 0 < self.marker_m < self.square_m:
            values = f"square {self.square_m}, marker {self.marker_m}"
            raise UsageError("marker does not fit its square", values, "give both in metres")
        dictionary = cv2.aruco.getPredefinedDictionary(number)
        return cv2.aruco.CharucoBoard(size, self.square_m, self.marker_m, dictionary)

    @cached_property
    def _detector(self) -> Any:
        return cv2.aruco.CharucoDetector(self.board)

    def find(self, image: Image, name: str) -> View | None:
        """The corners between markers that are seen."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        corners, ids, _, _ = self._detector.detectBoard(grey)
        if ids is None or len(ids) < LEAST_CHARUCO:
            return None
        places = np.asarray(self.board.getChessboardCorners(), np.float64)[ids.ravel()]
        if np.ptp(places[:, 0]) == 0 or np.ptp(places[:, 1]) == 0:
            return None  # a single row of corners fits any lens
        size = image.shape[1], image.shape[0]
        return View(name, size, places, corners.reshape(-1, 2).astype(np.float64))


def grid(columns: int, rows: int) -> Floats:
    """(columns * rows, 3): corners in OpenCV's order, a square apart, z = 0."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel(), np.zeros(columns * rows)], axis=1).astype(np.float64)


def _least_distance(corners: NDArray[np.float32]) -> float:
    """Between a corner and the next along the row, pixels: how wide the refinement may look."""
    return float(np.min(np.hypot(*np.diff(corners, axis=0).T)))
