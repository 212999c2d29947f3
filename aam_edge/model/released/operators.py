"""The decoder's two text-driven parts: operators of three reaches, and how much of each."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.released import lorentz
from aam_edge.model.released.maps import GlobalMap, PixelMap

SCALES = 3
LONGEST_ROW = 10.0
GATE_HIDDEN = 64
SCALE_HIDDEN = 128


class Condition(NamedTuple):
    """What is asked for, of B pictures."""

    text: Tensor
    """(B, E), the encoded prompt."""
    z: Tensor | None
    """(B, d), the prompt as a point; None leaves out what depends on it."""


class ConditionGate(nn.Module):
    """A gate a channel, 0 to 1, by the depth of the prompt alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(1, GATE_HIDDEN), nn.SiLU(), nn.Linear(GATE_HIDDEN, channels)
        )

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """(B, C, 1, 1) for prompts (B, d)."""
        gate: Tensor = self.mlp(lorentz.radius(z, c)).sigmoid()
        return gate[:, :, None, None]


class SpatialOperator(nn.Module):
    """A picture of features seen at three reaches: 3x3, 3x3 with gaps, and as a whole."""

    def __init__(self, channels: int):
        super().__init__()
        self.map = PixelMap(channels)
        self.cond_gate = ConditionGate(channels)
        self.op0 = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
        )
        self.op1 = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
        )
        self.op2_proj = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        """(B, 3, C, H, W) for features (B, C, H, W) and prompts (B, d)."""
        t = self.through_space(x, z).to(x.dtype)
        whole = F.silu(self.op2_proj(t)).expand_as(t)
        return torch.stack([F.silu(self.op0(t)), F.silu(self.op1(t)), whole], dim=1)

    def fuse(self, y: Tensor, weights: Tensor) -> Tensor:
        """The three reaches (B, 3, C, H, W) weighted by (B, 3): (B, C, H, W)."""
        mixed: Tensor = self.mix((weights[:, :, None, None, None] * y).sum(1))
        return mixed

    def through_space(self, x: Tensor, z: Tensor | None) -> Tensor:
        """Into hyperbolic space, gated there by the prompt, and back; float32."""
        points = self.map.sanitise(self.map.to_hyp(x))
        if z is not None:
            t = limit_rows(self.map.to_tan(points))
            t = t * (1 + 0.5 * self.cond_gate(z, self.map.c).tanh())
            points = self.map.sanitise(self.map.to_hyp(t))
        return self.map.to_tan(points)


def limit_rows(t: Tensor) -> Tensor:
    """Shortens each image row of each channel (B, C, H, W) to 10.

    Meant for the length of each pixel's tangent; the public code takes it along the width.
    """
    n: Tensor = torch.linalg.vector_norm(t, dim=-1, keepdim=True).clamp_min(1e-6)
    return t * (LONGEST_ROW / n).clamp_max(1)


class ScaleGate(nn.Module):
    """How much of each reach a prompt asks for; the weights do not sum to 1."""

    def __init__(self, text_width: int, width: int):
        super().__init__()
        self.map = GlobalMap(width)
        self.scale_anchors_tan = nn.Parameter(torch.randn(SCALES, width) * width**-0.5)
        self.scale_mlp = nn.Sequential(
            nn.LayerNorm(text_width),
            nn.Linear(text_width, SCALE_HIDDEN),
            nn.GELU(),
            nn.Linear(SCALE_HIDDEN, SCALES),
        )

    def forward(self, condition: Condition) -> Tensor:
        """(B, 3), positive."""
        base = F.softplus(self.scale_mlp(condition.text))
        if condition.z is None:
            return base
        return base * (1 + self.nearness(condition.z).to(base.dtype))

    def nearness(self, z: Tensor) -> Tensor:
        """(B, 3), sums to 1: which scale's anchor the prompt is near to."""
        anchors = self.map.to_hyp(self.scale_anchors_tan)
        return (-lorentz.distance(z, anchors, self.map.c)).softmax(-1)
