"""Which pictures of a board are worth keeping.

Every picture of a folder was taken on purpose; of a video or a live camera a view is kept if the
board held still and stands otherwise than in all that are kept: elsewhere, nearer, or more tilted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aam_edge.calibrate.board import View
from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats

STILL_PART = 0.006
"""Of the picture's diagonal that a corner of a still board may move between two pictures."""
NEW_DISTANCE = 0.12
"""Between two poses (see `pose_of`); a board that moved by this part of the picture is new."""
COVERAGE_CELLS = (10, 8)
"""Columns and rows of the picture in which corners are counted."""


@dataclass
class Gatherer:
    """Keeps views; `takes_all` for pictures that were taken on purpose."""

    takes_all: bool
    views: list[View] = field(default_factory=list)
    pictures: int = 0
    other_size: int = 0
    """Pictures left out because they are not of the first one's size."""
    _size: tuple[int, int] | None = None
    _last: View | None = None

    def offer(self, size: tuple[int, int], view: View | None) -> bool:
        """Whether the view of a picture of (W, H) was kept; None is a picture without a board."""
        self.pictures += 1
        self._size = self._size or size
        if size != self._size:
            self.other_size += 1
            return False
        last, self._last = self._last, view
        if view is None:
            return False
        if not self.takes_all and not (last and is_still(last, view) and self._is_new(view)):
            return False
        self.views.append(view)
        return True

    def coverage(self) -> Floats:
        """(rows, columns): corners seen in each part of the picture."""
        counts = np.zeros(COVERAGE_CELLS[::-1])
        for view in self.views:
            cells = (view.corners + 0.5) / view.size * COVERAGE_CELLS
            columns, rows = np.clip(cells, 0, np.array(COVERAGE_CELLS) - 1).astype(int).T
            np.add.at(counts, (rows, columns), 1)
        return counts

    def covered_part(self) -> float:
        """Part of the picture in which corners were seen, 0..1."""
        return float((self.coverage() > 0).mean())

    def _is_new(self, view: View) -> bool:
        poses = [pose_of(kept) for kept in self.views]
        return all(np.abs(pose_of(view) - pose).max() > NEW_DISTANCE for pose in poses)


def check_found(gatherer: Gatherer, source: str, board: str, least: int) -> None:
    """DataError where there are too few views to calibrate with."""
    counts = f"{source}: {gatherer.pictures} pictures, {board}"
    if not gatherer.pictures:
        raise DataError("no picture came", source, "check the source")
    if gatherer.other_size and len(gatherer.views) < least:
        values = f"{source}: {gatherer.other_size} of {gatherer.pictures}"
        raise DataError("pictures are of several sizes", values, "give pictures of one size")
    if not gatherer.views:
        todo = "give its inner corners as columns x rows, show it whole, flat and well lit"
        raise DataError("board was never seen", counts, todo)
    if len(gatherer.views) < least:
        todo = f"show it in at least {least} ways: near and far, tilted, in all corners"
        raise DataError(f"board was seen in {len(gatherer.views)} ways only", counts, todo)


def is_still(before: View, view: View) -> bool:
    """Whether the board's corners hardly moved between two pictures in a row."""
    shared = _shared(before, view)
    if not len(shared[0]):
        return False
    moved = np.hypot(*(shared[1] - shared[0]).T).max()
    return bool(moved < STILL_PART * np.hypot(*view.size))


def pose_of(view: View) -> Floats:
    """(5,): x, y, size of the board in parts of the picture, and its tilts as aspect and shear."""
    low, high = view.corners.min(axis=0), view.corners.max(axis=0)
    middle = (low + high) / 2 / view.size
    size = np.sqrt(np.prod((high - low) / view.size))
    # The affine map from the board to the picture, without scale: a tilted board is squeezed.
    centred = view.corners - view.corners.mean(axis=0)
    places = view.places[:, :2] - view.places[:, :2].mean(axis=0)
    affine = np.linalg.lstsq(places, centred, rcond=None)[0]
    stretched = affine / np.sqrt(abs(np.linalg.det(affine)) + 1e-9)
    gram = stretched @ stretched.T
    return np.array([*middle, size, (gram[0, 0] - gram[1, 1]) / 4, gram[0, 1] / 2])


def _shared(before: View, view: View) -> tuple[Floats, Floats]:
    """Pixels (n, 2) of the corners that both views have."""
    known = {
        tuple(place): corner for place, corner in zip(before.places, before.corners, strict=True)
    }
    pairs = [
        (known[tuple(place)], corner)
        for place, corner in zip(view.places, view.corners, strict=True)
        if tuple(place) in known
    ]
    both = np.array(pairs).reshape(-1, 2, 2)
    return both[:, 0], both[:, 1]
