"""Prompts to what the public network reads: vectors of CLIP's text tower, from imported weights.

A vector is looked for in memory, then on disk (text_cache.py). For one that is in neither, the
tower is loaded, some seconds and 500 MB, and let go again: a stream asks for new prompts rarely,
and robots are short of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aam_edge.engine.memory import need_memory
from aam_edge.engine.text import REMEMBERED
from aam_edge.engine.text_cache import TextCache
from aam_edge.errors import ModelError
from aam_edge.model.released.clip_text import ClipText, ClipTextSize
from aam_edge.model.released.clip_tokens import ClipTokens
from aam_edge.model.released.conditions import words_for
from aam_edge.model.released.encoder_weights import read_merges
from aam_edge.model.released.loading import load_encoder
from aam_edge.model.released.stored import find_stored
from aam_edge.prompts import shortened

KIND = "clip"
IMPORT = "aam-edge weights import ViT-L-14.pt --vocabulary bpe_simple_vocab_16e6.txt.gz"
COPIES_OF_FILE = 3
"""Of the file's size that the tower takes: it lies there in half precision."""


class ClipPrompts:
    """Vectors of prompts; each prompt is read once. Used by one thread."""

    def __init__(
        self,
        name: str = "clip-text",
        size: ClipTextSize | None = None,
        cache_folder: Path | None = None,
    ):
        """Takes imported weights by name or path; another size and cache folder for tests.

        Raises:
            ModelError: CLIP is not there, is not as it was imported, or has no vocabulary.
        """
        stored = find_stored(name)
        if stored is None or stored.kind != KIND:
            raise ModelError("CLIP, which reads the prompts, is not there", name, IMPORT)
        if not stored.merges.is_file():
            raise ModelError("vocabulary of CLIP is not there", stored.merges, IMPORT)
        self._stored, self._size = stored, size or ClipTextSize()
        self._cache = TextCache(f"clip {stored.sha256}", self._size.projection, cache_folder)
        self._known = lru_cache(REMEMBERED)(self._vector)

    def embed(self, prompt: str) -> NDArray[np.float32]:
        """The vector of a prompt, (768,), or of the first 77 pieces, which is all CLIP reads.

        Raises:
            ModelError: weights or vocabulary cannot be read.
        """
        return self._known(words_for(prompt))

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        """What will not be looked for as it was asked, a line each."""
        most = self._size.context
        return [
            f"prompt is long ({shortened(prompt)}): only {most} pieces of it are read"
            for prompt in dict.fromkeys(prompts)
            if len(self._tokens.encode(words_for(prompt))) > most
        ]

    def _vector(self, words: str) -> NDArray[np.float32]:
        vector = self._cache.get(words)
        if vector is None:
            vector = self._read(words)
            self._cache.put(words, vector)
        vector.flags.writeable = False
        return vector

    def _read(self, words: str) -> NDArray[np.float32]:
        *ids, end = self._tokens.encode(words)
        need_memory(self._stored.path, COPIES_OF_FILE)
        tower = load_encoder(lambda: ClipText(self._size), self._stored)
        with torch.inference_mode():
            vector = tower(torch.tensor([[*ids[: self._size.context - 1], end]]))[0]
        return np.array(vector.numpy(), np.float32)

    @cached_property
    def _tokens(self) -> ClipTokens:
        return ClipTokens(read_merges(self._stored.merges))
