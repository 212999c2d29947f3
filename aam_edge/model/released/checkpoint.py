"""From a file of the public AAM, or of a DINOv3, to tensors that our networks load.

What comes out is plain: LoRA and the mask of the keys' bias are worked into weights and biases,
dead and doubled tensors are gone. The LoRA pairs are kept beside it, under `lora.`, for who trains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.model.released import names
from aam_edge.model.released.dinov3 import SIZES, DinoV3, RotaryPositions, VitShape
from aam_edge.model.released.fit import check_fit
from aam_edge.model.released.lora import PUBLIC, LoraShape, add_lora, merge_lora
from aam_edge.model.released.network import SHAPES, NetworkShape, ReleasedNetwork

Tensors = dict[str, Tensor]

LORA = "lora."
"""Before the names of kept LoRA pairs, such as `lora.blocks.0.attn.qkv.lora_A.weight`."""
BACKBONE = "backbone."


def read_checkpoint(tensors: Mapping[str, Tensor], size: str, path: Path) -> Tensors:
    """A public AAM checkpoint as tensors of `plain_network`, and its LoRA.

    Args:
        tensors: by public names, without wrappers, finite.
        size: s, b or l.
        path: of the file, for messages.

    Raises:
        ModelError: of another size, or tensors are missing, unknown or of another shape.
    """
    found = tensors.get(f"{BACKBONE}cls_token")
    if found is None:
        todo = "give the AAM checkpoint (best_model_cc_*.pth)"
        raise ModelError("file holds no AAM", f"{path.name}: no {BACKBONE}cls_token", todo)
    check_size(found.shape[-1], size, path)
    return plain_tensors(tensors, SHAPES[size], PUBLIC, path)


def plain_tensors(
    tensors: Mapping[str, Tensor], shape: NetworkShape, lora: LoraShape, path: Path
) -> Tensors:
    """The same for any shape of network and LoRA."""
    once = names.without_copies(tensors)
    check_fit(once, public_tensors(shape, lora), path)
    ours = {name: tensor.float() for name, tensor in names.our_names(once).items()}
    kept = {LORA + n.removeprefix(BACKBONE): t for n, t in ours.items() if ".lora_" in n}
    return names.merged(ours, lora.scale) | kept


def public_tensors(shape: NetworkShape, lora: LoraShape) -> Tensors:
    """What a public checkpoint must hold, each once, as empty tensors."""
    with torch.device("meta"):
        network = ReleasedNetwork(shape)
        add_lora(network.backbone, lora.rank, lora.alpha, lora.last)
    return names.without_copies(names.public_shapes(network.state_dict()))


def read_backbone(tensors: Mapping[str, Tensor], size: str | None, path: Path) -> Tensors:
    """A DINOv3 file, Meta's or of the Hugging Face hub, as tensors of a plain backbone.

    Args:
        tensors: by the names of either, finite.
        size: s, b or l; None takes what the file is.
        path: of the file, for messages.

    Raises:
        ModelError: no DINOv3, of another size, or tensors are missing, unknown or misshapen.
    """
    plain = from_hub(tensors) if "embeddings.cls_token" in _without_prefix(tensors) else tensors
    if "cls_token" not in plain:
        todo = "give dinov3_vit*16_pretrain_*.pth or the folder of the Hugging Face hub"
        raise ModelError("file holds no DINOv3", f"{path.name}: no cls_token", todo)
    width = plain["cls_token"].shape[-1]
    if size is not None:
        check_size(width, size, path)
    shape = next((shape for shape in SIZES.values() if shape.width == width), None)
    if shape is None:
        raise ModelError("DINOv3 is of no known size", f"{path.name}: width {width}", _known())
    return plain_backbone_tensors(plain, shape, path)


def plain_backbone_tensors(tensors: Mapping[str, Tensor], shape: VitShape, path: Path) -> Tensors:
    """The same for any shape, by Meta's names."""
    with torch.device("meta"):
        wanted = DinoV3(shape).state_dict()
    wanted = {name: t for name, t in wanted.items() if not name.endswith("bias_mask")}
    unread = ("bias_mask", "mask_token")
    kept = {name: t for name, t in tensors.items() if not name.endswith(unread)}
    if "rope_embed.periods" not in kept:  # the hub's files leave out what can be computed
        kept["rope_embed.periods"] = RotaryPositions(shape.head_width, 1.0).periods
    check_fit(kept, wanted, path)
    whole = {BACKBONE + name: tensor.float() for name, tensor in kept.items()}
    merged = names.merged(whole, scale=0.0)
    return {name.removeprefix(BACKBONE): tensor for name, tensor in merged.items()}


def plain_network(shape: NetworkShape) -> ReleasedNetwork:
    """A network without LoRA and masks on the device `meta`, to be filled by `fill`."""
    with torch.device("meta"):
        network = ReleasedNetwork(shape)
        merge_lora(network.backbone)
    return network.eval().requires_grad_(False)


def fill(network: ReleasedNetwork, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Makes these tensors the network's own, without copying them; kept LoRA is left out.

    Raises:
        ModelError: they do not fit.
    """
    own = {name: t for name, t in tensors.items() if not name.startswith(LORA)}
    check_fit(own, network.state_dict(), path)
    network.load_state_dict(own, assign=True)


def check_size(width: int, size: str, path: Path) -> None:
    """Refuses weights whose tokens are not as wide as the size's."""
    if size not in SIZES:
        raise ModelError("unknown size of the AAM", size, _known())
    if width != SIZES[size].width:
        found = next((name for name, shape in SIZES.items() if shape.width == width), None)
        what = f"{path.name}: width {width}, {size} has {SIZES[size].width}"
        todo = f"pass --size {found}" if found else _known()
        raise ModelError("weights are of another size", what, todo)


def _known() -> str:
    return "give one of s, b and l"


_HUB_BLOCK = re.compile(r"(?:.*\.)?layer\.(\d+)\.(.+)\.(weight|bias|lambda1)")
_HUB_PARTS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.o_proj": "attn.proj",
    "layer_scale1": "ls1",
    "layer_scale2": "ls2",
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
}
_HUB_REST = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "storage_tokens",
    "embeddings.mask_token": "mask_token",
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
}


def from_hub(tensors: Mapping[str, Tensor]) -> Tensors:
    """Names of the `transformers` port to Meta's; queries, keys and values become one layer."""
    plain: Tensors = {}
    rows: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _without_prefix(tensors).items():
        match = _HUB_BLOCK.fullmatch(name)
        if match is None:
            plain[_HUB_REST.get(name, name)] = tensor
            continue
        block, part, kind = f"blocks.{match[1]}.", match[2], match[3]
        if part in ("attention.q_proj", "attention.k_proj", "attention.v_proj"):
            rows.setdefault(f"{block}attn.qkv.{kind}", {})[part[10]] = tensor
        else:
            kind = "gamma" if kind == "lambda1" else kind
            plain[f"{block}{_HUB_PARTS.get(part, part)}.{kind}"] = tensor
    for name, parts in rows.items():
        # Keys have no bias there.
        parts.setdefault("k", torch.zeros_like(parts.get("q", torch.zeros(1))))
        plain[name] = torch.cat([parts[letter] for letter in "qkv" if letter in parts])
    return plain


def _without_prefix(tensors: Mapping[str, Tensor]) -> Tensors:
    """Without what a model of several parts puts before the names, such as `dinov3_vit.`."""
    mark = next((n for n in tensors if n.endswith("embeddings.cls_token")), "embeddings.cls_token")
    prefix = mark.removesuffix("embeddings.cls_token")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
