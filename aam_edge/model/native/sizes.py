"""The native network in its sizes: nano, and s, b and l on DINOv3.

The larger ones read prompts as CLIP's text tower writes them (768 numbers, ViT-L/14, as the public
checkpoint does); decoder, filter and hearing are those of nano. Sound stays log-mel: what sounds is
found by its timing, and one Wav2CLIP vector for two seconds has none
(docs/decisions/0043-native-sizes.md).

    network = network_of("s")                      # random weights
    begin_from(network, tensors, path)             # DINOv3, or the backbone of a public checkpoint
    add_lora(network.body.backbone)                # released/lora.py; fit, and then
    merge_projections(network)                     # as packages hold it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.model.native.decoder import PROMPT_CHANNELS, Pieces
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.vit_body import VIT_TAPS, VitBody
from aam_edge.model.released.dinov3 import SIZES, TINY, VitShape
from aam_edge.model.released.lora import merge_lora

NANO = "nano"
CLIP_CHANNELS = 768
VIT_SIZES: dict[str, VitShape] = {**SIZES, "tiny": TINY}
"""`tiny` is for tests."""
NATIVE_SIZES = (NANO, *VIT_SIZES)
BEFORE = ("backbone.", "module.backbone.", "body.backbone.")
"""Where a backbone's tensors may stand in a file of more."""


def network_of(size: str, pieces: Pieces | None = None) -> NativeNetwork:
    """A network of random weights.

    Raises:
        ModelError: there is no such size.
    """
    if size == NANO:
        return NativeNetwork(pieces)
    if size not in VIT_SIZES:
        raise ModelError("unknown size of the network", size, f"give {', '.join(NATIVE_SIZES)}")
    return NativeNetwork(pieces, VitBody(VIT_SIZES[size]), VIT_TAPS, CLIP_CHANNELS)


def size_of(network: NativeNetwork) -> str:
    """The size of a network that was made here."""
    if not isinstance(network.body, VitBody):
        return NANO
    shape = network.body.backbone.shape
    return next(size for size, known in VIT_SIZES.items() if known == shape)


def prompt_channels(size: str) -> int:
    """Numbers of a prompt."""
    return PROMPT_CHANNELS if size == NANO else CLIP_CHANNELS


def half_of(size: str) -> str:
    """The half precision that the network loses less in: a transformer's range outgrows f16."""
    return "f16" if size == NANO else "bf16"


def merge_projections(network: NativeNetwork) -> None:
    """Makes a DINOv3's attention plain for inference: LoRA and the masks of key biases worked in.

    Packages hold networks in this form. nano has nothing of the kind.
    """
    if isinstance(network.body, VitBody):
        merge_lora(network.body.backbone)


def begin_from(network: NativeNetwork, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts a DINOv3 into a network of size s, b or l; the rest stays as it is.

    Args:
        network: changed in place, before LoRA is added.
        tensors: as `aam-edge weights import` writes them: a DINOv3, or a public AAM checkpoint,
            whose LoRA is merged into its backbone and so comes along.
        path: for messages.

    Raises:
        ModelError: the file holds no DINOv3, or one of another size.
    """
    if not isinstance(network.body, VitBody):
        raise ModelError("nano has no DINOv3 to begin from", path, "take size s, b or l")
    # Imported files have the mask of the keys' bias worked in.
    whole = network.body.backbone.state_dict()
    own = {name: tensor for name, tensor in whole.items() if not name.endswith("bias_mask")}
    found = {name: tensor for name, tensor in _backbone_of(tensors).items() if name in own}
    missing = [name for name in own if name not in found]
    if missing:
        value = f"{path}: {len(missing)} of {len(own)} tensors are missing, first {missing[0]}"
        raise ModelError("file holds no DINOv3", value, "import it: aam-edge weights import FILE")
    other = [name for name in own if found[name].shape != own[name].shape]
    if other:
        shapes = f"{tuple(found[other[0]].shape)} for {tuple(own[other[0]].shape)}"
        value = f"{path}: {other[0]} {shapes}"
        raise ModelError("DINOv3 is of another size", value, "give the size it was made for")
    network.body.backbone.load_state_dict(
        {name: tensor.to(own[name].dtype) for name, tensor in found.items()}, strict=False
    )


def _backbone_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors by the names they have in it."""
    for prefix in BEFORE:
        inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if inside:
            return inside
    return dict(tensors)
