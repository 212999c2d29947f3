"""How well a network in torch finds things by name, on photos with boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aam_edge.config import INPUT_PIXELS
from aam_edge.engine.size import input_size
from aam_edge.messages import Image
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.batch import Embed
from aam_edge.training.evaluate import as_input
from aam_edge.training.measure.found import (
    Boxes,
    Tally,
    box_mask,
    calibration_error,
    chance_above,
    questions,
)

__all__ = ["Boxes", "box_mask", "calibration_error", "chance_above", "evaluate_search"]


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
        `n` things, and the figures of `measure.found`.
    """
    rng = np.random.default_rng(0)
    names = sorted({name for _, boxes in photos for name in boxes})
    tally = Tally()
    for path, boxes in photos:
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        asked = questions(boxes, names, rng)
        if asked is None:
            continue
        maps, presence = _asked(network, image, asked.names(), embed, pixels)
        chances = 1 / (1 + np.exp(-presence.astype(np.float64)))
        asked.add_to(tally, str(path), list(maps), chances.tolist())
    figures = {name: round(value, 3) for name, (value, _, _) in tally.figures().items()}
    return {"n": len(tally.rows), **figures}


def _asked(
    network: NativeNetwork, image: Image, names: list[str], embed: Embed, pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (n, h, w) and log-odds of presence (n,) of searches on one picture."""
    size = input_size(image.shape[1], image.shape[0], pixels)
    prompts = np.stack([embed(f"search for {name}") for name in names])
    with torch.inference_mode():
        evidence = network.observe(as_input(image, size), torch.from_numpy(prompts)[None])
    return evidence.log_density[:, 0].numpy(), evidence.presence.numpy()
