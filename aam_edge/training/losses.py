"""Losses on log-densities, averaged over the batch.

All take `log_density` (B, 1, h, w), the network's, and `human` (B, 1, h, w), >= 0 with sum 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8
_OVER_MAP = (1, 2, 3)


def kld_loss(log_density: Tensor, human: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prediction from the human density, nats."""
    return (human * ((human + _TINY).log() - log_density)).sum(_OVER_MAP).mean()


def cc_loss(log_density: Tensor, human: Tensor) -> Tensor:
    """Pearson correlation over cells (to be maximised)."""
    a, b = log_density.exp(), human
    a, b = a - a.mean(_OVER_MAP, keepdim=True), b - b.mean(_OVER_MAP, keepdim=True)
    norm = ((a * a).sum(_OVER_MAP) * (b * b).sum(_OVER_MAP)).clamp_min(1e-16).sqrt()
    return ((a * b).sum(_OVER_MAP) / norm).mean()


def sim_loss(log_density: Tensor, human: Tensor) -> Tensor:
    """Histogram intersection (to be maximised)."""
    return torch.minimum(log_density.exp(), human).sum(_OVER_MAP).mean()


def gaze_loss(log_density: Tensor, human: Tensor) -> Tensor:
    """KLD - CC - SIM."""
    apart = kld_loss(log_density, human)
    return apart - cc_loss(log_density, human) - sim_loss(log_density, human)


def variance_loss(log_density: Tensor, log_variance: Tensor, human: Tensor) -> Tensor:
    """Negative log-likelihood of log o's error under its variance R; moves R alone.

    Weighted by the human density mixed with uniform, so that where people look counts most.
    """
    floor = 1e-6
    error = (human + floor).log() - (log_density.detach().exp() + floor).log()
    weight = 0.5 * human + 0.5 / human[0].numel()
    return (weight * 0.5 * (log_variance + error**2 * (-log_variance).exp())).sum(_OVER_MAP).mean()
