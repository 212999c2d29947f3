"""Scores of a predictor on people's gaze, one still photo at a time.

    python -m aam_edge.training.evaluate --data DATA --model nano

prints the means on each set's val split for the model, through the engine that users run, and for
the centre prior (the mean density of the set's train photos).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.engine.size import input_size
from aam_edge.errors import exit_code_of
from aam_edge.messages import Frame, Image, Observation
from aam_edge.model.native.network import NativeNetwork
from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.data import LONG_SIDE_CELLS, Photo, read_gaze_set
from aam_edge.training.metrics import auc_judd, cc, kld, nss, sim, to_grid

GAZE_SETS = ("osie", "eyecrowd", "scene500")
FRAME_NS = 33_333_333
PRIOR_GRID = (96, LONG_SIDE_CELLS)

Predictor = Callable[[Image], NDArray[np.floating[Any]]]
"""Picture (H, W, 3) BGR to a map of any size, >= 0."""


def evaluate(predictor: Predictor, photos: list[Photo]) -> dict[str, float]:
    """Mean scores over photos, definitions of `metrics`."""
    rows = []
    for photo in photos:
        predicted = to_grid(predictor(photo.image()), photo.grid())
        human, points = photo.density(photo.grid()), photo.points
        rows.append(
            (
                cc(predicted, human),
                kld(predicted, human),
                sim(predicted, human),
                nss(predicted, points),
                auc_judd(predicted, points),
            )
        )
    names = ("CC", "KLD", "SIM", "NSS", "AUC-J")
    return {n: round(float(v), 4) for n, v in zip(names, np.mean(rows, axis=0), strict=True)}


def observer(
    network: NativeNetwork, prompt: NDArray[np.float32], size: tuple[int, int] | None = None
) -> Predictor:
    """What the network observes in a still for a prompt (128,), in torch; (H, W) or as streams."""

    def predict(image: Image) -> NDArray[np.floating[Any]]:
        picture = as_input(image, size or input_size(image.shape[1], image.shape[0]))
        with torch.inference_mode():
            evidence = network.observe(picture, torch.tensor(prompt)[None, None])
        return np.asarray(evidence.log_density[0, 0].exp().numpy())

    return predict


def as_input(image: Image, size: tuple[int, int]) -> Tensor:
    """A picture at (H, W) as the network takes it: (1, 3, H, W), float, 0..255."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    picture = torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1)[None]
    return picture.contiguous(memory_format=torch.channels_last)


def stills(session: Session, frames: int = 1) -> Predictor:
    """What a session says of each picture alone, shown for so many frames of 1/30 s."""

    def predict(image: Image) -> NDArray[np.floating[Any]]:
        session.reset()
        for i in range(frames):
            shown = Observation(Frame(image, 1 + i * FRAME_NS, "still", i))
            density = session.step(shown)[0].density
        return density

    return predict


def centre_prior(photos: list[Photo]) -> Predictor:
    """The mean density of the photos, whatever the picture."""
    mean = np.mean([to_grid(p.density(p.grid()), PRIOR_GRID) for p in photos], axis=0)
    return lambda image: mean


def main() -> None:
    """Prints the table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of gaze sets")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--frames", type=int, default=1, help="how long each photo is shown")
    parser.add_argument("--sets", nargs="+", default=list(GAZE_SETS))
    options = parser.parse_args()
    package = find_package(options.model)
    embed = open_text() if package.follows_prompts else None
    session = Session(open_backend(package, options.engine), [FREE_VIEWING], embed=embed)
    predictor = stills(session, options.frames)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.sets:
        held = read_gaze_set(options.data / name, "val")
        prior = centre_prior(read_gaze_set(options.data / name, "train"))
        table[name] = {
            options.model: evaluate(predictor, held),
            "centre prior": evaluate(prior, held),
        }
    sys.stdout.write(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
