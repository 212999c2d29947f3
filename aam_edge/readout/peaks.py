"""The places of a density that are worth a look: where, how wide, how much. Pure functions.

Sigma comes from the core of a hill, its part above a fraction c of the top: the volume of the core
in units of the top is 2 pi sigma^2 (1 - c + c ln c) for a Gaussian, and what belongs to another
hill or lies in the tails has no part in it. A second moment was tried first: on the shoulder of a
higher hill, or over a broad floor, it grew to a quarter of the picture, and such bumps became the
best targets.

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
MERGE_SIGMAS = 1.5
"""A top nearer than this to a higher one, in the higher one's sigmas, is part of it."""
SCORE_SIGMAS = 2.0
"""A target's score is the mass within so many sigmas."""
MOST_CANDIDATES = 32
"""Hills looked at, highest first; a noisy map has hundreds."""
LEAST_SIGMA_CELLS = 0.5
"""The grid cannot tell less."""
LARGEST_SIGMA = 0.25
"""Largest sigma as a fraction of the shorter side: 2 sigma each way then span the picture."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A hill of a density, in source pixels."""

    x: float
    y: float
    sigma_px: float
    """Of the round Gaussian with the same top and core. First form: the variance of the network's
    error does not enter it yet."""
    score: float
    """Mass within 2 sigma, 0..1."""


def entropy_bits(density: Map) -> float:
    """Shannon entropy, bits, 0 to log2(h w). Cells without mass add nothing."""
    mass = density[density > 0].astype(np.float64)
    return max(0.0, -float(mass @ np.log2(mass)))  # a point mass may round to just below 0


def find_peaks(
    density: Map, image: tuple[int, int], *, most: int = 8, least_score: float = 0.0
) -> tuple[Peak, ...]:
    """The hills of a density that stand out, best score first.

    A uniform map has none: a top must reach LEAST_RISE times the uniform density. Tops that lie
    close together are one (MERGE_SIGMAS), and a cell's mass counts for its own hill only, so all
    scores together are at most 1.

    Args:
        density: (h, w), float32, >= 0, sums to 1.
        image: (W, H) of the source picture, pixels.
        most: peaks returned at most.
        least_score: peaks with less mass within 2 sigma are left out.
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
    sigmas = core_sigmas(density, hills.owner, heights, visible, grid)
    points = grid.points(cells)
    parents = merge(points, sigmas)
    # Cells of the hills that are not looked at count for nobody: their owner is n.
    owner = np.append(parents, n)[np.minimum(hills.owner, n)]
    scores = masses(density, owner, points, sigmas, grid)
    scores[parents != np.arange(n)] = -1
    best = [k for k in np.argsort(-scores, kind="stable") if scores[k] >= least_score][:most]
    found = np.column_stack([points, sigmas, scores])[best]
    return tuple(Peak(*map(float, values)) for values in found)


def core_sigmas(density: Map, owner: Cells, heights: Floats, visible: Floats, grid: Grid) -> Floats:
    """(n,): sigma of the first n hills, pixels, between LEAST_SIGMA_CELLS and LARGEST_SIGMA.

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
    sigmas = grid.side_px * np.sqrt(volumes / (visible * CORE_VOLUME))
    largest_px = max(LARGEST_SIGMA * min(grid.image), LEAST_SIGMA_CELLS * grid.side_px)
    return np.asarray(np.clip(sigmas, LEAST_SIGMA_CELLS * grid.side_px, largest_px))


def visible_parts(grid: Grid, rows: Cells, columns: Cells) -> Floats:
    """(n,): 1/2 for each border that a top lies on, which cuts half of its hill off."""
    on_end = (rows == 0) | (rows == grid.shape[0] - 1)
    on_side = (columns == 0) | (columns == grid.shape[1] - 1)
    return np.asarray(0.5 ** (on_end.astype(int) + on_side))


def merge(points: Floats, sigmas: Floats) -> Cells:
    """(n,): for each top, highest first, the one that it is part of (MERGE_SIGMAS), or itself."""
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    is_within = distances < MERGE_SIGMAS * sigmas[:, None]  # (higher, lower)
    parents = np.arange(len(points))
    for k in range(1, len(points)):
        over = [j for j in range(k) if parents[j] == j and is_within[j, k]]
        parents[k] = over[0] if over else k
    return parents


def masses(density: Map, owner: Cells, points: Floats, sigmas: Floats, grid: Grid) -> Floats:
    """(n,): mass of each hill's cells within SCORE_SIGMAS of its top; owner n is nobody."""
    x, y = grid.centres()
    own = np.vstack([np.column_stack([points, sigmas]), [0, 0, 0]])[owner]  # (h, w, 3)
    distance_px = np.hypot(x[None, :] - own[:, :, 0], y[:, None] - own[:, :, 1])
    # A cell that the edge of the disc cuts counts in part, so that scores do not jump.
    part = np.clip((SCORE_SIGMAS * own[:, :, 2] - distance_px) / grid.side_px + 0.5, 0, 1)
    mass = np.bincount(owner.ravel(), (density * part).ravel(), minlength=len(points) + 1)
    return np.asarray(np.minimum(mass[:-1], 1.0))
