"""What the public network was trained with: three map measures, and order in hyperbolic space.

Maps are (B, 1, H, W) or (B, H, W), predictions after the sigmoid. `training/losses.py` has ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.released import lorentz

TINY = 1e-12
SPECIFICITY = 0.8
"""How much narrower the cone of text over image is than a plain one."""
CONTRAST_WEIGHT, ENTAIL_WEIGHT = 0.4, 1.0


class Task(NamedTuple):
    """How far prediction and truth are apart."""

    total: Tensor
    """kld - cc - sim."""
    kld: Tensor
    cc: Tensor
    sim: Tensor


class Hierarchy(NamedTuple):
    """How far image, text and anchor are from image in text in anchor."""

    contrast: Tensor
    """Mean distance of image and text; there are no negatives in it."""
    text_image: Tensor
    anchor_text: Tensor
    entail: Tensor
    """Mean of the two cones."""
    weighted: Tensor
    """What is added to the task's loss."""


def kld(prediction: Tensor, truth: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the truth from the prediction, nats."""
    s, q = (_to_density(x.flatten(1)) for x in (prediction, truth))
    apart = q * (q.clamp_min(TINY).log() - s.clamp_min(TINY).log())
    return apart.sum(1).mean()


def cc(prediction: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation."""
    s, g = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (prediction, truth))
    spread = s.square().sum(1).clamp_min(TINY).sqrt() * g.square().sum(1).clamp_min(TINY).sqrt()
    return ((s * g).sum(1) / spread).mean()


def sim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Shared mass."""
    s, q = (_to_density(x.flatten(1).clamp_min(0)) for x in (prediction, truth))
    return s.minimum(q).sum(1).mean()


def task_loss(prediction: Tensor, truth: Tensor) -> Task:
    """The three together."""
    parts = [measure(prediction, truth) for measure in (kld, cc, sim)]
    return Task(parts[0] - parts[1] - parts[2], *parts)


def hierarchy_loss(image: Tensor, text: Tensor, anchor: Tensor, c: Tensor) -> Hierarchy:
    """Of points (B, d) of curvature -c.

    Where the anchor is the origin, its gradient is about 1e7: the public optimiser then barely
    moves it for thousands of steps.
    """
    image, text, anchor = image.float(), text.float(), anchor.float()
    contrast = lorentz.pair_distance(image, text, c).relu().mean()
    inner = lorentz.exterior_angle(text, image, c) - SPECIFICITY * lorentz.half_aperture(text, c)
    outer = lorentz.exterior_angle(anchor, text, c) - lorentz.half_aperture(anchor, c)
    text_image, anchor_text = F.relu(inner).mean(), F.relu(outer).mean()
    entail = 0.5 * (text_image + anchor_text)
    weighted = CONTRAST_WEIGHT * contrast + ENTAIL_WEIGHT * entail
    return Hierarchy(contrast, text_image, anchor_text, entail, weighted)


def _to_density(x: Tensor) -> Tensor:
    return x / x.sum(1, keepdim=True).clamp_min(TINY)
