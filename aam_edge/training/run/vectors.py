"""Prompts as the network of a run reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.released_text import ClipPrompts
from aam_edge.engine.text import TextTable


class Vectors:
    """The vectors of prompts, kept; another process makes its own."""

    def __init__(self, clip: str | None = None) -> None:
        """By the packaged table, or by imported CLIP of that name.

        Raises:
            ModelError: CLIP is not there.
        """
        self._clip = clip
        self._reader = TextTable() if clip is None else ClipPrompts(clip)
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, text: str) -> NDArray[np.float32]:
        if text not in self._known:
            self._known[text] = self._reader.embed(text)
        return self._known[text]

    def __reduce__(self) -> tuple[type[Vectors], tuple[str | None]]:
        return Vectors, (self._clip,)
