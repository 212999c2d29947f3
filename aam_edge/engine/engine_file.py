"""A TensorRT engine on disk: the plan, and beside it a manifest that says what it is good for.

    nano-1c0ffee5badc-192x256-f16.engine   what TensorRT has built
    nano-1c0ffee5badc-192x256-f16.json     of which weights, for which GPU and versions, its hash

A plan runs only with the very GPU and TensorRT that built it; elsewhere TensorRT crashes, or
refuses with two numbers that say nothing. So the manifest is compared first, and what differs is
said.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from aam_edge.engine.package import Package
from aam_edge.errors import ModelError

FORMAT = 1
BUILD = "aam-edge build makes one for this machine"


@dataclass(frozen=True, slots=True)
class Fit:
    """What must be the same where an engine is built and where it runs."""

    weights: str
    """SHA-256 of the network's tensors."""
    gpu: str
    capability: str
    """CUDA compute capability, such as 8.7."""
    tensorrt: str
    torch: str
    """Versions."""
    height: int
    width: int
    """Of the network's input, pixels."""
    precision: str
    """f32, bf16 or f16."""

    def difference(self, manifest: dict[str, Any]) -> str | None:
        """What is different in a manifest, in words; None where all is the same."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), manifest.get(field.name)
            if ours != theirs:
                return f"built for {field.name} {_short(theirs)}, here is {_short(ours)}"
        return None


def default_folder() -> Path:
    """Where engines lie: below the user's cache, which outlives a start of the machine."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is to be ignored (XDG Base Directory Specification).
    cache = given if given.is_absolute() else Path.home() / ".cache"
    return cache / "aam-edge" / "engines"


def engine_path(folder: Path, package: Package, fit: Fit) -> Path:
    """The engine's file; what else must fit stands in its manifest."""
    name = f"{package.name}-{package.weights_id}-{fit.height}x{fit.width}-{fit.precision}"
    return folder / f"{name}.engine"


def write_engine(path: Path, plan: bytes, fit: Fit, facts: dict[str, Any]) -> None:
    """Writes plan and manifest; the manifest last, so that half a plan is never taken for one.

    Raises:
        ModelError: the folder cannot be written.
    """
    manifest = {"format": FORMAT, **asdict(fit), **facts}
    manifest |= {"bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, plan)
        _replace(path.with_suffix(".json"), (json.dumps(manifest, indent=1) + "\n").encode())
    except OSError as problem:
        todo = "give another folder with --out or model.engine_folder"
        raise ModelError("engine file cannot be written", f"{path}: {problem}", todo) from problem


def read_engine(path: Path, fit: Fit) -> bytes:
    """The plan, if it is whole and of this network and machine.

    Raises:
        ModelError: it is not, and why.
    """
    try:
        manifest = json.loads(path.with_suffix(".json").read_text())
        plan = path.read_bytes()
    except FileNotFoundError as problem:
        raise ModelError("no engine file", path, BUILD) from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError("engine file cannot be read", f"{path}: {problem}", BUILD) from problem
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError("engine file is of another format", path, BUILD)
    difference = fit.difference(manifest)
    if difference is not None:
        raise ModelError("engine does not fit", f"{path.name}: {difference}", BUILD)
    if hashlib.sha256(plan).hexdigest() != manifest.get("sha256"):
        value = f"{path.name}: {len(plan)} of {manifest.get('bytes')} bytes, or changed ones"
        raise ModelError("engine file is damaged", value, BUILD)
    return plan


def _replace(path: Path, content: bytes) -> None:
    part = path.with_suffix(f"{path.suffix}.part")
    part.write_bytes(content)
    part.replace(path)


def _short(value: object) -> str:
    """A hash by its first digits."""
    text = str(value)
    return text[:12] if len(text) == 64 else text
