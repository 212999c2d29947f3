"""Pictures as cameras give them to pictures as the public network was taught with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.released.dinov3 import MEAN, STD

SIDE = 448
"""Every training picture was stretched to this square, whatever its aspect."""


def prepare(images: Tensor, size: tuple[int, int] | None = (SIDE, SIDE)) -> Tensor:
    """Resizes, turns to RGB and normalises.

    Bilinear with anti-aliasing, in float. The public code does so with photos and rounds the frames
    of videos to whole grey levels in between, which is not followed.

    Args:
        images: (B, H, W, 3), uint8, BGR.
        size: (H, W) of the network's input; None keeps the images' own.

    Returns:
        (B, 3, H, W), float32.
    """
    x = images.flip(-1).permute(0, 3, 1, 2).float() / 255
    if size is not None and x.shape[2:] != size:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std
