"""The weights of this machine: what came with aam-edge, what was imported, what could be.

Listing and looking at safetensors need no torch; importing and comparing do.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aam_edge.engine.catalog import how_to_install
from aam_edge.engine.memory import need_memory
from aam_edge.engine.package import find_package, packaged_folder, packaged_names
from aam_edge.errors import ModelError
from aam_edge.model.released.origins import ORIGINS
from aam_edge.model.released.stored import (
    KINDS,
    Stored,
    file_sha256,
    find_stored,
    stored_names,
    user_folder,
)

__all__ = [
    "KINDS",
    "Row",
    "Shown",
    "import_weights",
    "list_imported",
    "list_weights",
    "show_weights",
    "user_folder",
]

COPIES_OF_FILE = 2.5
"""Of a file's size that importing takes: as it is, in single precision, and merged."""
LARGEST_HEADER_BYTES = 100_000_000
"""Of a safetensors file, as its specification bounds it."""


MISREAD = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(struct.error, MemoryError),
)
"""What reading a broken header raises."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sort of weights in the list."""

    name: str
    state: str
    """packaged, imported, damaged or missing."""
    words: str
    licence: str
    size_bytes: int = 0
    sha256: str = ""
    path: str = ""
    where: str = ""
    """For what is missing, where users get it."""
    command: str = ""
    """For what is missing, how it is imported."""

    def as_map(self) -> dict[str, Any]:
        """For JSON; what does not apply is left out."""
        return {key: value for key, value in asdict(self).items() if value not in ("", 0)}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is in weights, and how they fit."""

    name: str
    path: Path
    sha256: str
    tensors: dict[str, tuple[str, list[int]]]
    """Name to dtype and shape."""
    note: Mapping[str, Any] = field(default_factory=dict)
    """The manifest; for a file that was not imported, its form and kind."""
    card: str = ""
    """What the maker says of it."""
    misfits: tuple[str, ...] | None = ()
    """What does not fit, a line each; None where it was not compared."""

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(_numbers(shape) for _, shape in self.tensors.values())

    def as_map(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "path": str(self.path),
            "sha256": self.sha256,
            "parameters": self.parameters,
            "note": dict(self.note),
            "card": self.card,
            "misfits": None if self.misfits is None else list(self.misfits),
            "tensors": {n: {"dtype": d, "shape": s} for n, (d, s) in self.tensors.items()},
        }


def list_weights() -> Iterator[Row]:
    """All that is here, then all that is known and not here."""
    for name in packaged_names():
        yield _packaged(name)
    yield from list_imported()
    names = stored_names()
    for origin in ORIGINS:
        if origin.name not in names:
            yield Row(
                origin.name,
                "missing",
                origin.words,
                origin.licence,
                where=origin.where,
                command=origin.command,
            )


def list_imported() -> Iterator[Row]:
    """What users brought, readable or not."""
    for name in stored_names():
        yield _imported(name)


def _packaged(name: str) -> Row:
    package = find_package(name)
    manifest, size_bytes = package.manifest, package.tensors.stat().st_size
    words, licence = str(manifest.get("taught", "")), str(manifest.get("licence", ""))
    sha256 = str(manifest["tensors_sha256"])
    return Row(name, "packaged", words, licence, size_bytes, sha256, str(package.tensors))


def _imported(name: str) -> Row:
    try:
        stored = find_stored(name)
        if stored is None:
            raise ModelError("manifest names no kind", name, "import it anew")
        size_bytes = stored.path.stat().st_size
    except (ModelError, OSError) as problem:
        return Row(name, "damaged", str(problem), "")
    words = f"{stored.kind} {stored.size}".rstrip() + f", from {stored.manifest.get('from', '?')}"
    licence = str(stored.manifest["licence"])
    return Row(name, "imported", words, licence, size_bytes, stored.sha256, str(stored.path))


def import_weights(
    path: Path,
    *,
    kind: str | None = None,
    size: str | None = None,
    name: str | None = None,
    vocabulary: Path | None = None,
) -> Stored:
    """Brings a user's file into the user's folder; see `importing.import_weights`.

    Raises:
        UsageError, ModelError: as there, and where torch is missing.
    """
    if not path.exists():  # said at once, before seconds of loading torch
        raise ModelError("weights file is not there", path, "check the path")
    need_torch()
    need_memory(path, COPIES_OF_FILE)
    from aam_edge.model.released import importing

    return importing.import_weights(
        path, user_folder(), kind=kind, size=size, name=name, vocabulary=vocabulary
    )


def show_weights(what: str, *, kind: str | None = None, size: str | None = None) -> Shown:
    """Looks into packaged or imported weights by name, or into any file.

    Raises:
        ModelError: not there, not readable; no torch for a file that needs it.
    """
    if what in packaged_names():
        package = find_package(what)
        card = (packaged_folder() / f"{what}.md").read_text()
        sha256 = str(package.manifest["tensors_sha256"])
        tensors = read_header(package.tensors)
        return Shown(what, package.tensors, sha256, tensors, package.manifest, card)
    stored = find_stored(what)
    if stored is not None:
        stored.check()
        card = f"{stored.manifest['licence']}"
        tensors = read_header(stored.path)
        return Shown(stored.name, stored.path, stored.sha256, tensors, stored.manifest, card)
    path = Path(what)
    if not path.exists():
        todo = "give a name that aam-edge weights list prints, or a file"
        raise ModelError("weights are not there", what, todo)
    return _show_file(path, kind, size)


def _show_file(path: Path, kind: str | None, size: str | None) -> Shown:
    """A file that was not imported; everything in it, and all that keeps it from being so."""
    need_torch()
    from aam_edge.model.released import files, importing
    from aam_edge.model.released.fit import Misfits

    found = files.read_weights(path)
    tensors = {
        n: (str(t.dtype).removeprefix("torch."), list(t.shape)) for n, t in found.tensors.items()
    }
    sha256 = "" if path.is_dir() else file_sha256(path)
    note = {"form": found.form}
    try:
        note["kind"] = kind or importing.kind_of(found.tensors, path)
        ready = importing.prepare(found, note["kind"], size)
        note["size"] = ready.size
        misfits: tuple[str, ...] = ()
    except Misfits as problem:
        misfits = tuple(problem.misfit.lines())
    except ModelError as problem:
        misfits = (str(problem),)
    return Shown(path.name, path, sha256, tensors, note, misfits=misfits)


def need_torch() -> None:
    """Raises ModelError where torch or safetensors is missing."""
    for library in ("torch", "safetensors"):
        if find_spec(library) is None:
            raise ModelError("weights need a library", library, how_to_install("eager"))


def read_header(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Names, dtypes and shapes of a safetensors file; of the tensors nothing is read.

    Raises:
        ModelError: it is none.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, LARGEST_HEADER_BYTES)))
        header.pop("__metadata__", None)
        return {name: (str(t["dtype"]), list(t["shape"])) for name, t in header.items()}
    except MISREAD as problem:
        todo = "get the file again"
        raise ModelError("weights file cannot be read", path, todo) from problem


def _numbers(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
