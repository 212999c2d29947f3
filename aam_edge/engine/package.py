"""A network on disk: files beside each other, one name.

    nano.json         manifest: what it is, its hashes, what it can do
    nano.onnx         the graph of one step, without weights
    nano.look.onnx    the graph of a second look (optional), without weights
    nano.int8.onnx    the step with convolutions in 8 bits (optional), without weights
    nano.safetensors  all weights, half precision, stored once

The graph names the tensors as external data inside the safetensors file, so ONNX Runtime and
OpenVINO read the very bytes that torch reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from aam_edge.errors import ModelError
from aam_edge.model.released.stored import Stored, find_stored

FORMAT = 2
"""What export writes; every earlier one is read (docs/install.md, Upgrading)."""
STATE_OF_FORMAT_1 = ("log_density", "variance", "luminance", "drift")
STEP_OF_FORMAT_1 = frozenset(
    (
        *("image", "prompt", "dt_s", *STATE_OF_FORMAT_1),
        *("density", "cut", *(f"next_{name}" for name in STATE_OF_FORMAT_1)),
    )
)
"""All that the graph of nano 0.1 reads and writes: no search, sound or ego-motion."""
RELEASED = "released"
"""Family of the public network."""
LOOK = ".look.onnx"
INT8 = ".int8.onnx"
GOOD_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
"""It stands in messages and in names of files."""
KINDS = {"prompt_channels": int, "size": str, "half": str, "family": str}
"""What the manifest may hold besides, with its type."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Package:
    """A network whose files are there and whole."""

    name: str
    graph: Path
    tensors: Path
    manifest: dict[str, Any]
    look: Path | None = None
    """Graph of a second look, None where the network has none."""
    int8: Path | None = None
    """Graph with convolutions in 8 bits, None where the network has none."""

    @property
    def weights_id(self) -> str:
        """First 12 hex digits of the hash of the weights."""
        return str(self.manifest["tensors_sha256"])[:12]

    @property
    def is_released(self) -> bool:
        """Whether it is the public network, imported by the user."""
        return self.manifest.get("family") == RELEASED

    @property
    def follows_prompts(self) -> bool:
        """Whether the map depends on the prompt."""
        return bool(self.manifest["follows_prompts"])

    @property
    def size(self) -> str:
        """nano, s, b or l."""
        return str(self.manifest.get("size", "nano"))

    @property
    def prompt_channels(self) -> int:
        """Numbers of a prompt: 128 of the text table, 768 of CLIP."""
        return int(self.manifest.get("prompt_channels", 128))

    @property
    def half(self) -> str:
        """f16 or bf16, whichever the network loses less with on a GPU."""
        return str(self.manifest.get("half", "bf16" if self.is_released else "f16"))

    @property
    def format(self) -> int:
        """1 to FORMAT; the public network counts as the last."""
        return FORMAT if self.is_released else int(self.manifest["format"])

    def of_graph(self, arrays: dict[str, T]) -> dict[str, T]:
        """Those of a step's arrays that the graph has; what it does not write keeps its value."""
        if self.format > 1:
            return arrays
        return {name: array for name, array in arrays.items() if name in STEP_OF_FORMAT_1}

    def look_graph(self) -> Path:
        """Graph of a second look; ModelError where the network has none."""
        if self.look is None:
            todo = "take --engine eager, or make it: python -m aam_edge.training.export --look-of"
            raise ModelError("network has no second look", self.name, todo)
        return self.look

    def int8_graph(self) -> Path:
        """Graph with convolutions in 8 bits; ModelError where the network has none."""
        if self.int8 is None:
            todo = "set model.precision=f32, or make it: python -m aam_edge.training.quantise --of"
            raise ModelError("network has no int8 graph", self.name, todo)
        return self.int8


def packaged_names() -> list[str]:
    """The networks that came with aam-edge."""
    return sorted(path.stem for path in packaged_folder().glob("*.json"))


