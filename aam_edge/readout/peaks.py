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

A whole search takes 0.44 ms on 48x64 cells, 0.50 ms on a very noisy map (one thread of a 2-core
server, the other core busy; numpy 2).

Points and widths are in source pixels; cells need not be square there. Cell geometry: messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aam_edge.messages import Map
from aam_edge.readout.grid import Grid
from aam_edge.readout.hills import Cells, Floats, find_hills, refine_tops

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
    mass = density[density > 0].astype(np.float64)
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
    stands_out = density[hills.rows, hills.columns] >= LEAST_RISE * density.mean()
    n = min(int(stands_out.sum()), MOST_CANDIDATES)
    if n == 0:
        return ()
    grid = Grid((density.shape[0], density.shape[1]), image)
    rows, columns = hills.rows[:n], hills.columns[:n]
    cells, heights = refine_tops(density, rows, columns)
    visible = visible_parts(grid, rows, columns)
    widths = core_widths(density, hills.owner, heights, visible, grid)
    sigmas = place_sigmas(widths, variance[rows, columns], grid)
    points = grid.points(cells)
    parents = merge(points, widths)
    # Cells of the hills that are not looked at count for nobody: their owner is n.
    owner = np.append(parents, n)[np.minimum(hills.owner, n)]
    scores = masses(density, owner, points, widths, grid)
    scores[parents != np.arange(n)] = -1
    best = [k for k in np.argsort(-scores, kind="stable") if scores[k] >= least_score][:most]
    found = np.column_stack([points, widths, sigmas, scores])[best]
    return tuple(Peak(*map(float, values)) for values in found)


def core_widths(density: Map, owner: Cells, heights: Floats, visible: Floats, grid: Grid) -> Floats:
    """(n,): width of the first n hills, pixels, between LEAST_WIDTH_CELLS and LARGEST_WIDTH.

    Args:
        density: (h, w).
        owner: (h, w), number of each cell's hill, which may be n or more.
        heights: (n,), density at each top.
        visible: (n,), part of each hill that lies in the picture.
        grid: where the cells lie in the picture.
    """
    n = len(heights)
    height = np.append(heights, np.inf)[np.minimum(owner, n)]
    core = np.clip(density / height, 0, 1) - CORE
    volumes = np.bincount(owner.ravel(), np.maximum(core, 0).ravel(), minlength=n)[:n]
    widths = grid.side_px * np.sqrt(volumes / (visible * CORE_VOLUME))
    least_px = LEAST_WIDTH_CELLS * grid.side_px
    return np.asarray(np.clip(widths, least_px, largest_px(grid)))


def largest_px(grid: Grid) -> float:
    """Bound of widths and sigmas, pixels."""
    return max(LARGEST_WIDTH * min(grid.image), LEAST_WIDTH_CELLS * grid.side_px)


def place_sigmas(widths: Floats, variances: Map, grid: Grid) -> Floats:
    """(n,): how well the place of a hill is known, pixels, from its width and P at its top."""
    sigmas = PLACE_SIGMA * widths * np.sqrt(variances, dtype=np.float64)
    return np.asarray(np.clip(sigmas, LEAST_SIGMA_CELLS * grid.side_px, largest_px(grid)))


def visible_parts(grid: Grid, rows: Cells, columns: Cells) -> Floats:
    """(n,): 1/2 for each border that a top lies on, which cuts half of its hill off."""
    on_end = (rows == 0) | (rows == grid.shape[0] - 1)
    on_side = (columns == 0) | (columns == grid.shape[1] - 1)
    return np.asarray(0.5 ** (on_end.astype(int) + on_side))


def merge(points: Floats, widths: Floats) -> Cells:
    """(n,): for each top, highest first, the one that it is part of (MERGE_WIDTHS), or itself."""
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    is_within = distances < MERGE_WIDTHS * widths[:, None]  # (higher, lower)
    parents = np.arange(len(points))
    for k in range(1, len(points)):
        over = [j for j in range(k) if parents[j] == j and is_within[j, k]]
        parents[k] = over[0] if over else k
    return parents


def masses(density: Map, owner: Cells, points: Floats, widths: Floats, grid: Grid) -> Floats:
    """(n,): mass of each hill's cells within SCORE_WIDTHS of its top; owner n is nobody."""
    x, y = grid.centres()
    own = np.vstack([np.column_stack([points, widths]), [0, 0, 0]])[owner]  # (h, w, 3)
    distance_px = np.hypot(x[None, :] - own[:, :, 0], y[:, None] - own[:, :, 1])
    # A cell that the edge of the disc cuts counts in part, so that scores do not jump.
    part = np.clip((SCORE_WIDTHS * own[:, :, 2] - distance_px) / grid.side_px + 0.5, 0, 1)
    mass = np.bincount(owner.ravel(), (density * part).ravel(), minlength=len(points) + 1)
    return np.asarray(np.minimum(mass[:-1], 1.0))
