"""The vision transformer DINOv3 (O. Simeoni et al., arXiv 2508.10104) in its sizes s, b and l.

Patches of 16 pixels, five tokens before them (one class token, four registers, here called storage
tokens), rotary positions in attention, layer scale. Parameters carry the names of the public weight
files. Written from the papers and a description of the function; the weights are under Meta's
DINOv3 License and are not part of aam-edge.

Pictures are (B, 3, H, W), RGB, float, normalised with MEAN and STD. A remainder of H and W by 16 is
not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of RGB in 0..1, taken off and divided by before the network."""
PATCH = 16
"""Pixels along a patch."""
STORAGE_TOKENS = 4
LEADING_TOKENS = 1 + STORAGE_TOKENS
"""Tokens before the patches: class and storage."""
ROPE_BASE = 100.0
RESCALE = 2.0
"""While training, positions are scaled by a factor from 1 / RESCALE to RESCALE."""


@dataclass(frozen=True, slots=True)
class VitShape:
    """What tells one size from another."""

    width: int
    """D, channels of a token."""
    blocks: int
    heads: int
    taps: tuple[int, ...]
    """Blocks, counted from 0, behind which features leave."""

    @property
    def hidden(self) -> int:
        """Channels inside a block's MLP."""
        return 4 * self.width

    @property
    def head_width(self) -> int:
        """Channels of one head, a multiple of 4."""
        return self.width // self.heads


SIZES = {
    "s": VitShape(384, 12, 6, (2, 5, 8, 11)),
    "b": VitShape(768, 12, 12, (2, 5, 8, 11)),
    "l": VitShape(1024, 24, 16, (5, 11, 17, 23)),
}
TINY = VitShape(48, 4, 3, (0, 1, 2, 3))
"""For tests."""


class DinoV3(nn.Module):
    """Picture in, one feature map a tapped block out."""

    def __init__(self, shape: VitShape, *, rescale: float = RESCALE):
        """`rescale`: positions vary by this factor in training mode, 1 for not at all."""
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.storage_tokens = nn.Parameter(torch.zeros(1, STORAGE_TOKENS, shape.width))
        self.patch_embed = PatchEmbedding(shape.width)
        self.rope_embed = RotaryPositions(shape.head_width, rescale)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width, eps=1e-5)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """The features behind each tapped block, normalised.

        Args:
            picture: (B, 3, H, W), RGB, normalised; sides at least 16.

        Returns:
            For each tap (B, D, h, w) with h, w = H // 16, W // 16.
        """
        patches = self.patch_embed(picture)  # (B, D, h, w)
        batch, _, rows, columns = patches.shape
        leading = torch.cat([self.cls_token, self.storage_tokens], dim=1).expand(batch, -1, -1)
        x = torch.cat([leading, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, 5 + h w, D)
        features = []
        fixed = None if self.rope_embed.varies else self.rope_embed(rows, columns)
        for i, block in enumerate(self.blocks):
            x = block(x, self.rope_embed(rows, columns) if fixed is None else fixed)
            if i in self.shape.taps:
                seen = self.norm(x)[:, LEADING_TOKENS:]
                features.append(seen.transpose(1, 2).unflatten(2, (rows, columns)))
        return features


class PatchEmbedding(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, picture: Tensor) -> Tensor:
        embedded: Tensor = self.proj(picture)
        return embedded


class RotaryPositions(nn.Module):
    """Cosines and sines of where each token stands: y and x in -1..1, each side by its own length.

    The angles are 2 pi y / period and 2 pi x / period; the whole list comes twice, for the two
    halves of a head's channels. Leading tokens stand nowhere: their angle is 0.
    """

    periods: Tensor
    """(head width / 4,), float32 whatever the network computes in: half precision turns far
    patches by wrong angles."""

    def __init__(self, head_width: int, rescale: float):
        super().__init__()
        steps = torch.arange(head_width // 4, dtype=torch.float32)
        self.register_buffer("periods", ROPE_BASE ** (2 * steps / (head_width // 2)))
        self._widest = math.log(rescale)

    @property
    def varies(self) -> bool:
        """Whether each call draws another scale, as the public code does while it trains."""
        return self.training and self._widest > 0

    def forward(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine, each (5 + rows * columns, head width), float32."""
        angles = 2 * math.pi * self._places(rows, columns)[:, :, None] / self.periods
        angles = angles.flatten(1).repeat(1, 2)
        angles = F.pad(angles, (0, 0, LEADING_TOKENS, 0))
        return angles.cos(), angles.sin()

    def _places(self, rows: int, columns: int) -> Tensor:
        """(rows * columns, 2), y then x of patch centres."""
        device = self.periods.device
        y = 2 * (torch.arange(rows, device=device) + 0.5) / rows - 1
        x = 2 * (torch.arange(columns, device=device) + 0.5) / columns - 1
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
        if self.varies:
            places = places * (self._widest * (2 * torch.rand(1, device=device) - 1)).exp()
        return places

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RotaryPositions:
        kept = self.periods
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.periods.dtype != kept.dtype:
            self.periods = kept.to(self.periods.device)
        return self


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turns queries or keys (B, heads, N, d) by where their tokens stand, in float32."""
    cosine, sine = rope
    wide = x.to(cosine.dtype)
    first, second = wide.chunk(2, dim=-1)
    return (wide * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


class Block(nn.Module):
    """Attention and MLP, each with a scale a channel, added to what comes in."""

    def __init__(self, shape: VitShape):
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-5)
        self.attn = Attention(shape.width, shape.heads)
        self.ls1 = LayerScale(shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-5)
        self.mlp = Mlp(shape.width, shape.hidden)
        self.ls2 = LayerScale(shape.width)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        after: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return after


class Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv: nn.Module = KeylessBiasLinear(width)
        self.proj: nn.Module = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # (B, heads, N, d)
        mixed = F.scaled_dot_product_attention(rotate(q, rope), rotate(k, rope), v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class KeylessBiasLinear(nn.Linear):
    """D to queries, keys and values; of the bias, the third that belongs to the keys is masked."""

    bias_mask: Tensor
    """(3 D,), ones, and zeros on the middle third."""

    def __init__(self, width: int):
        super().__init__(width, 3 * width)
        self.register_buffer("bias_mask", key_bias_mask(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias * self.bias_mask)


def key_bias_mask(width: int) -> Tensor:
    """What a bias of queries, keys and values (3 * width,) is multiplied by."""
    return torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(width)


class LayerScale(nn.Module):
    """A factor a channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out
