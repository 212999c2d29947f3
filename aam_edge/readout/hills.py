"""The hills of a density: one maximum each, and the cells that lead up to it. Pure functions.

From each cell one climbs to the highest of the 8 neighbours until none is higher; all cells that
end on the same top are a hill. A hill whose pass to a higher one lies nearly as high as its own top
is ripple on that one and joins it; so do the cells of a plateau, whose passes are as high as they
are.

Everything here is in cells: x is a column, y a row, a cell's centre is a whole number.

A map is small and a frame has one each few milliseconds, so what counts is the number of calls into
numpy. tests/plain_readout.py has the plain form of this file, which gives the same hills.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Map

Floats = NDArray[np.float64]
Cells = NDArray[np.intp]

PASS_RATIO = 0.9
"""A pass at this part of the lower top or above joins two hills."""
LARGEST_LOG_RISE = float(np.log(2))
"""Bound of what the quadratic adds to a top: on a lone cell it knows nothing."""
_SQUARE = np.ones((3, 3), np.uint8)
_DERIVATIVES = np.array(
    [  # of the cells around a top, row by row
        [0, 0, 0, -0.5, 0, 0.5, 0, 0, 0],  # d/dx
        [0, -0.5, 0, 0, 0, 0, 0, 0.5, 0],  # d/dy
        [0, 0, 0, 1, -2, 1, 0, 0, 0],  # d2/dx2
        [0, 1, 0, 0, -2, 0, 0, 1, 0],  # d2/dy2
        [0.25, 0, -0.25, 0, 0, 0, -0.25, 0, 0.25],  # d2/dxdy
    ]
)
"""Central differences."""


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
    flat, cells = density.ravel(), _cells(density.size)
    to = _climb(density)
    tops = np.flatnonzero(to == cells)
    tops = tops[np.argsort(-flat[tops], kind="stable")]
    owner, heights = _owners(to, tops), flat[tops]
    parents = _join(density, owner, heights)
    kept = np.flatnonzero(parents == np.arange(len(tops)))
    owner = np.searchsorted(kept, parents).take(owner).reshape(height, width)
    rows, columns = np.divmod(_middles(heights, parents, kept, tops, width), width)
    return Hills(owner, rows, columns)


def _climb(density: Map) -> Cells:
    """(h w,): flat index of the highest neighbour of each cell, its own where none is higher."""
    width = density.shape[1]
    # A cell beyond the border is as high as one on it that comes first among equals.
    padded = _padded(density)
    across, highest = _highest(padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
    down, _ = _highest(highest[:-2], highest[1:-1], highest[2:])
    to = np.multiply(down.ravel(), width, dtype=np.intp)
    to += _cells(density.size)
    to += across[1:-1].ravel().take(to)
    return to


def _padded(density: Map) -> Map:
    """(h + 2, w + 2): the density, and around it once more the cells of its border."""
    return np.asarray(cv2.copyMakeBorder(density, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.float32)


def _highest(before: Map, here: Map, after: Map) -> tuple[NDArray[np.int8], Map]:
    """Which of three is the highest, as -1, 0, 1, and how high; of equals `here`, then `before`."""
    highest = np.maximum(before, here)
    is_after = after > highest
    is_before = (before > here) > is_after
    np.maximum(highest, after, out=highest)
    return is_after.view(np.int8) - is_before.view(np.int8), highest


def _owners(to: Cells, tops: Cells) -> Cells:
    """(h w,): number of the top that each cell leads to, step by step along `to`."""
    number = np.full(to.size, -1)
    number[tops] = np.arange(len(tops))
    while True:
        for _ in range(3):  # twice as far each time; in all it is mostly 5 or 6 times
            to = to.take(to)
        owner = number.take(to)
        if owner.min() >= 0:
            return owner


def _join(density: Map, owner: Cells, heights: Map) -> Cells:
    """(n,): the hill that each of n hills, numbered from the highest, becomes part of."""
    bars = PASS_RATIO * heights
    pairs, passes = _passes(density, owner, bars)
    # In rising order: where a hill has several, the last and highest stays, among equals the one
    # to the higher hill.
    order = np.lexsort((-np.minimum(*pairs), passes))
    pairs, passes = pairs.take(order, axis=1), passes.take(order)
    parents = np.arange(len(heights))
    while True:
        low, high = np.maximum(*pairs), np.minimum(*pairs)
        joins = np.flatnonzero((low != high) & (passes >= bars.take(low)))
        if not len(joins):
            return parents
        step = np.arange(len(heights))
        step[low.take(joins)] = high.take(joins)
        step = _follow(step)
        # What is no pass now is none to a higher hill either.
        pairs, passes = step.take(pairs.take(joins, axis=1)), passes.take(joins)
        parents = step.take(parents)


def _follow(to: Cells) -> Cells:
    """Where each chain of pointers ends."""
    while True:
        further = to.take(to)
        if (further == to).all():
            return to
        to = further


def _passes(density: Map, owner: Cells, bars: Map) -> tuple[Cells, Map]:
    """Neighbours in different hills, all that may join two: (2, m), the hills; (m,), their pass.

    Args:
        density: (h, w). owner: (h w,), number of each cell's hill.
        bars: (n,), how high a pass must be to join this hill to a higher one.
    """
    flat = density.ravel()
    # Both cells of a pass reach the lower hill's bar, so they reach the lowest one around them.
    lowest = cv2.erode(bars.take(owner).reshape(density.shape), _SQUARE)
    rim = np.flatnonzero(density >= lowest)
    there = _neighbours(*density.shape).take(rim, axis=1)  # (4, rim)
    one, other = owner.take(rim), owner.take(there)
    side, at = (one != other).nonzero()
    pairs = np.array([one.take(at), other[side, at]])
    passes = np.minimum(flat.take(rim.take(at)), flat.take(there[side, at]))
    return pairs, passes


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int) -> Cells:
    """(4, h w): flat indices of half of the neighbours of each cell, so that a pair is met once.

    A cell on the border has itself for those that are not there.
    """
    flat = np.arange(height * width).reshape(height, width)
    around = np.pad(flat, 1, constant_values=-1)
    half = around[1:-1, 2:], around[2:, 1:-1], around[2:, 2:], around[2:, :-2]
    there = np.stack(half).reshape(4, -1)
    return _fixed(np.where(there < 0, flat.ravel(), there))


@lru_cache(maxsize=8)
def _cells(count: int) -> Cells:
    """0, 1, 2 ... count - 1."""
    return _fixed(np.arange(count))


def _fixed(array: Cells) -> Cells:
    """The array, which nobody writes to from now on."""
    array.flags.writeable = False
    return array


def _middles(heights: Map, parents: Cells, kept: Cells, tops: Cells, width: int) -> Cells:
    """Flat indices of the kept tops, each moved to the middle cell of its plateau.

    Each cell of a plateau was a top for itself.
    """
    level = np.flatnonzero(heights == heights[parents])
    middles = tops[kept]
    if len(level) == len(kept):
        return middles
    owners = parents[level]
    for k in np.flatnonzero(np.bincount(owners) > 1):
        members = np.sort(tops[level[owners == k]])
        rows, columns = np.divmod(members, width)
        distances = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
        middles[kept == k] = members[distances.argmin()]
    return middles


def refine_tops(
    density: Map, rows: Cells, columns: Cells, inside: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Where between the cells tops lie, and how high: a quadratic through 3x3 log-densities.

    The vertex of g'd + d'Hd / 2, with g and H the central differences of the log-density: exact for
    a Gaussian. Beyond the border nothing is known, so a top on it stays on the cell's centre in
    that axis. `inside` is that of `is_inside`.

    Returns:
        (2, n), x and y in cells, within half a cell of the top's cell; (n,), density there.
    """
    gradient_and_hessian = _DERIVATIVES @ _log_around(density, rows, columns)
    g = gradient_and_hessian[:2] * inside
    # Strictly below 0, so that a flat axis gets no offset instead of 0 / 0.
    bend = np.minimum(gradient_and_hessian[2:4], -1e-9)
    cross, both = gradient_and_hessian[4], bend[0] * bend[1]
    # A cross term that makes nearly a ridge of a top is noise.
    cross *= inside[0] & inside[1] & (cross**2 <= 0.9 * both)
    offset = between((cross * g[::-1] - bend[::-1] * g) / (both - cross**2), -0.5, 0.5)
    log_rise = between((g * offset).sum(axis=0) / 2, 0, LARGEST_LOG_RISE)
    heights = np.asarray(density[rows, columns] * np.exp(log_rise), np.float64)
    offset[0] += columns
    offset[1] += rows
    return offset, heights


def is_inside(shape: tuple[int, ...], rows: Cells, columns: Cells) -> NDArray[np.bool_]:
    """(2, n): whether a cell has neighbours on both sides, along x and along y."""
    inside = np.empty((2, len(rows)), np.bool_)
    for axis, (at, count) in enumerate(((columns, shape[1]), (rows, shape[0]))):
        np.logical_and(at > 0, at < count - 1, out=inside[axis])
    return inside


def _log_around(density: Map, rows: Cells, columns: Cells) -> Floats:
    """(9, n): of a cell and its neighbours, row by row; the border's own go on beyond it."""
    padded = _padded(density)
    stride = padded.shape[1]
    near = padded.ravel().take(_around(stride) + (rows * stride + columns))
    return np.asarray(np.log(np.add(near, 1e-30, dtype=np.float64)))


@lru_cache(maxsize=8)
def _around(stride: int) -> Cells:
    """(9, 1): from a corner of 3x3 cells to each of them, row by row."""
    return _fixed(np.array([[i * stride + j] for i in range(3) for j in range(3)]))


def between(values: Floats, least: float, most: float) -> Floats:
    """The values within bounds; np.clip takes three times as long for so few."""
    return np.asarray(np.minimum(np.maximum(values, least), most))
