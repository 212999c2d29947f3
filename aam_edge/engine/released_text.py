"""Prompts to what the public network reads: vectors of CLIP's text tower, from imported weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from aam_edge.engine.memory import need_memory
from aam_edge.errors import ModelError
from aam_edge.model.released.clip_text import ClipText
from aam_edge.model.released.clip_tokens import ClipTokens, parse_merges
from aam_edge.model.released.stored import find_stored
from aam_edge.prompts import FREE_VIEWING, shortened

KIND = "clip"
IMPORT = "aam-edge weights import ViT-L-14.pt --vocabulary bpe_simple_vocab_16e6.txt.gz"

GENERIC = (
    "Generic visual stimulus observed under free-viewing conditions. Represents general human "
    "visual attention without assumptions about scene type, task or domain."
)
"""What the public network was given wherever nothing was known of a picture (Attend to Anything,
Apache-2.0). It was never taught short prompts, so this is what free viewing means to it."""


class ClipPrompts:
    """CLIP's text tower and its vocabulary; each prompt is read once."""

    def __init__(self, name: str = "clip-text"):
        """Loads imported weights by name or path; ModelError says what is missing."""
        stored = find_stored(name)
        if stored is None or stored.kind != KIND:
            raise ModelError("CLIP, which reads the prompts, is not there", name, IMPORT)
        if not stored.merges.is_file():
            raise ModelError("vocabulary of CLIP is not there", stored.merges, IMPORT)
        need_memory(stored.path)
        stored.check()
        with torch.device("meta"):
            self._tower = ClipText().eval().requires_grad_(False)
        self._tower.load_state_dict(load_file(stored.path), assign=True)
        self._tower.float()
        self._tokens = ClipTokens(parse_merges(stored.merges.read_text()))
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, prompt: str) -> NDArray[np.float32]:
        """The vector of a prompt, (768,), or of the first 77 pieces, which is all CLIP reads."""
        if prompt not in self._known:
            self._known[prompt] = self._read(GENERIC if prompt == FREE_VIEWING else prompt)
        return self._known[prompt]

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        """What will not be looked for as it was asked, a line each."""
        most = self._tower.size.context
        return [
            f"prompt is long ({shortened(prompt)}): only {most} pieces of it are read"
            for prompt in dict.fromkeys(prompts)
            if len(self._tokens.encode(prompt)) > most
        ]

    def _read(self, text: str) -> NDArray[np.float32]:
        ids, most = self._tokens.encode(text), self._tower.size.context
        kept = ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
        with torch.inference_mode():
            vector = self._tower(torch.tensor([kept]))[0]
        return np.asarray(vector.numpy(), np.float32)
