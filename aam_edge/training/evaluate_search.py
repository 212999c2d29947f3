"""How well things are found by name, on photos with boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aam_edge.engine.size import INPUT_PIXELS, input_size
from aam_edge.messages import Image
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.batch import Embed
from aam_edge.training.evaluate import as_input
from aam_edge.training.prompts import KEPT_OUT

SMALLEST, LARGEST = 0.002, 0.6
"""Parts of the picture between which a thing counts."""
SAME = {name: word for word, name in KEPT_OUT.items()}
"""A name to a word for it that training never saw."""

Boxes = dict[str, list[list[float]]]
"""Name to boxes (x0, y0, x1, y1), fractions of the picture."""


@dataclass(slots=True)
class Tally:
    """What was found, photo by photo."""

    hits: list[bool] = field(default_factory=list)
    aucs: list[float] = field(default_factory=list)
    wrong_hits: list[bool] = field(default_factory=list)
    """Peaks on a thing when a name that is not there is asked for."""
    named_hits: list[bool] = field(default_factory=list)
    same_hits: list[bool] = field(default_factory=list)
    """Of things that have an unseen synonym: found by name, and by that."""
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)


def evaluate_search(
    network: NativeNetwork,
    photos: list[tuple[Path, Boxes]],
    embed: Embed,
    pixels: int = INPUT_PIXELS,
) -> dict[str, float]:
    """How well things of 0.2 to 60 % of the picture are found by name.

    Args:
        network: in torch.
        photos: file, and what is boxed in it.
        embed: prompt to its vector.
        pixels: of the network's input.

    Returns:
        `n` things; `peak`: part of them that hold the map's peak; `pixel_auc`: chance that a cell
        of the thing is above one beside it; `other`: part of peaks on a thing when a name that is
        not there is asked for; `named` and `synonym`: `peak` of things with an unseen synonym, by
        name and by synonym; `presence_auc`: chance that a name in view has the higher presence;
        `presence_error`: calibration error of it, in ten bins.
    """
    rng = np.random.default_rng(0)
    names = sorted({name for _, boxes in photos for name in boxes})
    tally = Tally()
    for path, boxes in photos:
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        others = [name for name in names if name not in boxes]
        if not others:
            continue  # a photo that holds every name has no wrong one
        wrong = str(rng.choice(others))
        asked = [*boxes, wrong, *(SAME[name] for name in boxes if name in SAME)]
        maps, presence = _asked(network, image, asked, embed, pixels)
        _count(tally, boxes, dict(zip(asked, maps, strict=True)), wrong)
        tally.present.extend(presence[: len(boxes)])
        tally.absent.append(float(presence[len(boxes)]))
    return _figures(tally)


def _count(tally: Tally, boxes: Boxes, maps: dict[str, NDArray[np.float32]], wrong: str) -> None:
    for name in boxes:
        mask = box_mask(boxes[name], maps[name].shape)
        if not SMALLEST <= mask.mean() <= LARGEST:
            continue
        hit = bool(mask.flat[maps[name].argmax()])
        tally.hits.append(hit)
        tally.aucs.append(chance_above(maps[name][mask], maps[name][~mask]))
        tally.wrong_hits.append(bool(mask.flat[maps[wrong].argmax()]))
        if name in SAME:
            tally.named_hits.append(hit)
            tally.same_hits.append(bool(mask.flat[maps[SAME[name]].argmax()]))


def _figures(tally: Tally) -> dict[str, float]:
    present, absent = np.array(tally.present), np.array(tally.absent)
    # As many absent as present names: each absent one stands for several.
    chance = 1 / (1 + np.exp(-np.concatenate([present, absent])))
    weight = np.concatenate([np.full(len(x), 0.5 / len(x)) for x in (present, absent)])
    is_there = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
    figures: dict[str, Any] = {
        "n": len(tally.hits),
        "peak": np.mean(tally.hits),
        "pixel_auc": np.mean(tally.aucs),
        "other": np.mean(tally.wrong_hits),
        "named": np.mean(tally.named_hits),
        "synonym": np.mean(tally.same_hits),
        "presence_auc": chance_above(present, absent),
        "presence_error": calibration_error(chance, is_there, weight),
    }
    return {name: round(float(value), 3) for name, value in figures.items()}


def calibration_error(
    chance: NDArray[np.floating[Any]],
    happened: NDArray[np.floating[Any]],
    weight: NDArray[np.floating[Any]],
) -> float:
    """Expected calibration error: mean distance of a bin's chance from what happened, ten bins."""
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs((weight * (chance - happened))[bins == b].sum()) for b in range(10)]
    return float(np.sum(gaps) / weight.sum())


def _asked(
    network: NativeNetwork, image: Image, names: list[str], embed: Embed, pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (n, h, w) and log-odds of presence (n,) of searches on one picture."""
    size = input_size(image.shape[1], image.shape[0], pixels)
    prompts = np.stack([embed(f"search for {name}") for name in names])
    with torch.inference_mode():
        evidence = network.observe(as_input(image, size), torch.from_numpy(prompts)[None])
    return evidence.log_density[:, 0].numpy(), evidence.presence.numpy()


def box_mask(boxes: list[list[float]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Cells whose centre lies in one of the boxes, or the nearest cell to a tiny one."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        rows, columns = _cells(y0, y1, shape[0]), _cells(x0, x1, shape[1])
        mask[rows, columns] = True
    return mask


def _cells(first: float, last: float, count: int) -> slice:
    """The cells whose centre lies between two fractions of a side, one at least."""
    start = min(round(first * count), count - 1)
    return slice(start, max(round(last * count), start + 1))


def chance_above(above: NDArray[np.floating[Any]], below: NDArray[np.floating[Any]]) -> float:
    """Chance that a value of the first is above one of the second, ties one half."""
    order = np.sort(below)
    wins = np.searchsorted(order, above, "left") + np.searchsorted(order, above, "right")
    return float(wins.mean() / (2 * len(order)))
