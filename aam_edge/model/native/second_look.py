"""A second look: evidence from a part of the picture, seen larger, enters the same density.

The network sees a crop, the box, at the size at which it otherwise sees all. In it a small thing is
large, and the crop's own log o and R tell of it in finer cells. They enter u by the correction of
fpd.py, where they lie and nowhere else:

1. Crop cells are laid over the map's cells by the share of area that they have in common. With A
   (n, n) the share of crop cell r in map cell i along one axis, mass o_c goes to A_y o_c A_x^T:
   exact for any box inside the picture, and no mass is lost.
2. How much lies in the box at all is not told by o_c, which sums to 1 over the box. It is u's own
   mass there, m, and for a search, by Bayes' rule, odds that rise by how much surer the crop is
   than the whole picture was that the thing is in view:
   logit m' = logit m + lambda s (logit presence_crop - logit presence), s = 0 for free viewing.
3. log u <- (1 - K) log u + K log(m' o_c^beta) in the box, K = P / (P + R), P <- (1 - K) P.
   What lies outside keeps its 1 - m until all is normalised, so a look can empty its box, but not
   give it more than 1 / (2 - m): about as much as all the rest.

Letters and shapes as in fpd.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from aam_edge.model.native.fpd import FLOOR, NO_NUMBER, State, normalise

TRUST = 1.5
"""lambda."""
LARGEST_ODDS = 4.0
"""Bound of the change of log-odds; one look proves nothing."""
VARIANCE = 0.25
"""R of a crop's cell over R of a map's: some crop cells stand behind each."""


class Part(NamedTuple):
    """A part of the picture that is looked at more closely."""

    image: Tensor
    """(B, H, W, 3), uint8, BGR: the box, brought to the input's size."""
    box: Tensor
    """(B, 4): left, top, right, bottom, fractions of the picture, within 0..1."""
    presence: Tensor
    """(B, N): what the last look at the whole picture said of it."""


class Placed(NamedTuple):
    """A crop's evidence on the map's grid."""

    density: Tensor
    """(B, N, h, w): sums to 1 over the box, 0 outside."""
    log_variance: Tensor
    """(B, N, h, w)"""
    is_known: Tensor
    """(B, 1, h, w), bool: the box covers half of the cell or more."""


def overlaps(start: Tensor, end: Tensor, count: int) -> Tensor:
    """(B, count, count): length that map cell i and crop cell r have in common, map cells.

    Args:
        start, end: (B,), of the box along this axis, 0..1.
        count: cells of the map, and of the crop, along it.
    """
    cell = torch.arange(count, device=start.device, dtype=start.dtype)
    first = (start[:, None] + (end - start)[:, None] * cell / count) * count  # (B, count)
    last = (start[:, None] + (end - start)[:, None] * (cell + 1) / count) * count
    low = torch.maximum(cell[:, None], first[:, None])  # (B, count, count)
    high = torch.minimum(cell[:, None] + 1, last[:, None])
    return (high - low).clamp_min(0)


def place(density: Tensor, log_variance: Tensor, box: Tensor) -> Placed:
    """Lays what a crop says over the map.

    Args:
        density: (B, N, h, w) of the crop, sums to 1. log_variance: of its log, (B, N, h, w). box:
        (B, 4), see `Part`.
    """
    height, width = density.shape[2:]
    left, top, right, bottom = box.unbind(1)
    down, across = overlaps(top, bottom, height), overlaps(left, right, width)
    cover = (down.sum(2)[:, :, None] * across.sum(2)[:, None, :])[:, None]  # (B, 1, h, w)
    down, across = down[:, None], across[:, None].transpose(2, 3)
    variance = down @ log_variance @ across / cover.clamp_min(1e-6)
    # A crop cell's shares in all map cells add up to 1.
    down = down / down.sum(2, keepdim=True).clamp_min(1e-6)
    across = across / across.sum(3, keepdim=True).clamp_min(1e-6)
    return Placed(down @ density @ across, variance, cover > 0.5)


def logit(chance: Tensor) -> Tensor:
    """Log-odds, finite."""
    bounded = chance.clamp(1e-6, 1 - 1e-6)
    return (bounded / (1 - bounded)).log()


def correct_part(state: State, placed: Placed, rise: Tensor) -> State:
    """Moves log u in the box to what the crop says, and P.

    Args:
        state: as predicted.
        placed: the crop's evidence, raised to beta.
        rise: (B, N), by how much the odds change that the thing is in the box; 0 for none.
    """
    inside = placed.is_known.to(state.variance.dtype)
    mass = (state.log_density.exp() * inside).sum((2, 3), keepdim=True)
    odds = logit(mass) + rise.clamp(-LARGEST_ODDS, LARGEST_ODDS)[:, :, None, None]
    aim = (odds.sigmoid() * placed.density + FLOOR).log()
    is_number = (aim.abs() < NO_NUMBER) & (placed.log_variance.abs() < NO_NUMBER)
    is_known = placed.is_known & is_number
    observed = VARIANCE * torch.where(is_known, placed.log_variance, 0).exp()
    gain = torch.where(is_known, state.variance / (state.variance + observed), 0)
    aim = torch.where(is_known, aim, state.log_density)
    log_density = state.log_density + gain * (aim - state.log_density)
    variance = torch.where(is_known, gain * observed, state.variance)
    return state._replace(log_density=normalise(log_density), variance=variance)
