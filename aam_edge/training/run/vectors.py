"""Prompts as the network of a run reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.text import TextTable


class Vectors:
    """The vectors of prompts by the packaged table, kept; another process makes its own."""

    def __init__(self) -> None:
        self._table = TextTable()
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, text: str) -> NDArray[np.float32]:
        if text not in self._known:
            self._known[text] = self._table.embed(text)
        return self._known[text]

    def __reduce__(self) -> tuple[type[Vectors], tuple[()]]:
        return Vectors, ()
