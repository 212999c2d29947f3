"""Scores of a network on still photos."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aam_edge.engine.size import input_size
from aam_edge.model.native.decoder import PROMPT_CHANNELS
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.data import Photo
from aam_edge.training.metrics import auc_judd, cc, kld, nss, sim, to_grid


def predict_still(
    network: NativeNetwork, image: NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Density (h, w) of one picture (H, W, 3) BGR for free viewing, without state."""
    rows, columns = size
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    picture = torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1)[None]
    picture = picture.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        log_density, _ = network.observe(picture, torch.zeros(1, PROMPT_CHANNELS))
    return np.asarray(log_density[0, 0].exp().numpy())


def evaluate_still(
    network: NativeNetwork, photos: list[Photo], size: tuple[int, int] | None = None
) -> dict[str, float]:
    """Mean scores over photos; the input size is the stream's own choice unless given."""
    rows = []
    for photo in photos:
        image = photo.image()
        shape = size or input_size(image.shape[1], image.shape[0])
        predicted = to_grid(predict_still(network, image, shape), photo.grid())
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
