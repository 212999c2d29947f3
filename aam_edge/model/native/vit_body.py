"""The vision encoder of s, b and l: DINOv3, its four taps brought to strides 4, 8, 16 and 32.

A plain transformer keeps one resolution; a pyramid made of it by single layers serves as well as
one that is built in (Y. Li et al., "Exploring plain vision transformer backbones", ECCV 2022). The
earlier a tap, the finer its map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aam_edge.model.released.dinov3 import MEAN, STD, DinoV3, VitShape

VIT_TAPS = (64, 96, 192, 384)
"""Channels at strides 4, 8, 16, 32."""


class VitBody(nn.Module):
    """Picture in, four taps out.

    The picture is (B, 3, H, W), BGR, float, 0..255, sides multiples of 32. The taps are
    (B, c, H/s, W/s) with c of VIT_TAPS and s of 4, 8, 16, 32.
    """

    mean: Tensor
    """(1, 3, 1, 1), RGB, 0..255, and so is"""
    std: Tensor

    def __init__(self, shape: VitShape):
        super().__init__()
        # Cameras show things upright and in their size: positions do not vary in training.
        self.backbone = DinoV3(shape, rescale=1.0)
        width, (finest, fine, middle, coarse) = shape.width, VIT_TAPS
        self.finest = nn.Sequential(
            nn.ConvTranspose2d(width, 2 * finest, 2, stride=2),
            nn.GELU(),
            nn.ConvTranspose2d(2 * finest, finest, 2, stride=2),
        )
        self.fine = nn.ConvTranspose2d(width, fine, 2, stride=2)
        self.middle = nn.Conv2d(width, middle, 1)
        self.coarse = nn.Conv2d(width, coarse, 2, stride=2)
        for name, values in (("mean", MEAN), ("std", STD)):
            scaled = 255 * torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, scaled, persistent=False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = (picture.flip(1) - self.mean) / self.std
        first, second, third, last = self.backbone(x)  # (B, D, H/16, W/16) each
        return [self.finest(first), self.fine(second), self.middle(third), self.coarse(last)]
