"""The user's folder of imported weights. Needs no torch.

    $XDG_DATA_HOME/aam-edge/weights/           else ~/.local/share/aam-edge/weights/
        released-l.safetensors                 tensors, as our networks read them
        released-l.json                        what they are, their hash, where they came from
        clip-text.merges.txt                   beside CLIP, its vocabulary

A file appears whole under its name or not at all, the manifest last. A name is given to `--model`
without folder and ending; the path of a .safetensors file that lies beside its manifest serves too.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aam_edge.errors import ModelError

FORMAT = 1
KINDS = ("aam", "dinov3", "clip", "wav2clip")
TENSORS, MANIFEST, MERGES = ".safetensors", ".json", ".merges.txt"
NEEDED = ("format", "name", "kind", "size", "tensors_sha256", "tensors", "parameters", "licence")
IMPORT_ANEW = "import it anew with aam-edge weights import"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """Imported weights; their manifest was read, their tensors were not."""

    name: str
    path: Path
    """Of the tensors."""
    manifest: dict[str, Any]

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return str(self.manifest["kind"])

    @property
    def size(self) -> str:
        """s, b or l; empty where a kind has one size alone."""
        return str(self.manifest["size"])

    @property
    def sha256(self) -> str:
        """Of the file of tensors, hex."""
        return str(self.manifest["tensors_sha256"])

    @property
    def weights_id(self) -> str:
        """First 12 hex digits of the hash."""
        return self.sha256[:12]

    @property
    def merges(self) -> Path:
        """CLIP's vocabulary; there only if it was given."""
        return self.path.with_suffix(MERGES)

    def check(self) -> None:
        """Raises ModelError where the tensors are not those that were imported."""
        try:
            found = file_sha256(self.path)
        except OSError as problem:
            raise ModelError("weights file cannot be read", self.path, IMPORT_ANEW) from problem
        if found != self.sha256:
            value = f"{self.path.name}: {found[:12]}, manifest says {self.weights_id}"
            raise ModelError("weights have a wrong hash", value, IMPORT_ANEW)


def user_folder() -> Path:
    """Where the system wants such files of this user.

    Raises:
        ModelError: the user has no home.
    """
    given = os.environ.get("XDG_DATA_HOME", "")
    try:
        # A relative path is to be ignored (XDG Base Directory Specification).
        base = Path(given) if given.startswith("/") else Path.home() / ".local" / "share"
    except RuntimeError as problem:
        todo = "set XDG_DATA_HOME to a folder of yours"
        raise ModelError("there is no place for weights", "no home folder", todo) from problem
    return base / "aam-edge" / "weights"


def stored_names(folder: Path | None = None) -> list[str]:
    """Names of all that was imported, sorted, readable or not."""
    return sorted(path.stem for path in (folder or user_folder()).glob(f"*{MANIFEST}"))


def find_stored(name: str, folder: Path | None = None) -> Stored | None:
    """Imported weights by name, or by the path of their .safetensors or .json file.

    Returns:
        None where no such manifest is there, or it is another sort of package's.

    Raises:
        ModelError: the manifest cannot be read or is of a later format.
    """
    is_path = name.endswith((TENSORS, MANIFEST)) or "/" in name
    path = Path(name) if is_path else (folder or user_folder()) / f"{name}{MANIFEST}"
    path = path.with_suffix(MANIFEST) if is_path else path
    if not path.is_file():
        return None
    manifest = _read(path)
    if "kind" not in manifest:
        return None
    missing = [key for key in NEEDED if key not in manifest]
    if missing or manifest["kind"] not in KINDS:
        value = f"{path}: {missing[0] if missing else manifest['kind']}"
        raise ModelError("manifest of the weights cannot be used", value, IMPORT_ANEW)
    if manifest["format"] != FORMAT:
        value = f"{path}: format {manifest['format']}, known {FORMAT}"
        raise ModelError("weights are of another format", value, "update aam-edge or import anew")
    tensors = path.parent / (path.name.removesuffix(MANIFEST) + TENSORS)
    return Stored(str(manifest["name"]), tensors, manifest)


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError("manifest of the weights cannot be read", path, IMPORT_ANEW) from problem
    return manifest if isinstance(manifest, dict) else {}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file of any size, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
