"""From plain feature space into hyperbolic space and back, with a learned curvature and scale.

The public code clamps these parameters in place before each use. Here they are clamped where they
are read, which gives the same numbers and leaves the weights alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aam_edge.model.released import lorentz

LOG_CURVATURE = (math.log(0.1), math.log(10.0))
"""Range of ln c."""
LONGEST_TANGENT = 8.0
LARGEST = 1e6


def curvature(log_curvature: Tensor) -> Tensor:
    """c of its stored logarithm."""
    return log_curvature.float().clamp(*LOG_CURVATURE).exp()


def scale(log_scale: Tensor) -> Tensor:
    """e^alpha, at most 1."""
    return log_scale.float().clamp_max(0).exp()


class GlobalMap(nn.Module):
    """Vectors (n, d) to points and back."""

    def __init__(self, width: int):
        super().__init__()
        self.curv = nn.Parameter(torch.zeros(()))
        self.alpha = nn.Parameter(torch.tensor(math.log(width**-0.5)))

    @property
    def c(self) -> Tensor:
        """The curvature."""
        return curvature(self.curv)

    def to_hyp(self, v: Tensor) -> Tensor:
        """Scaled by e^alpha, at most 8 long, then out along the geodesic; float32."""
        u = v.float() * scale(self.alpha)
        n = torch.linalg.vector_norm(u, dim=-1, keepdim=True).clamp_min(1e-6)
        return lorentz.exp0(u * (n.clamp_max(LONGEST_TANGENT) / n), self.c)


class PixelMap(GlobalMap):
    """The same for each pixel's channels, (B, C, H, W).

    There and back is not the identity: the scale is applied on the way in and never undone, so that
    what comes back is e^alpha times what went in.
    """

    def to_hyp(self, v: Tensor) -> Tensor:
        return super().to_hyp(v.movedim(1, -1)).movedim(-1, 1)

    def to_tan(self, z: Tensor) -> Tensor:
        """Points to tangents at the origin, float32."""
        return lorentz.log0(z.movedim(1, -1), self.c).movedim(-1, 1)

    def sanitise(self, z: Tensor) -> Tensor:
        """Takes out what is no number and what is huge, and lifts the left image column.

        The public code takes index 0 of the last axis for the time part of a point and raises it to
        at least 1/sqrt(c). On (B, C, H, W) that is the first column of the picture. Trained weights
        have learned to live with it.
        """
        z = torch.nan_to_num(z, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        least = 1 / self.c.sqrt() + 1e-4
        left = torch.maximum(z[..., :1], least)
        return torch.cat([left, z[..., 1:]], dim=-1).clamp(-LARGEST, LARGEST)
