"""The hills of a density: one maximum each, and the cells that lead up to it. Pure functions.

From each cell one climbs to the highest of the 8 neighbours until none is higher; all cells that
end on the same top are a hill. A hill whose pass to a higher one lies nearly as high as its own top
is ripple on that one and joins it; so do the cells of a plateau, whose passes are as high as they
are.

Everything here is in cells: x is a column, y a row, a cell's centre is a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Map

Floats = NDArray[np.float64]
Cells = NDArray[np.intp]

PASS_RATIO = 0.9
"""A pass at this part of the lower top or above joins two hills."""
LARGEST_LOG_RISE = float(np.log(2))
"""Bound of what the quadratic adds to a top: on a lone cell it knows nothing."""
_STEPS = np.array([-1, 0, 1])


@dataclass(frozen=True, slots=True, eq=False)
class Hills:
    """The hills of one density, highest first."""

    owner: Cells
    """(h, w), number of each cell's hill."""
    rows: Cells
    """(n,), of the top's cell; the middle one of a plateau."""
    columns: Cells
    """(n,)"""


def find_hills(density: Map) -> Hills:
    """Splits a density (h, w) into its hills; a uniform one is a single hill."""
    height, width = density.shape
    top_of = _climb(density)
    tops = np.flatnonzero(top_of == np.arange(top_of.size))
    tops = tops[np.argsort(-density.ravel()[tops], kind="stable")]
    number = np.empty(top_of.size, np.intp)
    number[tops] = np.arange(len(tops))
    owner = number[top_of].reshape(height, width)
    parents = _join(density, owner, density.ravel()[tops])
    is_kept = parents == np.arange(len(tops))
    owner = (np.cumsum(is_kept) - 1)[parents][owner]
    rows, columns = np.divmod(_middles(density, owner, tops[is_kept]), width)
    return Hills(owner, rows, columns)


def _climb(density: Map) -> Cells:
    """(h w,): flat index of the top that each cell leads to; no neighbour overtops a top."""
    height, width = density.shape
    padded = np.full((height + 2, width + 2), -1, np.float32)
    padded[1:-1, 1:-1] = density
    # The cell itself comes first, so that argmax stays on it among equals.
    steps = [(i, j) for i in (0, -1, 1) for j in (0, -1, 1)]
    near = np.stack([padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in steps])
    along = np.array([i * width + j for i, j in steps])
    to = np.arange(density.size) + along[near.argmax(axis=0)].ravel()
    return _follow(to)


def _join(density: Map, owner: Cells, heights: Map) -> Cells:
    """(n,): the hill that each of n hills, numbered from the highest, becomes part of."""
    one, other, passes = _borders(density, owner)
    # Of all borders few are passes, and what is none now is none to a higher hill either.
    is_pass = passes >= PASS_RATIO * heights[np.maximum(one, other)]
    one, other, passes = one[is_pass], other[is_pass], passes[is_pass]
    order = np.argsort(passes)
    one, other, passes = one[order], other[order], passes[order]
    parents = np.arange(len(heights))
    while True:
        low, high = np.maximum(one, other), np.minimum(one, other)
        joins = (low != high) & (passes >= PASS_RATIO * heights[low])
        if not joins.any():
            return parents
        # In rising order of the passes: of several, the last and highest stays.
        step = np.arange(len(heights))
        step[low[joins]] = high[joins]
        step = _follow(step)
        parents, one, other = step[parents], step[one], step[other]


def _follow(to: Cells) -> Cells:
    """Where each chain of pointers ends."""
    while True:
        further = to[to]  # twice as far each time
        if np.array_equal(further, to):
            return to
        to = further


def _borders(density: Map, owner: Cells) -> tuple[Cells, Cells, Map]:
    """Pairs of neighbours in different hills: the two hills, and the lower density, its pass."""
    here, there = _neighbours(*owner.shape)
    one, other = owner.ravel()[here], owner.ravel()[there]
    is_border = one != other
    lower = np.minimum(density.ravel()[here[is_border]], density.ravel()[there[is_border]])
    return one[is_border], other[is_border], lower


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int) -> tuple[Cells, Cells]:
    """Flat indices of all pairs of neighbours, each pair once."""
    flat = np.arange(height * width).reshape(height, width)
    pairs = (
        (flat[:, 1:], flat[:, :-1]),
        (flat[1:], flat[:-1]),
        (flat[1:, 1:], flat[:-1, :-1]),
        (flat[1:, :-1], flat[:-1, 1:]),
    )
    here = np.concatenate([a.ravel() for a, _ in pairs])
    there = np.concatenate([b.ravel() for _, b in pairs])
    return here, there


def _middles(density: Map, owner: Cells, tops: Cells) -> Cells:
    """Flat indices of the tops, each moved to the middle cell of its plateau."""
    flat, owners = density.ravel(), owner.ravel()
    level = np.flatnonzero(flat == flat[tops][owners])
    if len(level) == len(tops):
        return tops
    tops = tops.copy()
    for k in np.flatnonzero(np.bincount(owners[level]) > 1):
        members = level[owners[level] == k]
        rows, columns = np.divmod(members, density.shape[1])
        distances = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
        tops[k] = members[distances.argmin()]
    return tops


def refine_tops(density: Map, rows: Cells, columns: Cells) -> tuple[Floats, Floats]:
    """Where between the cells tops lie, and how high: a quadratic through 3x3 log-densities.

    The vertex of g'd + d'Hd / 2, with g and H the central differences of the log-density: exact for
    a Gaussian. Beyond the border nothing is known, so a top on it stays on the cell's centre in
    that axis.

    Returns:
        (n, 2), x and y in cells, within half a cell of the top's cell; (n,), density there.
    """
    height, width = density.shape
    near_rows = np.clip(rows[:, None] + _STEPS, 0, height - 1)[:, :, None]
    near_columns = np.clip(columns[:, None] + _STEPS, 0, width - 1)[:, None, :]
    near = np.log(density[near_rows, near_columns].astype(np.float64) + 1e-30)  # (n, 3, 3)
    on_side = (columns == 0) | (columns == width - 1)
    on_end = (rows == 0) | (rows == height - 1)
    gx = np.where(on_side, 0.0, (near[:, 1, 2] - near[:, 1, 0]) / 2)
    gy = np.where(on_end, 0.0, (near[:, 2, 1] - near[:, 0, 1]) / 2)
    # Strictly below 0, so that a flat axis gets no offset instead of 0 / 0.
    hxx = np.minimum(near[:, 1, 2] - 2 * near[:, 1, 1] + near[:, 1, 0], -1e-9)
    hyy = np.minimum(near[:, 2, 1] - 2 * near[:, 1, 1] + near[:, 0, 1], -1e-9)
    hxy = (near[:, 0, 0] + near[:, 2, 2] - near[:, 0, 2] - near[:, 2, 0]) / 4
    # A cross term that makes nearly a ridge of a top is noise.
    hxy[on_side | on_end | (hxy**2 > 0.9 * hxx * hyy)] = 0.0
    determinant = hxx * hyy - hxy**2
    x = np.clip((hxy * gy - hyy * gx) / determinant, -0.5, 0.5)
    y = np.clip((hxy * gx - hxx * gy) / determinant, -0.5, 0.5)
    log_rise = np.clip((gx * x + gy * y) / 2, 0, LARGEST_LOG_RISE)
    heights = density[rows, columns] * np.exp(log_rise)
    return np.stack([columns + x, rows + y], axis=1), heights
