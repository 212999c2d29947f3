"""Who is asked where people look: a network in an engine, maps on disk, a rival.

A predictor is given an item, the moments of it that are scored and the prompts to answer to, and
says for each moment one answer a prompt. What it cannot answer is a DataError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.backend import Backend
from aam_edge.engine.package import Package
from aam_edge.engine.session import Embed, Session
from aam_edge.errors import DataError
from aam_edge.messages import SOUND_RATE_HZ, Frame, Image, Observation, RawAttention, Sound
from aam_edge.training.corpus.item import Item
from aam_edge.training.measure.gaze import USUAL_FPS

START_NS = 1
STILL_S = 1 / 30
MOST_PROMPTS = 4
"""That a network is asked at a time of a still."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Where people look, by a predictor."""

    density: NDArray[np.floating[Any]]
    """(h, w) of any size, >= 0."""
    presence: float | None = None
    """Probability that what is asked for is in view; None where it is not told."""


class Predictor(Protocol):
    """What is scored."""

    name: str
    """Of its row."""

    def follows(self, gaze_set: str, prompts: Sequence[str]) -> bool:
        """Whether answers to these prompts differ."""

    def look(
        self, item: Item, indices: Sequence[int], prompts: Sequence[str]
    ) -> Iterator[list[Answer]]:
        """For each of the moments, in their order, one answer a prompt."""


class Network:
    """A packaged network, run as streams are: clips frame by frame, with their sound."""

    def __init__(
        self, name: str, backend: Backend, package: Package, embed: Embed, still_frames: int = 1
    ):
        self.name, self._follows = name, package.follows_prompts
        self.facts = {
            "weights": package.weights_id,
            "engine": f"{backend.name} {backend.precision}",
        }
        self._still_frames = still_frames
        self._session = Session(
            backend, ["free viewing"], embed=embed if package.follows_prompts else None
        )

    def follows(self, gaze_set: str, prompts: Sequence[str]) -> bool:
        """Whatever the prompts are."""
        return self._follows

    def look(
        self, item: Item, indices: Sequence[int], prompts: Sequence[str]
    ) -> Iterator[list[Answer]]:
        """A photo is shown for `still_frames` of 1/30 s, a clip from its first frame on."""
        if len(item) == 1:
            yield self._at_a_still(item.image(0), prompts)
            return
        self._ask(prompts)
        for index, seen in self._steps(item, indices):
            if index in indices:
                yield _answers(seen)

    def _ask(self, prompts: Sequence[str]) -> None:
        self._session.set_prompts(prompts)
        self._session.reset()

    def _at_a_still(self, image: Image, prompts: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = []
        for first in range(0, len(prompts), MOST_PROMPTS):
            some = list(prompts[first : first + MOST_PROMPTS])
            # Engines compile for a number of prompts, so there are but two numbers.
            padding = MOST_PROMPTS - len(some) if len(prompts) > 1 else 0
            self._ask([*some, *some[-1:] * padding])
            for n in range(self._still_frames):
                shown = Frame(image, START_NS + round(n * STILL_S * 1e9), "still", n)
                seen = self._session.step(Observation(shown))
            answers += _answers(seen)[: len(some)]
        return answers

    def _steps(
        self, item: Item, indices: Sequence[int]
    ) -> Iterator[tuple[int, list[RawAttention]]]:
        """Every frame up to the last one that is asked for."""
        fps = item.fps or USUAL_FPS
        for index in range(max(indices) + 1):
            number = item.moments[index].number
            shown_ns = START_NS + round(number / fps * 1e9)
            frame = Frame(item.image(index), shown_ns, item.name, number)
            yield index, self._session.step(Observation(frame, _sound(item, index, shown_ns)))


def _answers(seen: list[RawAttention]) -> list[Answer]:
    return [Answer(raw.density, raw.presence) for raw in seen]


def _sound(item: Item, index: int, now_ns: int) -> Sound | None:
    """The second of sound before a frame."""
    samples = item.samples(index, 1.0, SOUND_RATE_HZ)
    if samples is None:
        return None
    return Sound(samples, now_ns - len(samples) * 1_000_000_000 // SOUND_RATE_HZ)


class PictureModel:
    """Any function of one picture: (H, W, 3) uint8 BGR to a map (h, w)."""

    def __init__(self, name: str, of_picture: Callable[[Image], NDArray[np.floating[Any]]]):
        self.name, self._of_picture = name, of_picture

    def follows(self, gaze_set: str, prompts: Sequence[str]) -> bool:
        """It sees the picture alone."""
        return False

    def look(
        self, item: Item, indices: Sequence[int], prompts: Sequence[str]
    ) -> Iterator[list[Answer]]:
        """Each moment by itself, the same for all prompts."""
        for index in indices:
            yield [Answer(self._of_picture(item.image(index)))] * len(prompts)


def spectral_residual() -> PictureModel | None:
    """OpenCV's saliency (X. Hou and L. Zhang, CVPR 2007); None without opencv-contrib."""
    if not hasattr(cv2, "saliency"):
        return None
    residual = cv2.saliency.StaticSaliencySpectralResidual_create()

    def of_picture(image: Image) -> NDArray[np.floating[Any]]:
        is_done, drawn = residual.computeSaliency(image)
        if not is_done:
            raise DataError("picture has no spectral residual", image.shape, "leave the photo out")
        return np.asarray(drawn, np.float64)

    return PictureModel("OpenCV spectral residual", of_picture)
