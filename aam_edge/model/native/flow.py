"""Drift between two frames, by pyramidal least squares on luminance.

After B. Lucas and T. Kanade (IJCAI 1981). DESIGN 5 proposes soft matching of stride 16 features.
Tried on photos panned by known amounts, it misses motion below one stride 16 cell, which is what
most frames hold; this has a tenth of its error there (docs/decisions/0002-drift.md). Displacements
are (x, y) in cells of the map, from the earlier frame to the later one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native.ego import cells

LEVELS = 4
WINDOW = 7
"""Side of the window that shares one displacement, cells of its level."""
NOISE = 1e-4
"""Variance of luminance gradients below which a window tells nothing; luminance is 0..1."""
DARK = 4e-4
"""Variance of luminance below which a difference between frames may be sensor noise."""
LARGEST_STEP = 1.5
"""Bound of one level's correction, cells of that level."""


def luminance(picture: Tensor) -> Tensor:
    """(B, 3, H, W), 0..255, to its mean over channels and 4 x 4 blocks, (B, 1, H/4, W/4), 0..1."""
    # In one reduction, in the order that pictures come in: a mean over channels and a pooling took
    # four times as long in ONNX Runtime.
    batch, channels, height, width = picture.shape
    rows = picture.permute(0, 2, 3, 1).reshape(batch, height // 4, 4, width // 4, 4 * channels)
    return rows.mean(dim=(2, 4))[:, None] / 255


def box(x: Tensor, side: int) -> Tensor:
    """Mean over a square window, borders repeated."""
    # Sums of shifted maps: pooling of a few channels takes four times as long in ONNX Runtime, and
    # a product with a band matrix would be rounded where engines multiply in half precision.
    padded = F.pad(x, (side // 2,) * 4, mode="replicate")
    return _windows(_windows(padded, side, 2), side, 3) / side**2


def _windows(x: Tensor, side: int, dim: int) -> Tensor:
    """Sums over all windows of `side` neighbours along a dimension, by doubling."""
    count, start, width = x.shape[dim] - side + 1, 0, 1
    parts = []
    while True:
        if side & width:
            parts.append(x.narrow(dim, start, count))
            start += width
        if 2 * width > side:
            return sum(parts[1:], parts[0])
        rest = x.shape[dim] - width
        x = x.narrow(dim, 0, rest) + x.narrow(dim, width, rest)
        width *= 2


def sample(x: Tensor, at: Tensor) -> Tensor:
    """Maps (B, C, h, w) read at points (B, 2, h, w) in cells, bilinear, the border repeated."""
    height, width = x.shape[2:]
    grid = torch.stack([(at[:, 0] + 0.5) * (2 / width), (at[:, 1] + 0.5) * (2 / height)], dim=-1)
    return F.grid_sample(x, grid - 1, mode="bilinear", padding_mode="border", align_corners=False)


def warp(x: Tensor, displacement: Tensor) -> Tensor:
    """Carries maps (B, C, h, w) along (B, 2, h, w): the value at a cell comes from where it was."""
    return sample(x, cells(x.shape[2], x.shape[3], x) - displacement)


def estimate(before: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement of every cell, and how well it is known.

    Args:
        before, now: luminance (B, 1, h, w), sides multiples of 8.

    Returns:
        displacement (B, 2, h, w), cells, and confidence (B, 1, h, w) in 0..1.
    """
    # Without the mean of each picture, an exposure step is no motion.
    pyramid = [(before - before.mean((2, 3), keepdim=True), now - now.mean((2, 3), keepdim=True))]
    for _ in range(LEVELS - 1):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    coarsest = pyramid[-1][0]
    displacement = torch.cat([torch.zeros_like(coarsest)] * 2, dim=1)
    confidence = torch.zeros_like(coarsest)
    for level, (earlier, later) in enumerate(reversed(pyramid)):
        if level:
            displacement = 2 * F.interpolate(displacement, scale_factor=2.0, mode="bilinear")
        moved = warp(earlier, displacement) if level else earlier
        step, confidence = _solve(moved, later)
        displacement = box(displacement + step, 3)
    return displacement, confidence


def _solve(moved: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """One least squares step: the displacement left between two nearly aligned pictures."""
    mean = F.pad((moved + later) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (mean[:, :, 1:-1, 2:] - mean[:, :, 1:-1, :-2]) / 2
    gy = (mean[:, :, 2:, 1:-1] - mean[:, :, :-2, 1:-1]) / 2
    change = later - moved
    products = torch.cat([gx * gx, gx * gy, gy * gy, gx * change, gy * change], dim=1)
    xx, xy, yy, xt, yt = box(products, WINDOW).split(1, dim=1)
    xx, yy = xx + NOISE, yy + NOISE
    determinant = xx * yy - xy * xy  # >= NOISE^2
    step = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant
    # The smaller eigenvalue is near determinant / trace: both directions must be seen.
    weakest = determinant / (xx + yy) - NOISE / 2  # 0 where there is no texture at all
    return step.clamp(-LARGEST_STEP, LARGEST_STEP), weakest / (weakest + 4 * NOISE)


def change_left(before: Tensor, now: Tensor, displacement: Tensor) -> Tensor:
    """What the displacement does not explain, a part of the picture's variance.

    Returns (B, 1, h, w) >= 0: about 0 where the world only moved, about 1 where it is another.
    """
    before = before - before.mean((2, 3), keepdim=True)
    now = now - now.mean((2, 3), keepdim=True)
    error = warp(before, displacement) - now
    contrast = (before.square() + now.square()).mean((2, 3), keepdim=True)
    return error.square() / (contrast + DARK)
