"""The places of a density that are worth a look: where, how well known, how wide, how much.

A hill's width s comes from its core, its part above a fraction c of the top: the volume of the
core in units of the top is 2 pi s^2 (1 - c + c ln c) for a Gaussian, and what belongs to another
hill or lies in the tails has no part in it. A second moment was tried first: on the shoulder of a
higher hill, or over a broad floor, it grew to a quarter of the picture, and such bumps became the
best targets.

How well its place is known (`place_sigmas`) follows from s and the variance P of log u's error.
Where that error has a correlation length L, a top with curvature 1 / s^2 moves by s^2 sqrt(P) / L
along each axis; errors are as smooth as the hill, and L = sqrt(2) s is exact for an error that
shifts it. The filter's P is K R after a correction with gain K, while an average of independent
errors with that gain has the variance K R / (2 - K), about half. So s sqrt(P) / 2 an axis; and
twice sigma is to hold 95 % of a round error, 2.45 of its standard deviations. Evidence raised to
beta makes log u's errors and the hill's curvature beta times as large, while L stays: what counts
is beta P, which `find_peaks` takes as the variance. tools/calibrate_sigma measures what comes out.

What a search costs, and what was tried: docs/decisions/0066-lean-readout.md.

Points and widths are in source pixels; cells need not be square there. Cell geometry: messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Map
from aam_edge.readout.grid import Grid
from aam_edge.readout.hills import Cells, Floats, between, find_hills, is_inside, refine_tops

LEAST_RISE = 1.5
"""A target's density is at least this multiple of the uniform one; below, one looks nowhere."""
CORE = 0.3
"""The core is what lies above this part of the top. Lower, tails and neighbours come in; higher, a
sigma under a cell is off by more than a tenth."""
CORE_VOLUME = 2 * math.pi * (1 - CORE + CORE * math.log(CORE))
"""Volume of the core of a Gaussian with sigma 1 and top 1."""
MERGE_WIDTHS = 1.5
"""A top nearer than this to a higher one, in the higher one's widths, is part of it."""
SCORE_WIDTHS = 2.0
"""A target's score is the mass within so many widths."""
MOST_CANDIDATES = 32
"""Hills looked at, highest first; a noisy map has hundreds."""
LEAST_WIDTH_CELLS = 0.5
"""The grid cannot tell less."""
LARGEST_WIDTH = 0.25
"""Largest width as a fraction of the shorter side: 2 widths each way then span the picture. The
same bounds a place that nobody knows."""
LEAST_SIGMA_CELLS = 0.1
"""Between cells a top is found to about this, whatever the variance."""
PLACE_SIGMA = math.sqrt(-2 * math.log(0.05)) / 2 / 2
"""Sigma of a place over s sqrt(P): half the radius that holds 95 %, times the 1/2 derived above."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A hill of a density, in source pixels."""

    x: float
    y: float
    width_px: float
    """Sigma of the round Gaussian with the same top and core."""
    sigma_px: float
    """How well the place is known: the truth lies within 2 sigma in about 95 % of frames."""
    score: float
    """Mass within 2 widths, 0..1."""


def entropy_bits(density: Map) -> float:
    """Shannon entropy, bits, 0 to log2(h w). Cells without mass add nothing."""
    mass = density.astype(np.float64).ravel()
    if mass.min() <= 0:
        mass = mass[mass > 0]
    return max(0.0, -float(mass @ np.log2(mass)))  # a point mass may round to just below 0


def find_peaks(
    density: Map,
    variance: Map,
    image: tuple[int, int],
    *,
    most: int = 8,
    least_score: float = 0.0,
) -> tuple[Peak, ...]:
    """The hills of a density that stand out, best score first.

    A uniform map has none: a top must reach LEAST_RISE times the uniform density. Tops that lie
    close together are one (MERGE_WIDTHS), and a cell's mass counts for its own hill only, so all
    scores together are at most 1.

    Args:
        density: (h, w), float32, >= 0, sums to 1.
        variance: (h, w), beta P: of the log-density's error, see above.
        image: (W, H) of the source picture, pixels.
        most: peaks returned at most.
        least_score: peaks with less mass within 2 widths are left out.
    """
    hills = find_hills(density)
    least_top = LEAST_RISE * float(density.sum()) / density.size
    stands_out = density[hills.rows, hills.columns] >= least_top
    n = min(int(np.count_nonzero(stands_out)), MOST_CANDIDATES)
    if n == 0:
        return ()
    grid = Grid((density.shape[0], density.shape[1]), image)
    rows, columns = hills.rows[:n], hills.columns[:n]
    inside = is_inside(density.shape, rows, columns)
    cells, heights = refine_tops(density, rows, columns, inside)
    # Cells of the hills that are not looked at count for nobody: their owner is n.
    owner = np.minimum(hills.owner.ravel(), n)
    widths = core_widths(density, owner, heights, visible_parts(inside), grid)
    sigmas = place_sigmas(widths, variance[rows, columns], grid)
    points = grid.points(cells)
    parents = merge(points, widths)
    owner = parents.take(owner)
    scores = masses(density, owner, points, widths, grid)
    scores[parents[:n] != np.arange(n)] = -1
    best = np.argsort(-scores, kind="stable")[:most]
    best = best[scores[best] >= least_score]
    found = np.array([*points, widths, sigmas, scores])[:, best]
    return tuple(Peak(*values) for values in found.T.tolist())


