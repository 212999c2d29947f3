"""Losses on log-densities, one number an item.

The first take `log_density` (B, 1, h, w), the network's, and `wanted` (B, 1, h, w), >= 0 with sum
1, and give (B,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-8
HOT = 0.4
"""Heat from which on a cell is one of its names."""
_OVER_MAP = (1, 2, 3)


def kld(log_density: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prediction from what is wanted, nats."""
    return (wanted * ((wanted + _TINY).log() - log_density)).sum(_OVER_MAP)


def cc(log_density: Tensor, wanted: Tensor) -> Tensor:
    """Pearson correlation over cells (to be maximised)."""
    a, b = log_density.exp(), wanted
    a, b = a - a.mean(_OVER_MAP, keepdim=True), b - b.mean(_OVER_MAP, keepdim=True)
    norm = ((a * a).sum(_OVER_MAP) * (b * b).sum(_OVER_MAP)).clamp_min(1e-16).sqrt()
    return (a * b).sum(_OVER_MAP) / norm


def sim(log_density: Tensor, wanted: Tensor) -> Tensor:
    """Histogram intersection (to be maximised)."""
    return torch.minimum(log_density.exp(), wanted).sum(_OVER_MAP)


def gaze_loss(log_density: Tensor, wanted: Tensor) -> Tensor:
    """KLD - CC - SIM."""
    return kld(log_density, wanted) - cc(log_density, wanted) - sim(log_density, wanted)


def variance_loss(log_density: Tensor, log_variance: Tensor, wanted: Tensor) -> Tensor:
    """Negative log-likelihood of log o's error under its variance R; moves R alone.

    Weighted by what is wanted mixed with uniform, so that where people look counts most.
    """
    floor = 1e-6
    error = (wanted + floor).log() - (log_density.detach().exp() + floor).log()
    weight = 0.5 * wanted + 0.5 / wanted[0].numel()
    return (weight * 0.5 * (log_variance + error**2 * (-log_variance).exp())).sum(_OVER_MAP)


def heat_loss(log_odds: Tensor, heat: Tensor) -> Tensor:
    """Focal loss that a heat map asks for, a positive cell counting as much as all that is easy.

    After X. Zhou et al., "Objects as points" (2019), equation 1, with soft targets: cells near a
    peak are forgiven as their heat goes.

    Args:
        log_odds: (B, M, h, w) that a cell holds the name.
        heat: the same, 0..1.

    Returns:
        A scalar, the sum; it is worth something against the heat there is.
    """
    chance = log_odds.sigmoid()
    missed = heat * (1 - chance).square() * F.softplus(-log_odds)
    invented = (1 - heat).pow(4) * chance.square() * F.softplus(log_odds)
    return (missed + invented).sum()


def presence_loss(log_odds: Tensor, chances: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of names that are in view and of those that are not, two sums.

    Args:
        log_odds: (B, M).
        chances: (B, M), that a name is in view; below 0: not known.
        weight: (M,), of a name's absence.
    """
    there, not_there = shares_of_presence(chances, weight)
    return (there * F.softplus(-log_odds)).sum(), (not_there * F.softplus(log_odds)).sum()


def shares_of_presence(chances: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(B, M) twice: how much each name counts as in view, and as not."""
    return chances.clamp_min(0), weight * (1 - chances) * (chances >= 0)


def words_loss(log_odds: Tensor, words: Tensor) -> Tensor:
    """Cross entropy of names (B, W) under a classifier's probabilities; the sum over rows."""
    return -(words * log_odds.log_softmax(1)).sum()


def naming_loss(log_odds: Tensor, heat: Tensor) -> Tensor:
    """Cross entropy between the names of each hot cell.

    Args:
        log_odds: (B, M, h, w), of names.
        heat: the same, 0..1; a cell is hot where one of its names is above `HOT`.

    Returns:
        A scalar, the sum over hot cells.
    """
    at = is_hot(heat).nonzero(as_tuple=True)
    found, asked = (x.permute(0, 2, 3, 1)[at] for x in (heat, log_odds))  # (K, M)
    wanted = found.square() / found.square().sum(1, keepdim=True)
    return -(wanted * asked.log_softmax(1)).sum()


def is_hot(heat: Tensor) -> Tensor:
    """(B, h, w), where one of the names (B, M, h, w) is clear."""
    return heat.amax(1) > HOT


def placing_loss(log_odds: Tensor, heat: Tensor, present: Tensor) -> Tensor:
    """Cross entropy between the cells of a picture for each name in view; the sum over names.

    Args:
        log_odds: (B, M, h, w), of cells.
        heat: the same, 0..1.
        present: (B, M), 1 where the name is in view and its place known.
    """
    at = (present == 1).nonzero(as_tuple=True)
    found, asked = heat[at].flatten(1), log_odds[at].flatten(1)  # (K, h w)
    clear = torch.where(found > 0.25 * found.amax(1, keepdim=True), found, 0)
    wanted = clear / clear.sum(1, keepdim=True).clamp_min(1e-6)
    return -(wanted * asked.log_softmax(1)).sum()
