"""Where a map's cells lie in the source picture (geometry: messages)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aam_edge.readout.hills import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells of a map (h, w) over a picture (W, H), which need not be square."""

    shape: tuple[int, int]
    """(h, w)."""
    image: tuple[int, int]
    """(W, H), pixels."""

    @property
    def pitch(self) -> tuple[float, float]:
        """Width and height of a cell, pixels."""
        return self.image[0] / self.shape[1], self.image[1] / self.shape[0]

    @property
    def side_px(self) -> float:
        """Side of a square as large as a cell."""
        return math.sqrt(self.pitch[0] * self.pitch[1])

    def points(self, cells: Floats) -> Floats:
        """Pixels of places in cells, both (2, n) as x, y."""
        return np.asarray((cells + 0.5) * np.array([self.pitch]).T - 0.5)

    def centres(self) -> tuple[Floats, Floats]:
        """Centres of the columns (w,) and of the rows (h,), pixels."""
        return centres_of(self.shape, self.image)


@lru_cache(maxsize=8)
def centres_of(shape: tuple[int, int], image: tuple[int, int]) -> tuple[Floats, Floats]:
    """What `Grid.centres` gives; nobody writes to it."""
    across, down = Grid(shape, image).pitch
    x = np.asarray((np.arange(shape[1]) + 0.5) * across - 0.5, np.float64)
    y = np.asarray((np.arange(shape[0]) + 0.5) * down - 0.5, np.float64)
    x.flags.writeable = y.flags.writeable = False
    return x, y
