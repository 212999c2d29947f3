"""How well the network of a run fits people whom it has not learned from, photo by photo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aam_edge.engine.size import input_size
from aam_edge.errors import DataError
from aam_edge.messages import Image
from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.hearing import BANDS, HOPS, SILENCE
from aam_edge.model.native.network import Moment, NativeNetwork
from aam_edge.training.batch import Embed
from aam_edge.training.corpus.item import Item
from aam_edge.training.data import LONG_SIDE_CELLS
from aam_edge.training.evaluate import as_input
from aam_edge.training.evaluate_search import evaluate_search
from aam_edge.training.metrics import Map, auc_judd, cc, kld, nss, sim, to_grid
from aam_edge.training.run.plan import Share
from aam_edge.training.run.student import initial_state

MOST_FRAMES = 48
"""Of a clip in a validation."""
FPS = 30.0


@dataclass(frozen=True, slots=True)
class Score:
    """One photo, or the mean over the frames of a clip."""

    gaze_set: str
    name: str
    place: int
    """In the set's list."""
    scores: dict[str, float]


@dataclass(slots=True)
class Validation:
    """All of them."""

    scores: list[Score]
    search: dict[str, dict[str, float]] = field(default_factory=dict)
    """By set, of photos with boxes (`evaluate_search`)."""

    def table(self) -> dict[str, dict[str, float]]:
        """Means by set; `n` photos or clips."""
        found: dict[str, dict[str, float]] = {}
        for name in dict.fromkeys(score.gaze_set for score in self.scores):
            rows = [score.scores for score in self.scores if score.gaze_set == name]
            metrics = dict.fromkeys(metric for row in rows for metric in row)
            found[name] = {"n": len(rows)} | {
                metric: round(_mean([row.get(metric, np.nan) for row in rows]), 4)
                for metric in metrics
            }
        return found | self.search

    def __str__(self) -> str:
        told = []
        for name, row in self.table().items():
            figures = " ".join(f"{metric} {value:g}" for metric, value in row.items())
            told.append(f"{name}: {figures}")
        return "; ".join(told) or "nothing to validate on"


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


class Observer:
    """What a network says of photos and clips, on its device."""

    def __init__(self, network: NativeNetwork, embed: Embed, device: torch.device):
        self._network, self._embed, self._device = network, embed, device

    def photo(self, image: Image, prompt: str) -> NDArray[np.floating[Any]]:
        """The density observed in a still, (h, w)."""
        picture = as_input(image, input_size(image.shape[1], image.shape[0]))
        asked = self._asked(prompt)
        with torch.inference_mode():
            evidence = self._network.observe(picture.to(self._device), asked)
        return np.asarray(evidence.log_density[0, 0].exp().cpu().numpy())

    def clip(self, item: Item) -> list[NDArray[np.floating[Any]]]:
        """The filtered density of each frame, without sound."""
        densities, state, before = [], None, 0
        for index in range(min(len(item), MOST_FRAMES)):
            image = item.image(index)
            size = input_size(image.shape[1], image.shape[0])
            picture = as_input(image, size).permute(0, 2, 3, 1).round().to(torch.uint8)
            if state is None:
                state = initial_state(self._network, 1, *size, self._device)
            number = item.moments[index].number
            dt_s = (number - before) / (item.fps or FPS) if index else 0.0
            before = number
            with torch.inference_mode():
                step = self._network.step(self._moment(picture, item.prompt, dt_s), state)
            state = step.state
            densities.append(np.asarray(step.density[0, 0].cpu().numpy()))
        return densities

    def _asked(self, prompt: str) -> torch.Tensor:
        return torch.tensor(self._embed(prompt), device=self._device)[None, None]

    def _moment(self, picture: torch.Tensor, prompt: str, dt_s: float) -> Moment:
        device = self._device
        return Moment(
            picture.contiguous().to(device),
            self._asked(prompt),
            torch.tensor([dt_s], device=device),
            identity_ego(1).to(device),
            torch.full((1, BANDS, HOPS), SILENCE, device=device),
            torch.zeros(1, device=device),
        )


def validate(
    network: NativeNetwork,
    held: dict[str, list[Item]],
    embed: Embed,
    device: torch.device,
    part: Share,
) -> Validation:
    """Scores of the photos and clips that this process has part in; broken ones have none."""
    observer = Observer(network, embed, device)
    scores, search = [], {}
    for name, items in held.items():
        for place in range(part.rank, len(items), part.count):
            try:
                told = score_of(observer, items[place])
            except DataError:
                continue  # was named when the set was read, or is named when it teaches
            if told:
                scores.append(Score(name, items[place].name, place, told))
        boxed = _boxed(items)
        if boxed:
            found = evaluate_search(network.to("cpu"), boxed, embed)
            search[f"{name}, search"] = found
            network.to(device)
    return Validation(scores, search)


def score_of(observer: Observer, item: Item) -> dict[str, float]:
    """Scores of one photo or clip; empty where nobody looked."""
    if item.kind == "image":
        image = item.image()
        grid = grid_of(image)
        human = item.density(grid)
        if human is None:
            return {}
        predicted = to_grid(observer.photo(image, item.prompt), grid)
        return _scores(predicted, human, item, 0)
    rows = []
    for index, density in enumerate(observer.clip(item)):
        human = item.density(density.shape, index)
        if human is not None:
            rows.append(_scores(to_grid(density, human.shape), human, item, index))
    return {metric: _mean([row[metric] for row in rows]) for metric in rows[0]} if rows else {}


def _scores(predicted: Map, human: Map, item: Item, index: int) -> dict[str, float]:
    scores = {
        "CC": cc(predicted, human),
        "KLD": kld(predicted, human),
        "SIM": sim(predicted, human),
    }
    points = item.points(index)
    points = points[((points >= 0) & (points <= 1)).all(axis=1)]
    if len(points):
        scores |= {"NSS": nss(predicted, points), "AUC-J": auc_judd(predicted, points)}
    else:
        scores |= {"NSS": float("nan"), "AUC-J": float("nan")}
    return scores


def grid_of(image: Image) -> tuple[int, int]:
    """(rows, columns) on which maps are compared, as in `data.Photo.grid`."""
    height, width = image.shape[:2]
    unit = LONG_SIDE_CELLS / max(width, height)
    return max(1, round(unit * height)), max(1, round(unit * width))


def _boxed(items: list[Item]) -> list[tuple[Path, dict[str, list[list[float]]]]]:
    """Files with what is boxed in them, for `evaluate_search`."""
    found = []
    for item in items:
        stimulus = item.moments[0].stimulus
        boxes: dict[str, list[list[float]]] = {}
        for thing in item.things:
            if thing.box is not None:
                boxes.setdefault(thing.name, []).append(list(thing.box))
        if boxes and isinstance(stimulus, Path) and item.gaze_set == "COCO":
            found.append((stimulus, boxes))
    return found