def core_widths(density: Map, owner: Cells, heights: Floats, visible: Floats, grid: Grid) -> Floats:
    """(n,): width of the first n hills, pixels, between LEAST_WIDTH_CELLS and LARGEST_WIDTH.

    Args:
        density: (h, w).
        owner: (h w,), number of each cell's hill; n is nobody.
        heights: (n,), density at each top, at least that of every cell of its hill.
        visible: (n,), part of each hill that lies in the picture.
        grid: where the cells lie in the picture.
    """
    n = len(heights)
    tops = np.full(n + 1, np.inf)
    tops[:n] = heights
    core = density.ravel() / tops.take(owner)
    core -= CORE
    np.maximum(core, 0, out=core)
    volumes = np.bincount(owner, core, minlength=n)[:n]
    widths = grid.side_px * np.sqrt(volumes / (visible * CORE_VOLUME))
    return between(widths, LEAST_WIDTH_CELLS * grid.side_px, largest_px(grid))


def largest_px(grid: Grid) -> float:
    """Bound of widths and sigmas, pixels."""
    return max(LARGEST_WIDTH * min(grid.image), LEAST_WIDTH_CELLS * grid.side_px)


def place_sigmas(widths: Floats, variances: Map, grid: Grid) -> Floats:
    """(n,): how well the place of a hill is known, pixels, from its width and P at its top."""
    sigmas = PLACE_SIGMA * widths * np.sqrt(variances, dtype=np.float64)
    return between(sigmas, LEAST_SIGMA_CELLS * grid.side_px, largest_px(grid))


def visible_parts(inside: NDArray[np.bool_]) -> Floats:
    """(n,): 1/2 for each border that a top lies on, which cuts half of its hill off."""
    return np.asarray((1 + inside[0]) * (1 + inside[1]) / 4)


def merge(points: Floats, widths: Floats) -> Cells:
    """(n + 1,): for each top, highest first, the one that it is part of (MERGE_WIDTHS), or itself.

    The last is n, nobody.
    """
    x, y = points
    distances = np.hypot(np.subtract.outer(x, x), np.subtract.outer(y, y))
    is_within = (distances < MERGE_WIDTHS * widths[:, None]).tolist()  # [higher][lower]
    parents = list(range(len(widths) + 1))
    tops: list[int] = []
    for k in range(len(widths)):
        parents[k] = next((j for j in tops if is_within[j][k]), k)
        if parents[k] == k:
            tops.append(k)
    return np.array(parents)


def masses(density: Map, owner: Cells, points: Floats, widths: Floats, grid: Grid) -> Floats:
    """(n,): mass of each hill's cells within SCORE_WIDTHS of its top; owner n is nobody.

    Args:
        density: (h, w).
        owner: (h w,), number of each cell's hill.
        points: (2, n), x and y of the tops, pixels.
        widths: (n,), pixels.
        grid: where the cells lie in the picture.
    """
    n, side_px = len(widths), grid.side_px
    x, y = grid.centres()
    # In sides of a cell, one row for each of: x, y and reach of a hill. Nobody reaches nothing.
    own = np.zeros((3, n + 1))
    own[:2, :n] = points / side_px
    own[2, :n] = SCORE_WIDTHS * widths / side_px
    own_x, own_y, reach = own.take(owner, axis=1).reshape(3, *density.shape)
    np.subtract(x / side_px, own_x, out=own_x)
    np.subtract((y / side_px)[:, None], own_y, out=own_y)
    own_x *= own_x
    own_y *= own_y
    own_x += own_y
    reach -= np.sqrt(own_x, out=own_x)
    # A cell that the edge of the disc cuts counts in part, so that scores do not jump.
    reach += 0.5
    part = np.minimum(np.maximum(reach, 0, out=reach), 1, out=reach)
    part *= density
    mass = np.bincount(owner, part.ravel(), minlength=n + 1)
    return np.asarray(np.minimum(mass[:-1], 1.0))
