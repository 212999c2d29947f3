"""Reads what users bring: files of tensors, by their content and whatever they are called.

    safetensors     a file, or several beside an index
    torch.save      as zip or in the older form; tensors, numbers and words alone are unpickled
    TorchScript     its tensors without its code (torchscript.py)
    a folder        of the Hugging Face hub: config.json beside one of these

Nothing else of a file is run or believed: code in a pickle, cut files, and numbers that are not
finite end in one line.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.model.released.torchscript import Refused, is_archive, read_archive

Tensors = dict[str, Tensor]

# What the readers raise on a file that is cut or changed.
DAMAGED = (
    *(OSError, EOFError, MemoryError, RuntimeError, OverflowError, UnicodeError, RecursionError),
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError),
    *(SafetensorError, pickle.UnpicklingError, struct.error),
    *(zipfile.BadZipFile, zipfile.LargeZipFile),
)
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the tensors."""
FOLDER_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
AGAIN = "get the file again and compare its size and hash with the publisher's"


@dataclass(frozen=True, slots=True)
class Found:
    """What a file or folder held."""

    path: Path
    form: str
    """safetensors, torch.save or TorchScript."""
    tensors: Tensors
    config: dict[str, Any] = field(default_factory=dict)
    """A Hugging Face folder's config.json, else empty."""


def read_weights(path: Path) -> Found:
    """The tensors of a file or folder, all finite, on the CPU, named as they are there.

    What wraps them (`{"state_dict": ...}`, a leading `module.`) is taken off.

    Raises:
        ModelError: not there, damaged, no tensors, code in it, or not finite.
    """
    if not path.exists():
        raise ModelError("weights file is not there", path, "check the path")
    found = _read_folder(path) if path.is_dir() else _read_file(path)
    check_finite(found.tensors, path)
    return found


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuses NaN and infinity, by the tensor's name; a bias mask without values is allowed."""
    for name, tensor in tensors.items():
        # DINOv3 makes its mask anew; files exist in which it was never filled.
        if tensor.is_floating_point() and not name.endswith("bias_mask"):
            # The sum is finite only if all are, and needs no second tensor.
            total = tensor.float().sum(dtype=torch.float64)
            if not total.isfinite():
                raise ModelError("weights are not finite", f"{path.name}: {name}", AGAIN)


def _read_folder(folder: Path) -> Found:
    weights = next((folder / n for n in FOLDER_FILES if (folder / n).is_file()), None)
    if weights is None:
        todo = f"give a Hugging Face folder with {FOLDER_FILES[0]}, or a file"
        raise ModelError("folder has no weights", folder, todo)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if weights.suffix != ".json":
        found = _read_file(weights)
        return Found(folder, found.form, found.tensors, config)
    tensors: Tensors = {}
    for name in _shards(weights):
        if not (folder / name).is_file():
            raise ModelError("part of the weights is not there", folder / name, AGAIN)
        tensors |= _read_file(folder / name).tensors
    return Found(folder, "safetensors", tensors, config)


def _shards(index: Path) -> list[str]:
    """The files that an index names, all in its own folder."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(n, str) for n in places.values()):
        raise ModelError("index of the weights cannot be read", index, AGAIN)
    names = sorted(set(places.values()))
    if any(Path(name).name != name for name in names):
        raise ModelError("index of the weights leads out of its folder", index, AGAIN)
    return names


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file; ModelError where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError("file beside the weights cannot be read", path, AGAIN) from problem
    if not isinstance(content, dict):
        raise ModelError("file beside the weights is no JSON object", path, AGAIN)
    return content


def _read_file(path: Path) -> Found:
    try:
        form, content = _content(path)
    except DAMAGED as problem:
        raise _misread(path, problem) from problem
    except Refused as problem:
        raise _has_code(path, str(problem)) from problem
    return Found(path, form, _unwrapped(content, path))


def _content(path: Path) -> tuple[str, object]:
    """The form of a file, told by its first bytes, and what is in it."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return "safetensors", load_file(path)
    is_zip = head.startswith(b"PK")
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            if is_archive(archive):
                return "TorchScript", read_archive(path)
    return "torch.save", read_saved(path, mmap=is_zip)


def read_saved(path: Path, *, mmap: bool = False) -> Any:
    """What torch.save wrote, tensors and plain values alone; raises one of DAMAGED."""
    _refuse_compressed(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that are refused, or read all the same
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _refuse_compressed(path: Path) -> None:
    """A compressed record is none of torch's, and might be endless."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{record.filename} is compressed")


def _misread(path: Path, problem: BaseException) -> ModelError:
    """The one line for what a reader raised."""
    named = re.search(r"GLOBAL ([\w.]+)", str(problem))
    if isinstance(problem, pickle.UnpicklingError) and named:
        return _has_code(path, named[1])
    if isinstance(problem, MemoryError):
        return ModelError("weights do not fit into memory", path, "use a machine with more")
    if isinstance(problem, PermissionError):
        return ModelError("weights file may not be read", path, "give yourself the right to")
    return ModelError("weights file is damaged or of no known form", path, AGAIN)


def _has_code(path: Path, name: str) -> ModelError:
    todo = "it was not opened; save the bare state_dict, or get the file from its publisher"
    return ModelError("weights file holds code", f"{path.name}: {name}", todo)


def _unwrapped(content: object, path: Path) -> Tensors:
    """The tensors by name, without what training scripts put around them."""
    while isinstance(content, dict) and not any(isinstance(v, Tensor) for v in content.values()):
        inner = next((content[k] for k in WRAPPERS if isinstance(content.get(k), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not content:
        raise ModelError("file holds no named tensors", path, AGAIN)
    for name, tensor in content.items():
        _check_tensor(name, tensor, path)
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _check_tensor(name: object, tensor: object, path: Path) -> None:
    if not isinstance(name, str) or not _is_plain(tensor):
        value = f"{path.name}: {name!r} is {type(tensor).__name__}"
        raise ModelError("file holds more than named tensors", value, "save the bare state_dict")


def _is_plain(tensor: object) -> bool:
    """Whether it is a tensor with numbers in memory, neither sparse nor elsewhere."""
    if not isinstance(tensor, Tensor):
        return False
    return tensor.layout == torch.strided and tensor.device.type == "cpu"
