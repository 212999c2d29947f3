"""The released AAM networks, asked about pictures and clips (SPEC 2).

A clip runs as a stream, silent, and its maps get the blur that the public code scores clips with.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import ModelError, UsageError
from aam_edge.training.corpus.item import Item
from aam_edge.training.measure.predictor import Answer

SIZES = ("s", "b", "l")
BLUR_PX, BLUR_SIGMA_PX = 11, 2.0
HOME = "aam_edge.engine.released"


class Released:
    """A released network as a predictor.

    Args:
        name: of its row.
        network: `forward_image(images, text)`, `init_state()` and `step(frame, text, state)`.
    """

    def __init__(self, name: str, network: Any):
        self.name, self._network = name, network

    def follows(self, gaze_set: str, prompts: Sequence[str]) -> bool:
        """Whatever the prompts are."""
        return True

    def look(
        self, item: Item, indices: Sequence[int], prompts: Sequence[str]
    ) -> Iterator[list[Answer]]:
        """Photos by themselves; clips from their first frame on."""
        if len(item) == 1:
            picture = item.image(0)[None]
            maps = [self._network.forward_image(picture, prompt)[0] for prompt in prompts]
            yield [Answer(_array(of_prompt)) for of_prompt in maps]
            return
        states = [self._network.init_state() for _ in prompts]
        for index in range(max(indices) + 1):
            frame = item.image(index)
            maps = [
                self._network.step(frame, prompt, state)
                for prompt, state in zip(prompts, states, strict=True)
            ]
            if index in indices:
                yield [Answer(_blurred(_array(of_prompt))) for of_prompt in maps]


def _array(saliency_map: Any) -> NDArray[np.float32]:
    return np.asarray(saliency_map, np.float32)


def _blurred(saliency_map: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (BLUR_PX, BLUR_PX)
    return np.asarray(cv2.GaussianBlur(saliency_map, size, BLUR_SIGMA_PX), np.float32)


def open_released(name: str, weights: Path | None) -> Released:
    """The network `released-s`, `released-b` or `released-l`.

    Args:
        name: which one.
        weights: the user's checkpoint; None takes what was imported under the name.

    Raises:
        UsageError: no such size.
        ModelError: the weights are not there or do not fit, or this version cannot run them.
    """
    size = name.removeprefix("released-")
    if size not in SIZES:
        raise UsageError("unknown model", name, "give released-s, released-b or released-l")
    try:
        home = importlib.import_module(HOME)
    except ModuleNotFoundError as problem:
        if problem.name != HOME:
            raise
        todo = "take nano, or give its maps with --maps NAME=DIR"
        raise ModelError("released networks cannot be run here yet", name, todo) from problem
    return Released(name, home.load_released(name if weights is None else weights, size))
