"""From a file that a user brings to weights in the user's folder.

The kind is told by the names in the file, the size by the width of its tokens. What does not fit
is refused by name before anything is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import aam_edge
from aam_edge.errors import ModelError, UsageError
from aam_edge.model.released import checkpoint
from aam_edge.model.released.clip_text import ClipText
from aam_edge.model.released.clip_tokens import ClipTokens, Pair
from aam_edge.model.released.dinov3 import SIZES
from aam_edge.model.released.encoder_weights import (
    CLIP_MARKS,
    MERGES_FILES,
    WAV2CLIP_MARKS,
    check_clip_config,
    clip_tensors,
    merges_text,
    read_merges,
    wav2clip_tensors,
)
from aam_edge.model.released.files import Found, Tensors, read_weights
from aam_edge.model.released.fit import check_fit
from aam_edge.model.released.origins import origin_of
from aam_edge.model.released.stored import (
    FORMAT,
    KINDS,
    MANIFEST,
    MERGES,
    TENSORS,
    Stored,
    file_sha256,
)
from aam_edge.model.released.wav2clip import Wav2Clip

SIZED = ("aam", "dinov3")
"""Kinds that come in several sizes."""
GOOD_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Ready:
    """Weights that fit, not yet written."""

    kind: str
    size: str
    tensors: Tensors
    merges: list[Pair] | None = None


def import_weights(
    path: Path,
    folder: Path,
    *,
    kind: str | None = None,
    size: str | None = None,
    name: str | None = None,
    vocabulary: Path | None = None,
) -> Stored:
    """Reads, compares, and writes into a folder.

    Args:
        path: of a file or a Hugging Face folder.
        folder: for the result; made where it is not there.
        kind: one of KINDS; None tells it by the names of the tensors.
        size: s, b or l; None tells it by their shapes.
        name: that it shall have; None takes that of its origin, such as released-l.
        vocabulary: of CLIP, where the file has none beside it.

    Raises:
        UsageError: a name that is none, a vocabulary for what reads no text.
        ModelError: not readable, not finite, code in it, does not fit, or no room.
    """
    if name is not None and not GOOD_NAME.fullmatch(name):
        raise UsageError("name of weights cannot be used", name, "give letters, digits, . _ and -")
    found = read_weights(path)
    ready = prepare(found, kind, size, vocabulary)
    origin = origin_of(ready.kind, ready.size)
    note = {
        "name": name or origin.name,
        "kind": ready.kind,
        "size": ready.size,
        "licence": origin.licence,
        "from": path.name,
        "from_form": found.form,
        "from_sha256": None if path.is_dir() else file_sha256(path),
    }
    try:
        return write(ready, note, folder)
    except (OSError, SafetensorError) as problem:
        value, todo = f"{folder}: {problem}", "make room there or set XDG_DATA_HOME"
        raise ModelError("weights cannot be written", value, todo) from problem


def prepare(
    found: Found, kind: str | None = None, size: str | None = None, vocabulary: Path | None = None
) -> Ready:
    """Tensors under our names, compared with the network of that kind and size."""
    kind = kind or kind_of(found.tensors, found.path)
    if vocabulary is not None and kind != "clip":
        raise UsageError("only CLIP has a vocabulary", kind, "leave --vocabulary out")
    if size is not None and kind not in SIZED:
        raise UsageError("kind has one size alone", kind, "leave --size out")
    if kind == "clip":
        return _clip(found, vocabulary)
    if kind == "wav2clip":
        tensors = wav2clip_tensors(found.tensors)
        check_fit(tensors, empty(Wav2Clip), found.path)
        return Ready(kind, "", tensors)
    size = size or size_of(found)
    read = checkpoint.read_checkpoint if kind == "aam" else checkpoint.read_backbone
    return Ready(kind, size, read(found.tensors, size, found.path))


def kind_of(tensors: Mapping[str, Tensor], path: Path) -> str:
    """What the names of the tensors say.

    Raises:
        ModelError: none of KINDS.
    """
    if any(mark in tensors for mark in CLIP_MARKS):
        return "clip"
    if any(mark in tensors for mark in WAV2CLIP_MARKS):
        return "wav2clip"
    if "backbone.cls_token" in tensors:
        return "aam"
    if any(name.endswith(("cls_token", "register_tokens")) for name in tensors):
        return "dinov3"
    value = f"{path.name}: first {next(iter(tensors))}"
    raise ModelError("weights are of no known kind", value, f"pass --kind {'|'.join(KINDS)}")


def size_of(found: Found) -> str:
    """s, b or l, by the width of the tokens.

    Raises:
        ModelError: of none.
    """
    token = next((t for n, t in found.tensors.items() if n.endswith("cls_token")), None)
    width = None if token is None or not token.ndim else token.shape[-1]
    size = next((name for name, shape in SIZES.items() if shape.width == width), None)
    if size is None:
        value = f"{found.path.name}: width {width}"
        raise ModelError("weights are of no known size", value, "give a network of size s, b or l")
    return size


def empty(network: type[ClipText] | type[Wav2Clip]) -> Mapping[str, Tensor]:
    """The tensors that a network has, without memory."""
    with torch.device("meta"):
        return dict(network().state_dict())


def write(ready: Ready, note: dict[str, Any], folder: Path) -> Stored:
    """Writes tensors, vocabulary and manifest; raises OSError, SafetensorError."""
    folder.mkdir(parents=True, exist_ok=True)
    name = str(note["name"])
    path = folder / f"{name}{TENSORS}"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    tensors = {n: _alone(tensor) for n, tensor in ready.tensors.items()}
    try:
        save_file(tensors, part, {"format": "pt"})
        manifest = {
            "format": FORMAT,
            **note,
            "tensors": len(tensors),
            "parameters": sum(t.numel() for t in tensors.values()),
            "tensors_sha256": file_sha256(part),
            "imported_by": f"aam-edge {aam_edge.__version__}",
        }
        # The manifest of what was there before must not stand beside the new tensors.
        (folder / f"{name}{MANIFEST}").unlink(missing_ok=True)
        part.replace(path)
        _write_merges(ready, folder / f"{name}{MERGES}")
        _write_text(folder / f"{name}{MANIFEST}", json.dumps(manifest, indent=1) + "\n")
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return Stored(name, path, manifest)


def _alone(tensor: Tensor) -> Tensor:
    """The tensor in memory that is its own and holds no more, as safetensors asks."""
    whole = tensor.contiguous()
    return whole if whole.untyped_storage().nbytes() == whole.nbytes else whole.clone()


def _write_merges(ready: Ready, path: Path) -> None:
    if ready.merges is None:
        path.unlink(missing_ok=True)
    else:
        _write_text(path, merges_text(ready.merges))


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(path)


def _clip(found: Found, vocabulary: Path | None) -> Ready:
    """The text tower, and the vocabulary that was given or lies in the folder."""
    check_clip_config(found.config, found.path)
    tensors = clip_tensors(found.tensors)
    check_fit(tensors, empty(ClipText), found.path)
    if vocabulary is None and any((found.path / name).is_file() for name in MERGES_FILES):
        vocabulary = found.path
    if vocabulary is None:
        return Ready("clip", "", tensors)
    merges = read_merges(vocabulary)
    rows = len(tensors[CLIP_MARKS[1]])
    if ClipTokens(merges).size != rows:
        value = f"{vocabulary}: {ClipTokens(merges).size} tokens, weights have {rows}"
        raise ModelError("vocabulary does not fit the weights", value, "give CLIP's own")
    return Ready("clip", "", tensors, merges)
