"""Where a map's cells lie in the source picture (geometry: messages)."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        """Pixels of places in cells, both (n, 2) as x, y."""
        return (cells + 0.5) * self.pitch - 0.5

    def centres(self) -> tuple[Floats, Floats]:
        """Centres of the columns (w,) and of the rows (h,), pixels."""
        x = (np.arange(self.shape[1]) + 0.5) * self.pitch[0] - 0.5
        y = (np.arange(self.shape[0]) + 0.5) * self.pitch[1] - 0.5
        return np.asarray(x), np.asarray(y)
