"""The networks that can be trained, and the weights that they begin with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.engine.package import find_package
from aam_edge.errors import ModelError, UsageError
from aam_edge.model.native.decoder import Pieces
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.sizes import NATIVE_SIZES, begin_from, network_of
from aam_edge.model.native.vision import LiteBody, load_lite0
from aam_edge.model.native.vit_body import VitBody
from aam_edge.model.released.files import DAMAGED, read_saved
from aam_edge.model.released.stored import find_stored
from aam_edge.training.batch import Embed
from aam_edge.training.hae import point_anchor
from aam_edge.training.lora import add_lora
from aam_edge.training.run import checkpoint
from aam_edge.training.run.settings import ModelConfig, RunConfig

logger = logging.getLogger(__name__)

RANDOM = "random"
NETWORKS: dict[str, Callable[[Pieces], NativeNetwork]] = {
    size: partial(network_of, size) for size in NATIVE_SIZES
}
"""By the name of `model.size`."""


def build(model: ModelConfig) -> NativeNetwork:
    """A network of random weights."""
    if model.size not in NETWORKS:
        raise UsageError("unknown network", f"model.size={model.size}", f"give {_known(NETWORKS)}")
    pieces = set(Pieces.__dataclass_fields__)
    for name in model.without:
        if name not in pieces:
            todo = f"give {_known(pieces)}"
            raise UsageError("unknown piece of the decoder", f"model.without={name}", todo)
    return NETWORKS[model.size](Pieces(**dict.fromkeys(model.without, False)))


def _known(names: Any) -> str:
    return ", ".join(sorted(names))


def begun(config: RunConfig, embed: Embed) -> NativeNetwork:
    """The network as a run begins with it: weights, anchor, low-rank updates, frozen stages."""
    torch.manual_seed(config.seed)
    network = build(config.model)
    is_whole = _start(network, config.start)
    if not is_whole:
        point_anchor(network.decoder, torch.tensor(embed("free viewing")))
    if config.lora.rank:
        # Of s, b and l, the layers that make a pyramid of the backbone learn whole.
        adapted = network.body.backbone if isinstance(network.body, VitBody) else network.body
        names = add_lora(adapted, config.lora.rank, config.lora.alpha, config.lora.targets)
        logger.info("low-rank updates on %d layers", len(names))
    else:
        freeze(network, config.model.frozen_stages)
    return network


def freeze(network: NativeNetwork, stages: int) -> None:
    """The first stages of the body stay as they are: they cost half of the time."""
    if stages and isinstance(network.body, LiteBody):
        network.body.stem.requires_grad_(False)
        for stage in network.body.stages[:stages]:
            stage.requires_grad_(False)


def _start(network: NativeNetwork, start: str) -> bool:
    """Takes weights over; False where the decoder begins anew."""
    if start == RANDOM:
        return False
    if Path(start).suffix == ".pth":
        _load_body(network, Path(start))
        return False
    stored = find_stored(start)
    if stored is not None:
        stored.check()
        begin_from(network, load_file(stored.path), stored.path)
        return False
    weights = read_weights(start)
    return not take(network, weights, start)


def _load_body(network: NativeNetwork, path: Path) -> None:
    """A published EfficientNet-Lite0."""
    try:
        load_lite0(network.body, read_saved(path))
    except DAMAGED as problem:
        todo = "give the file of an EfficientNet-Lite0, another start, or random"
        raise ModelError("weights of the body cannot be read", path, todo) from problem


def read_weights(name: str) -> dict[str, Tensor]:
    """Tensors of a packaged network, a .safetensors of one, or a checkpoint's average (.pt)."""
    if Path(name).suffix == ".pt":
        return dict(checkpoint.read(Path(name))["average"])
    tensors = find_package(name).tensors
    return {key: tensor.float() for key, tensor in load_file(tensors).items()}


def take(network: NativeNetwork, weights: dict[str, Tensor], name: str) -> list[str]:
    """Takes weights over; returns the names of those that begin anew.

    Raises:
        ModelError: they are of another network.
    """
    own = network.state_dict()
    unknown = [key for key in weights if key not in own]
    other = [key for key in weights if key in own and weights[key].shape != own[key].shape]
    if unknown or other:
        value = f"{name}: {len(unknown)} unknown tensors, {len(other)} of another shape, "
        first = (unknown or other)[0]
        todo = "set model.size as in its run, or start from another"
        raise ModelError("weights are of another network", f"{value}first {first}", todo)
    missing = [key for key in own if key not in weights]
    if missing:
        logger.info("%d tensors begin anew, %s first", len(missing), missing[0])
    network.load_state_dict(weights, strict=False)
    return missing
