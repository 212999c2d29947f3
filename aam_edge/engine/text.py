"""Turns a prompt into 128 numbers, offline, with numpy alone (DESIGN 4, Text).

The packaged table holds one vector for each word piece of the sentence model all-MiniLM-L6-v2, made
by tools/make_text_table: the piece alone through the model, centred, projected on 128 directions.
A prompt is the weighted mean of its pieces, brought to length 1:

    e = sum_i w_i r_i / |sum_i w_i r_i|     w: squared logarithm of the piece's rank

Words of asking are left out before (wording.py), so "where is my cup?" is "cup". Frequent pieces
(of, on, with) have low ranks and weigh little. Word order is lost: "dog on bed" is "bed on dog".
Asking for nothing (free viewing) is not decided here; an empty prompt is the zero vector, and what
that means is up to the network.

text.npz, without pickles:

    rows      (pieces, 128) int8    direction of each piece
    scales    (pieces,) float16     times a row gives w_i r_i
    pieces    (bytes,) uint8        UTF-8, one piece a line, in the order of rows
    mean      (384,) float32        of the pieces' sentence vectors
    basis     (384, 128) float16    orthonormal columns
    note      (bytes,) uint8        UTF-8: format, origin, licence
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.package import packaged_folder
from aam_edge.engine.word_pieces import WordPieces
from aam_edge.engine.wording import content
from aam_edge.errors import ModelError

Vector: TypeAlias = NDArray[np.float32]

SIZE = 128
"""Numbers of an embedding."""
FORMAT = "aam-edge text table 1"
"""First line of the note; another format has another number."""
MAX_CHARACTERS = 2_000
"""What follows in a longer prompt is not read."""
MAX_PIECES = 254
"""Later pieces do not count; with its two marks that is the sentence model's limit of 256."""
REMEMBERED = 256
"""Prompts whose embedding is kept."""

KEYS = ("rows", "scales", "pieces", "mean", "basis", "note")
# What numpy raises on a file that is no .npz, or is cut or changed; a lone array is no context.
DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, AttributeError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)


class TextTable:
    """Embeds prompts; reads its file when it is first needed.

    The last prompts' embeddings are kept in memory. None are kept on disk: reading the table takes
    some ten milliseconds once and a prompt some ten microseconds.
    """

    def __init__(self, path: Path | None = None):
        """Takes a table file, the packaged one by default; nothing is read yet."""
        self.path = path or packaged_folder() / "text.npz"
        self._remembered = lru_cache(REMEMBERED)(self._embed)

    def embed(self, prompt: str) -> Vector:
        """The embedding of any text.

        Returns:
            (128,), length 1; all zero where no word of the text is known, as in an empty one.
            Read-only, and the same array for the same prompt.

        Raises:
            ModelError: the table cannot be read.
        """
        return self._remembered(prompt[:MAX_CHARACTERS])

    def known(self, prompt: str) -> list[str]:
        """The word pieces that give a prompt its meaning; none where no word of it is known.

        Other scripts have a few letters among the pieces, which mean nothing to an English model.
        """
        pieces = islice(self.split(content(prompt[:MAX_CHARACTERS])), MAX_PIECES)
        return [piece for piece in pieces if piece in self._places and _is_read(piece)]

    def place(self, piece: str) -> int:
        """The row of a known piece."""
        return self._places[piece]

    def split(self, text: str) -> Iterator[str]:
        """The word pieces of a text, whole, `[UNK]` where there are none."""
        return self._splitter.split(text)

    def reduce(self, sentence: Vector) -> Vector:
        """The sentence model's own vector of a text, in the space of `embed`.

        Args:
            sentence: (384,), length 1, as all-MiniLM-L6-v2 gives it.

        Returns:
            (128,), length 1.
        """
        return _unit((sentence - self._arrays["mean"]) @ self._arrays["basis"].astype(np.float32))

    @cached_property
    def note(self) -> str:
        """Where the table comes from, and its licence."""
        return _text(self._arrays["note"])

    def _embed(self, prompt: str) -> Vector:
        known = [self._places[piece] for piece in self.known(prompt)]
        scales = self._arrays["scales"][known].astype(np.float32)
        embedding = _unit(scales @ self._arrays["rows"][known].astype(np.float32))
        embedding.flags.writeable = False
        return embedding

    @cached_property
    def _places(self) -> dict[str, int]:
        pieces = _text(self._arrays["pieces"]).split("\n")
        return {piece: place for place, piece in enumerate(pieces)}

    @cached_property
    def _splitter(self) -> WordPieces:
        return WordPieces(self._places, max(map(len, self._places)))

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        return _read(self.path)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    todo = "install aam-edge again"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as table:
            arrays = {key: table[key] for key in KEYS}
    except FileNotFoundError as problem:
        raise ModelError("text table is not there", path, todo) from problem
    except DAMAGED as problem:
        raise ModelError("text table cannot be read", f"{path}: {problem}", todo) from problem
    found = _text(arrays["note"]).partition("\n")[0]
    if found != FORMAT:
        raise ModelError("text table is of another format", f"{path}: {found}", todo)
    return arrays


def _text(array: NDArray[np.uint8]) -> str:
    return array.tobytes().decode("utf-8")


def _is_read(piece: str) -> bool:
    """Whether it has a Latin letter or a digit."""
    return any(char.isascii() and char.isalnum() for char in piece)


def _unit(vector: Vector) -> Vector:
    """To length 1; zero stays zero."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else np.zeros_like(vector)
