"""How the public code scores and stores its maps, for numbers that can be set beside its own.

`training/metrics.py` is what aam-edge itself is measured with.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BLUR_PX = 11
LEAST_RANGE = 1e-8
EPSILON = float(np.finfo(np.float64).eps)


def smooth(maps: Tensor) -> Tensor:
    """The blur that every clip's maps (T, 1, H, W) get before they are scored or stored."""
    size = (BLUR_PX, BLUR_PX)
    smoothed = [
        cv2.GaussianBlur(m[0], size, 0, borderType=cv2.BORDER_REFLECT_101) for m in maps.numpy()
    ]
    return torch.from_numpy(np.stack(smoothed)[:, None])


def to_grey(saliency_map: Tensor) -> NDArray[np.uint8]:
    """A map (H, W) stretched to 0..255.

    The half that is added before rounding lifts values by about half a grey level.
    """
    low, high = saliency_map.min(), saliency_map.max()
    if high - low <= LEAST_RANGE:
        return np.zeros(tuple(saliency_map.shape), np.uint8)
    stretched = (saliency_map - low) / (high - low)
    return (255 * stretched + 0.5).round().clamp(0, 255).to(torch.uint8).numpy()


def nss(prediction: Tensor, fixations: Tensor) -> Tensor:
    """Normalised scanpath saliency of maps (B, 1, h, w) at fixations (B, 1, H, W)."""
    if prediction.shape != fixations.shape:
        prediction = F.interpolate(prediction, fixations.shape[2:], mode="bilinear")
    p, fixed = prediction.flatten(1), fixations.flatten(1)
    z = (p - p.mean(1, keepdim=True)) / (p.std(1, keepdim=True) + EPSILON)
    return ((z * fixed).sum(1) / fixed.sum(1).clamp_min(1)).mean()


def auc_judd(saliency_map: Tensor, fixations: Tensor) -> float:
    """Area under Judd's curve of one map (H, W), without jitter.

    Ties are not handled: a constant map has about 0.01 where 0.5 is right.
    """
    s, fixed = saliency_map.flatten().double(), fixations.flatten() > 0
    spread = s.max() - s.min()
    s = (s - s.min()) / spread if spread > 0 else torch.zeros_like(s)
    hits, pixels = int(fixed.sum()), len(s)
    thresholds = s[fixed].sort(descending=True).values
    above = (s[None] >= thresholds[:, None]).sum(1)
    rank = torch.arange(1, hits + 1)
    tp = F.pad(F.pad(rank / hits, (1, 0)), (0, 1), value=1.0)
    fp = F.pad(F.pad((above - rank) / (pixels - hits), (1, 0)), (0, 1), value=1.0)
    return float(torch.trapezoid(tp.double(), fp.double()))
