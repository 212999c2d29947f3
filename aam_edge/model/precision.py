"""A network in half precision where that pays, in single precision where it would hurt.

Each layer with weights gets the type it computes in and takes its input there; what lies between
layers follows from torch's promotion. The casts stand in the graph: nothing depends on autocast, so
torch.export, torch.compile and explicitly typed TensorRT see the same numbers.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
HALVED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
"""Where the arithmetic is."""
WIDE = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
"""Norms stay in single precision: they sum over many numbers."""


class Cast(nn.Module):
    """A layer that takes its input to the type of its own weights."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.to(self.dtype))
        return out


def in_precision(network: nn.Module, precision: str, kept: Collection[str] = ()) -> None:
    """Changes a network in place; its names change with it, so weights are loaded before.

    Args:
        network: for inference.
        precision: f32 (nothing changes), bf16 or f16.
        kept: names of parts that stay in single precision with all they hold.
    """
    if precision != "f32":
        _halve(network, DTYPES[precision], kept, "")


def _halve(part: nn.Module, dtype: torch.dtype, kept: Collection[str], at: str) -> None:
    for name, child in part.named_children():
        place = f"{at}{name}"
        if isinstance(child, HALVED):
            setattr(part, name, Cast(child, torch.float32 if place in kept else dtype))
        elif isinstance(child, WIDE):
            setattr(part, name, Cast(child, torch.float32))
        else:
            _halve(child, torch.float32 if place in kept else dtype, kept, f"{place}.")
