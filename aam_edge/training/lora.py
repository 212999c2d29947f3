"""Low-rank adaptation of linear layers (E. Hu et al., "LoRA", ICLR 2022), and merging it again.

A layer's own weight W stays as it is; what is learned is (alpha / rank) B A on top of it, with A
(rank, in) and B (out, rank) that begins at 0, so that an adapted network begins as what it was.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.errors import UsageError

LORA_NAMES = ("lora_a", "lora_b")
"""What the learned tensors are called."""


class LoraLinear(nn.Module):
    """A linear layer, of whatever make, and a low-rank update beside it."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        """Takes the layer over; it is frozen."""
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        update = F.linear(F.linear(x, self.lora_a), self.lora_b)
        out: Tensor = self.base(x) + self.scale * update
        return out


def add_lora(module: nn.Module, rank: int, alpha: float, targets: tuple[str, ...]) -> list[str]:
    """Puts updates on the linear layers whose names end in one of `targets`; freezes all else.

    Args:
        module: changed in place, such as the body of a network.
        rank: of the updates, at least 1.
        alpha: they are scaled by alpha / rank.
        targets: `qkv` takes `blocks.3.attn.qkv`.

    Returns:
        The names of the layers.

    Raises:
        UsageError: there is no such layer.
    """
    found = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in targets
    }
    if not found:
        linear = {n.rpartition(".")[2] for n, m in module.named_modules() if type(m) is nn.Linear}
        has = ", ".join(sorted(linear)) or "no linear layers: set lora.rank=0"
        raise UsageError("no layer takes a low-rank update", ", ".join(targets), f"it has {has}")
    module.requires_grad_(False)
    for name, layer in found.items():
        _put(module, name, LoraLinear(layer, rank, alpha))
    return list(found)


def merged_state(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the network without updates: they are added to the weights.

    Args:
        module: with `LoraLinear` layers; without any, the state comes back as it is.
        state: of the module, or the running average of one.
    """
    adapted = {n: m for n, m in module.named_modules() if isinstance(m, LoraLinear)}
    plain = {}
    for name, tensor in state.items():
        above, _, own = name.rpartition(".")
        if above in adapted and own in LORA_NAMES:
            continue
        layer = above.removesuffix(".base")
        if layer in adapted and layer != above:
            if own == "weight":
                a, b = (state[f"{layer}.{part}"] for part in LORA_NAMES)
                tensor = tensor + adapted[layer].scale * b @ a
            name = f"{layer}.{own}"
        plain[name] = tensor
    return plain


@torch.no_grad()
def merge_lora(module: nn.Module) -> None:
    """Makes plain linear layers of adapted ones, in place."""
    adapted = [(n, m) for n, m in module.named_modules() if isinstance(m, LoraLinear)]
    for name, layer in adapted:
        assert isinstance(layer.base, nn.Linear)
        layer.base.weight += layer.scale * layer.lora_b @ layer.lora_a
        _put(module, name, layer.base)


def _put(module: nn.Module, name: str, layer: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(module.get_submodule(above), own, layer)
