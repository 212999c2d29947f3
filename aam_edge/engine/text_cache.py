"""Sentence vectors on disk, so that a prompt asked before does not start the sentence model.

One small file a text in the user's cache folder, named by a hash of model and text:

    16 bytes          start of the SHA-256 of what follows
    4 bytes a number  the vector, float32, little-endian

A file appears whole under its name or not at all, and one that is damaged is passed over, so any
number of processes may share the folder. A folder that cannot be used is said once; the model then
runs for each new prompt.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

KEPT = 1_000
"""Files; with one more the oldest quarter goes."""
DIGEST_BYTES = 16


class TextCache:
    """The vectors of one model."""

    def __init__(self, model_id: str, size: int, folder: Path | None = None):
        """Takes what tells the model from others, its vectors' size, a folder for the user's."""
        self._model_id, self._size = model_id, size
        self._folder = folder or user_folder()

    def get(self, text: str) -> NDArray[np.float32] | None:
        """(size,), or None where it is not kept."""
        if self._folder is None:
            return None
        try:
            vector = _unpacked((self._folder / self._name(text)).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as problem:
            self._give_up(problem)
            return None
        return vector if vector is not None and len(vector) == self._size else None

    def put(self, text: str, vector: NDArray[np.float32]) -> None:
        """Keeps a vector if it can."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._folder / self._name(text), _packed(vector))
            _forget_old(self._folder)
        except OSError as problem:
            self._give_up(problem)

    def _name(self, text: str) -> str:
        return hashlib.sha256(f"{self._model_id}\0{text}".encode()).hexdigest()

    def _give_up(self, problem: OSError) -> None:
        logger.info("prompts are not kept on disk (%s): %s", self._folder, problem.strerror)
        self._folder = None


def user_folder() -> Path | None:
    """Where the system wants such files of this user; None where there is no such place."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path is to be ignored (XDG Base Directory Specification).
        base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "aam-edge" / "text"


def _packed(vector: NDArray[np.float32]) -> bytes:
    body = vector.astype("<f4").tobytes()
    return hashlib.sha256(body).digest()[:DIGEST_BYTES] + body


def _unpacked(content: bytes) -> NDArray[np.float32] | None:
    digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if len(body) % 4 or hashlib.sha256(body).digest()[:DIGEST_BYTES] != digest:
        return None
    return np.frombuffer(body, "<f4").astype(np.float32)


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _forget_old(folder: Path) -> None:
    """Keeps the folder within its bound; parts that a killed process left count too."""
    paths = list(folder.iterdir())
    if len(paths) <= KEPT:
        return
    for path in sorted(paths, key=_written_ns)[: len(paths) - KEPT * 3 // 4]:
        path.unlink(missing_ok=True)


def _written_ns(path: Path) -> int:
    """When it was written; long ago if another process has just removed it."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
