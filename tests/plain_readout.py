"""The plain form of aam_edge/readout's search for peaks and of its gaze, against which the fast one
is tested: the same mathematics, each step over whole maps, however many calls that takes.

What it means and why stands in the fast form; here are the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from aam_edge.messages import Map, Target
from aam_edge.readout.gaze import SAME_LOOK, Field, GazeChooser, Look, bell
from aam_edge.readout.grid import Grid
from aam_edge.readout.hills import LARGEST_LOG_RISE, PASS_RATIO, Cells, Floats, Hills
from aam_edge.readout.peaks import (
    CORE,
    CORE_VOLUME,
    LEAST_RISE,
    LEAST_SIGMA_CELLS,
    LEAST_WIDTH_CELLS,
    MERGE_WIDTHS,
    MOST_CANDIDATES,
    PLACE_SIGMA,
    SCORE_WIDTHS,
    Peak,
    largest_px,
)

_STEPS = np.array([-1, 0, 1])


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
    order = np.lexsort((-np.minimum(one, other), passes))
    one, other, passes = one[order], other[order], passes[order]
    parents = np.arange(len(heights))
    while True:
        low, high = np.maximum(one, other), np.minimum(one, other)
        joins = (low != high) & (passes >= PASS_RATIO * heights[low])
        if not joins.any():
            return parents
        # In rising order: of several passes the last and highest stays, among equals the one to
        # the higher hill.
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


def find_peaks(
    density: Map,
    variance: Map,
    image: tuple[int, int],
    *,
    most: int = 8,
    least_score: float = 0.0,
) -> tuple[Peak, ...]:
    """What `aam_edge.readout.peaks.find_peaks` says, in its plain form."""
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
    points = (cells + 0.5) * grid.pitch - 0.5
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


class PlainGaze(GazeChooser):
    """Weighs all places each time, also while it stays anyway."""

    def _decide(self, field: Field, density: Map, targets: Sequence[Target]) -> None:
        gain = field.seen(density * (1 - sink(field, self._looks)))
        current = self._current
        x, y = field.pixel(current or Look(0.0, 0.0))
        columns, rows = field.grid.centres()
        away_px = np.sqrt(np.add.outer((rows - y) ** 2, (columns - x) ** 2))
        worth = gain / (1 + self._config.turn_cost * away_px / field.diagonal_px)
        if current is not None and max(abs(current.x), abs(current.y)) <= 1:
            left = gain.flat[away_px.argmin()]
            worth[away_px < SAME_LOOK * field.sigma_px] = 0.0
            if self._held_s < self._config.dwell_s or worth.max() <= left:
                return
            targets = [t for t in targets if t.id != current.target_id]
        row, column = np.unravel_index(int(worth.argmax()), worth.shape)
        self._begin(field, float(columns[column]), float(rows[row]), targets)


def sink(field: Field, looks: Sequence[Look]) -> Floats:
    """(h, w): s, what the looks have taken out, 0..1."""
    columns, rows = field.grid.centres()
    left = np.ones(field.grid.shape)
    for look in looks:
        x, y = field.pixel(look)
        along_x = bell(columns - x, field.sigma_px)
        along_y = bell(rows - y, field.sigma_px)
        left *= 1 - np.outer(look.strength * along_y, along_x)
    return 1 - left
