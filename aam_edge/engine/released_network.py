"""The public network of a user's file, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.engine.memory import need_memory
from aam_edge.errors import ModelError
from aam_edge.model.released.checkpoint import check_size, fill, plain_network, read_checkpoint
from aam_edge.model.released.files import read_weights
from aam_edge.model.released.network import SHAPES, ReleasedNetwork
from aam_edge.model.released.stored import IMPORT_ANEW, Stored, file_sha256, find_stored

KIND = "aam"
"""Of imported weights that hold the network."""
COPIES_OF_FILE = 2.5
"""Of a public file's size that reading it takes: as it is, in float, and merged."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A network with its weights."""

    network: ReleasedNetwork
    name: str
    size: str
    sha256: str
    """Of the file."""


def open_network(what: str | Path, size: str | None = None, device: str = "cpu") -> Opened:
    """Loads imported weights by name or path, or a public checkpoint by path.

    Args:
        what: `released-l`, an imported .safetensors file, or a file as its makers gave it.
        size: s, b or l, which a public checkpoint needs; of imported weights it is compared.
        device: cpu, cuda or cuda:1.

    Raises:
        ModelError: not there, damaged, of another size or kind, no memory, no such device.
    """
    stored = find_stored(str(what))
    opened = _of_file(Path(what), size) if stored is None else _of_stored(stored, size)
    return Opened(_moved(opened.network, device), opened.name, opened.size, opened.sha256)


def _of_stored(stored: Stored, size: str | None) -> Opened:
    if stored.kind != KIND:
        value = f"{stored.name} is {stored.kind}"
        raise ModelError("weights are no network to run", value, "give an imported AAM")
    need_memory(stored.path)
    stored.check()
    try:
        tensors = load_file(stored.path)
    except (OSError, SafetensorError) as problem:
        raise ModelError("weights file is damaged", stored.path, IMPORT_ANEW) from problem
    if size is not None:
        check_size(SHAPES[stored.size].backbone.width, size, stored.path)
    network = _filled(stored.size, tensors, stored.path)
    return Opened(network, stored.name, stored.size, stored.sha256)


def _of_file(path: Path, size: str | None) -> Opened:
    if not path.exists():
        todo = "give a name that aam-edge weights list prints, or a file"
        raise ModelError("weights are not there", path, todo)
    if size is None:
        raise ModelError("size of the weights is not told", path.name, "give s, b or l")
    need_memory(path, COPIES_OF_FILE)
    tensors = read_checkpoint(read_weights(path).tensors, size, path)
    sha256 = "" if path.is_dir() else file_sha256(path)
    return Opened(_filled(size, tensors, path), path.stem, size, sha256)


def _filled(size: str, tensors: Mapping[str, Tensor], path: Path) -> ReleasedNetwork:
    network = plain_network(SHAPES[size])
    fill(network, tensors, path)
    return network


def _moved(network: ReleasedNetwork, device: str) -> ReleasedNetwork:
    """The network on a device; ModelError says that there is none, or no room on it."""
    try:
        return network.to(device)
    except torch.OutOfMemoryError as problem:
        todo = "end other programs on it, or take a smaller size"
        raise ModelError("GPU has too little memory", device, todo) from problem
    except (RuntimeError, AssertionError) as problem:
        value = f"{device}: {str(problem).splitlines()[0]}"
        raise ModelError("torch cannot use this device", value, "take cpu or cuda") from problem
