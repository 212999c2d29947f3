"""The camera's own motion between two frames, as a homography of the picture.

`ego` is (B, 3, 3) and acts on (x, y, 1) with x, y in -1..1 over the picture, x right, y down, -1
and 1 the outer edges. It takes a point of the last picture to where the same point of the world is
in this one: K R K^-1 of a turning camera with h33 > 0 and det > 0; the identity where nothing is
known. Points of the map are (x, y) in cells, a cell's centre is a whole number.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 1e3
"""An element beyond this is no camera's motion, nor is one that is no number."""
NEAREST = 1e-3
"""Least depth, as a part of the depth in the last picture; nearer is behind the camera."""
FURTHEST = 4.0
"""Bound of where points are followed to, in half pictures from the middle."""


def identity_ego(cameras: int) -> Tensor:
    """(B, 3, 3): no camera is known to move."""
    return torch.eye(3).repeat(cameras, 1, 1)


def believed(ego: Tensor) -> Tensor:
    """The homographies, with the identity for those that have an element that cannot be."""
    is_sound = (ego.abs() < LARGEST).all(dim=2).all(dim=1).view(-1, 1, 1)
    return torch.where(is_sound, ego, torch.eye(3, device=ego.device, dtype=ego.dtype))


def backwards(ego: Tensor) -> Tensor:
    """(B, 3, 3): from this picture to the last one.

    The adjugate: a homography may be scaled, so the inverse needs no division, and unlike
    `torch.linalg.inv` it can be exported. Its sign is kept where det > 0.
    """
    rows = ego.unbind(dim=1)
    turned = [torch.linalg.cross(rows[i], rows[(i + 1) % 3], dim=1) for i in (1, 2, 0)]
    return torch.stack(turned, dim=2)


def cells(height: int, width: int, like: Tensor) -> Tensor:
    """(1, 2, h, w): the place of each cell's centre."""
    column = torch.arange(width, device=like.device, dtype=like.dtype).expand(height, width)
    row = torch.arange(height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    return torch.stack([column, row])[None]


def project(ego: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Takes points through homographies.

    Args:
        ego: (B, 3, 3).
        points: (B, 2, h, w), cells.

    Returns:
        (B, 2, h, w), cells, and (B, 1, h, w), the depth there in parts of the old one; what is
        behind the camera has 0 or less.
    """
    height, width = points.shape[2:]
    x, y = (points[:, 0] + 0.5) * (2 / width) - 1, (points[:, 1] + 0.5) * (2 / height) - 1
    flat = torch.stack([x, y, torch.ones_like(x)], dim=1).flatten(2)  # (B, 3, h w)
    moved = (ego @ flat).unflatten(2, (height, width))
    x, y, depth = moved.unbind(dim=1)
    near = depth.clamp_min(NEAREST)
    x, y = (x / near).clamp(-FURTHEST, FURTHEST), (y / near).clamp(-FURTHEST, FURTHEST)
    there = torch.stack([(x + 1) * (width / 2) - 0.5, (y + 1) * (height / 2) - 0.5], dim=1)
    return there, depth[:, None]


def coverage(points: Tensor, depth: Tensor) -> Tensor:
    """(B, 1, h, w): 1 for points (B, 2, h, w) that lie in the picture, 0 from a cell outside on."""
    height, width = points.shape[2:]
    x, y = points.split(1, dim=1)
    inside = torch.minimum(
        torch.minimum(x + 0.5, width - 0.5 - x), torch.minimum(y + 0.5, height - 0.5 - y)
    )
    return (1 + inside).clamp(0, 1) * (depth > NEAREST).to(points.dtype)
