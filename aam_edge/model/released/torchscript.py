"""Tensors out of a TorchScript archive, without running any of its code.

OpenAI gives CLIP as such an archive: a zip with the code of the model, a pickle that says which
module holds which tensor, and the tensors' bytes. `torch.jit.load` would compile the code and run
what it asks for at loading. Here the pickle alone is read, by a reader that knows tensors, numbers
and dummy modules; whatever else it names is refused.

    NAME/data.pkl     the tree of modules
    NAME/data/0 ...   the bytes of each storage, not compressed
    NAME/code/...     never looked at
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


class Refused(Exception):
    """The pickle names something that is neither tensor nor number."""


class Part:
    """Stands for a module of the archive: its fields by name, its code left out."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def __new__(cls, *_: object) -> Part:
        part = super().__new__(cls)
        part.fields = {}
        return part

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.fields = state


def is_archive(file: zipfile.ZipFile) -> bool:
    """Whether a zip is TorchScript and no plain checkpoint."""
    return any(name.endswith("/constants.pkl") for name in file.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """All tensors of the model by their dotted names.

    Raises:
        Refused: it holds more than tensors.
        zipfile.BadZipFile, OSError, ValueError, KeyError, pickle.UnpicklingError: it is damaged.
    """
    with zipfile.ZipFile(path) as file:
        pickled = next((n for n in file.namelist() if n.endswith("/data.pkl")), None)
        if pickled is None:
            raise KeyError("data.pkl")
        folder = pickled.removesuffix("data.pkl")
        tree = _Reader(file, folder, _record(file, pickled)).load()
    return dict(_named(tree, "", 0))


class _Reader(pickle.Unpickler):
    """Knows what the tree of a model is made of; each storage is read once."""

    def __init__(self, file: zipfile.ZipFile, folder: str, pickled: bytes):
        super().__init__(io.BytesIO(pickled))
        self._file, self._folder = file, folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return Part
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {
            "torch._utils._rebuild_tensor_v2": _tensor,
            "collections.OrderedDict": OrderedDict,
            "torch.jit._pickle.restore_type_tag": _same,
            "torch.jit._pickle.build_intlist": list,
            "torch.jit._pickle.build_doublelist": list,
            "torch.jit._pickle.build_boollist": list,
            "torch.jit._pickle.build_tensorlist": list,
        }
        if f"{module}.{name}" not in known:
            raise Refused(f"{module}.{name}")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Tensor:
        word, dtype, key, _device, _count = pid
        if word != "storage" or not isinstance(dtype, torch.dtype):
            raise Refused(str(word))
        if key not in self._storages:
            content = _record(self._file, f"{self._folder}data/{key}")
            self._storages[key] = torch.frombuffer(bytearray(content), dtype=dtype)
        return self._storages[key]


def _record(file: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of one record; a compressed one is none of torch's, and might be endless."""
    if file.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return file.read(name)


def _tensor(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> Tensor:
    # as_strided looks whether all of it lies within the storage.
    return storage.as_strided(size, stride, offset).contiguous()


def _same(value: object, *_: object) -> object:
    return value


def _named(part: object, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(part, Tensor):
        yield prefix, part
    elif isinstance(part, Part):
        if depth > 64:
            raise ValueError("modules lie within each other without end")
        for name, field in part.fields.items():
            yield from _named(field, f"{prefix}.{name}" if prefix else str(name), depth + 1)