def packaged_folder() -> Path:
    """Where they lie."""
    return Path(str(files("aam_edge.weights")))


def find_package(name: str) -> Package:
    """A packaged or imported network by name, or one by the path of its .safetensors or .json file.

    Raises:
        ModelError: not there, of a later format, or damaged.
    """
    stored = None if name in packaged_names() else find_stored(name)
    if stored is not None:
        return _imported(stored)
    path = Path(name)
    if path.suffix in (".pth", ".pt"):
        todo = f"run aam-edge weights import {name} --size s, b or l"
        raise ModelError("weights are not imported", name, todo)
    if path.suffix not in (".safetensors", ".json", ".onnx"):
        path = packaged_folder() / f"{name}.json"
        if not path.is_file():
            known = ", ".join(packaged_names())
            raise ModelError("unknown model", name, f"give one of {known}, or a .safetensors file")
    if not path.is_file():
        raise ModelError("weights file is not there", path, "check the path")
    manifest = _read_manifest(path.with_suffix(".json"))
    package = Package(
        str(manifest["name"]),
        path.with_suffix(".onnx"),
        path.with_suffix(".safetensors"),
        manifest,
        _optional(path.with_suffix(LOOK), "look_sha256" in manifest),
        _optional(path.with_suffix(INT8), "int8_sha256" in manifest),
    )
    _check_hash(package.tensors, str(manifest["tensors_sha256"]))
    _check_hash(package.graph, str(manifest["graph_sha256"]))
    if package.look is not None:
        _check_hash(package.look, str(manifest["look_sha256"]))
    if package.int8 is not None:
        _check_hash(package.int8, str(manifest["int8_sha256"]))
    return package


def _optional(path: Path, is_named: bool) -> Path | None:
    """A file that a network may do without."""
    return path if is_named and path.exists() else None


def _imported(stored: Stored) -> Package:
    """The public network as a package; its hash is looked at when it is opened."""
    if stored.kind != "aam":
        todo = "give a network, such as released-l"
        raise ModelError("weights are no network", f"{stored.name} is {stored.kind}", todo)
    manifest = {**stored.manifest, "family": RELEASED, "follows_prompts": True}
    return Package(stored.name, stored.path, stored.path, manifest)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError as problem:
        todo = "keep .json, .onnx and .safetensors together"
        raise ModelError("manifest of the weights is not there", path, todo) from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError(
            "manifest of the weights cannot be read", path, "export it anew"
        ) from problem
    needed = ("format", "name", "tensors_sha256", "graph_sha256", "follows_prompts")
    missing = [key for key in needed if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise ModelError(
            "manifest of the weights lacks a key", f"{path}: {missing[0]}", "export it anew"
        )
    if manifest["format"] not in range(1, FORMAT + 1):
        found = f"{path}: format {manifest['format']}, known 1 to {FORMAT}"
        raise ModelError("weights are of another format", found, "update aam-edge or export anew")
    if not isinstance(manifest["name"], str) or not GOOD_NAME.fullmatch(manifest["name"]):
        value = f"{path}: {manifest['name']!r}"
        raise ModelError("name of the weights cannot be used", value, "export it anew")
    for key, allowed in KINDS.items():
        if key in manifest and not isinstance(manifest[key], allowed):
            value = f"{path}: {key} is {type(manifest[key]).__name__}"
            raise ModelError("manifest of the weights is wrong", value, "export it anew")
    return dict(manifest)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _check_hash(path: Path, expected: str) -> None:
    try:
        found = file_hash(path)
    except OSError as problem:
        todo = "keep .json, .onnx and .safetensors together"
        raise ModelError("weights file cannot be read", path, todo) from problem
    if found != expected:
        value = f"{path.name}: {found[:12]}, manifest says {expected[:12]}"
        raise ModelError("weights have a wrong hash", value, "copy or install them again")
