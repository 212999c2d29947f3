"""LoRA (E. Hu et al., arXiv 2106.09685): a linear layer learns a change of low rank beside itself.

    y = W x + b + (alpha / r) B A x,   A (r, in),   B (out, r), zero at first

`add_lora` wraps the attention projections of a backbone, `merge_lora` turns them back into plain
layers W + (alpha / r) B A that compute the same and cost nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aam_edge.model.released.dinov3 import Attention, DinoV3, KeylessBiasLinear

WRAPPED = ("qkv", "proj")
"""Layers of an attention that are wrapped."""
RANK, ALPHA = 32, 64
"""Of the public checkpoints."""
DROPOUT = 0.05
LAST_BLOCKS = 24
"""Blocks from the end that have LoRA: all of them in s, b and l."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """How a backbone was wrapped; alpha stands in no file."""

    rank: int = RANK
    alpha: float = ALPHA
    last: int = LAST_BLOCKS

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.rank


PUBLIC = LoraShape()


class LoraLinear(nn.Module):
    """A frozen linear layer and what it learns."""

    def __init__(
        self,
        base: nn.Linear,
        rank: int = RANK,
        alpha: float = ALPHA,
        dropout: float = DROPOUT,
    ):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Linear(base.in_features, rank, bias=False, device=base.weight.device)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False, device=base.weight.device)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        learned: Tensor = self.lora_B(self.lora_A(self.dropout(x)))
        y: Tensor = self.base(x) + self.scale * learned
        return y

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One plain layer that computes the same, without dropout."""
        weight = self.base.weight + self.scale * self.lora_B.weight @ self.lora_A.weight
        return _linear(weight, _bias_of(self.base))


def add_lora(
    backbone: DinoV3,
    rank: int = RANK,
    alpha: float = ALPHA,
    last: int = LAST_BLOCKS,
    dropout: float = DROPOUT,
) -> list[LoraLinear]:
    """Freezes a backbone and wraps the attention of its last blocks.

    Returns:
        What is trained, in the order of the blocks.
    """
    backbone.requires_grad_(False)
    wrapped = []
    for attention in attentions(backbone)[-last:]:
        for name in WRAPPED:
            layer = LoraLinear(getattr(attention, name), rank, alpha, dropout)
            layer.train(backbone.training)
            setattr(attention, name, layer)
            wrapped.append(layer)
    return wrapped


def merge_lora(backbone: DinoV3) -> None:
    """Makes every attention projection a plain layer; key bias masks are worked in too."""
    for attention in attentions(backbone):
        for name in WRAPPED:
            layer = getattr(attention, name)
            if isinstance(layer, LoraLinear):
                setattr(attention, name, layer.merged())
            elif isinstance(layer, KeylessBiasLinear):
                setattr(attention, name, _linear(layer.weight.detach(), _bias_of(layer)))


def lora_layers(backbone: DinoV3) -> Iterator[tuple[str, LoraLinear]]:
    """Wrapped layers by the name they have in the backbone, such as `blocks.0.attn.qkv`."""
    for name, layer in backbone.named_modules():
        if isinstance(layer, LoraLinear):
            yield name, layer


def attentions(backbone: DinoV3) -> list[Attention]:
    """Of all blocks, in their order."""
    return [module for module in backbone.modules() if isinstance(module, Attention)]


def _bias_of(layer: nn.Linear) -> Tensor:
    bias = layer.bias.detach()
    return bias * layer.bias_mask if isinstance(layer, KeylessBiasLinear) else bias


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer
