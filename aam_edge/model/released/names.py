"""What the tensors of a public checkpoint are called, and what becomes of each.

alias     `blocks.0.attn.qkv.weight` beside `.qkv.base.weight`: LoRA's wrapper shows its inner
          layer twice; where both are there, `base` counts
dead      never read by the public code: the blocks over time of levels 0, 1 and 4, the anchors
          of the Gaussians, the mask token
buffer    the mask of the keys' bias, worked into the bias; the periods of the positions, kept
LoRA      `lora_A`, `lora_B`, worked into the weight
turned    attention over time has queries apart from keys and values; attention to a single
          sound has its value alone; a convolution over one place is a linear layer
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]

DEAD = re.compile(
    r"head\.motion_modules\.[014]\..*|head\.decoder_out\.gauss_anchors_tan|backbone\.mask_token"
)
WRAPPED = re.compile(r"backbone\.blocks\.\d+\.attn\.(qkv|proj)")
SPLIT = re.compile(r"(head\.motion_modules\.[23]\.temporal_attn\.)qkv\.(weight|bias)")
VALUE = re.compile(r"(head\.av_fusion\.cross_attn\.)in_proj_(weight|bias)")
PLACE = re.compile(r"head\.motion_modules\.[23]\.sal_obs_head\.weight")


def our_names(tensors: Mapping[str, Tensor]) -> Tensors:
    """Tensors by public names to tensors by ours; LoRA stays as it is, unknown names too."""
    ours: Tensors = {}
    for name, tensor in tensors.items():
        if DEAD.fullmatch(name) or is_alias(name, tensors):
            continue
        if match := SPLIT.fullmatch(name):
            width = len(tensor) // 3
            ours[f"{match[1]}query.{match[2]}"] = tensor[:width]
            ours[f"{match[1]}key_value.{match[2]}"] = tensor[width:]
        elif match := VALUE.fullmatch(name):
            ours[f"{match[1]}value.{match[2]}"] = tensor[2 * len(tensor) // 3 :]
        elif PLACE.fullmatch(name):
            ours[name] = tensor.flatten(1)
        else:
            ours[name] = tensor
    return ours


def public_shapes(ours: Mapping[str, Tensor]) -> Tensors:
    """Empty tensors under the public names for those of a network under ours."""
    public: Tensors = {}
    for name, tensor in ours.items():
        if ".query." in name:
            rows, *rest = tensor.shape
            public[name.replace(".query.", ".qkv.")] = tensor.new_empty(3 * rows, *rest)
        elif ".cross_attn.value." in name:
            rows, *rest = tensor.shape
            public[name.replace("value.", "in_proj_")] = tensor.new_empty(3 * rows, *rest)
        elif PLACE.fullmatch(name):
            public[name] = tensor[:, :, None, None]
        elif ".key_value." not in name:
            public[name] = tensor
    return public


def without_copies(tensors: Mapping[str, Tensor]) -> Tensors:
    """Tensors by public names, each once, without dead ones and masks.

    A wrapped layer is shown as `base`, also where the file has the plain name alone.
    """
    kept: Tensors = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if DEAD.fullmatch(name) or kind == "bias_mask" or is_alias(name, tensors):
            continue
        is_wrapped = WRAPPED.fullmatch(layer) and f"{layer}.lora_A.weight" in tensors
        kept[f"{layer}.base.{kind}" if is_wrapped else name] = tensor
    return kept


def is_alias(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a wrapped layer shows its inner layer's tensor here."""
    layer, _, kind = name.rpartition(".")
    return bool(WRAPPED.fullmatch(layer)) and f"{layer}.base.{kind}" in tensors


def merged(tensors: Mapping[str, Tensor], scale: float) -> Tensors:
    """LoRA worked into the weights, bias masks into biases: plain layers are left.

    Args:
        tensors: by our names.
        scale: alpha / rank.
    """
    plain: Tensors = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.replace(".base.", ".").rpartition(".")
        if ".lora_" in name or kind == "bias_mask":
            continue
        if WRAPPED.fullmatch(layer):
            tensor = _plain(tensors, layer, kind, tensor, scale)
        plain[f"{layer}.{kind}" if layer else name] = tensor
    return plain


def _plain(
    tensors: Mapping[str, Tensor], layer: str, kind: str, tensor: Tensor, scale: float
) -> Tensor:
    """The weight or bias of a plain layer that computes what the wrapped one does."""
    if kind == "bias":
        return without_key_bias(tensor) if layer.endswith("qkv") else tensor
    down, up = (tensors.get(f"{layer}.lora_{x}.weight") for x in "AB")
    return tensor if down is None or up is None else tensor + scale * up @ down


def without_key_bias(bias: Tensor) -> Tensor:
    """A bias of queries, keys and values with the keys' third at 0."""
    q, _, v = bias.chunk(3)
    return torch.cat([q, torch.zeros_like(q), v])
