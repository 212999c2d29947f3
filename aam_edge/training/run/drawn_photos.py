"""A photo twice, side by side: where people looked, and where the network looks."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.messages import Image
from aam_edge.training.corpus.item import Item
from aam_edge.training.metrics import to_grid
from aam_edge.training.run.validate import Observer, grid_of

WIDTH = 300
"""Pixels of each half."""
QUALITY = 82
GAP = 6


def draw_item(item: Item, observer: Observer) -> str:
    """A JPEG as a data address; of a clip its middle frame. DataError where it is broken."""
    if item.kind == "image":
        index, image = 0, item.image()
        predicted = observer.photo(image, item.prompt)
    else:
        densities = observer.clip(item)
        index = len(densities) // 2
        image, predicted = item.image(index), densities[index]
    grid = grid_of(image)
    human = item.density(grid, index)
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    plain = np.asarray(small, np.uint8)
    left = plain if human is None else with_map(plain, human)
    points = item.points(index)
    for x, y in points[:200]:
        cv2.circle(left, (round(x * WIDTH), round(y * height)), 2, (255, 255, 255), -1)
    right = with_map(plain, to_grid(predicted, grid))
    between = np.full((height, GAP, 3), 255, np.uint8)
    return as_address(np.concatenate([left, between, right], axis=1))


def with_map(image: Image, density: NDArray[np.floating[Any]]) -> Image:
    """The picture with a density over it, scaled to its peak."""
    size = (image.shape[1], image.shape[0])
    wide = cv2.resize(density.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    part = wide / max(1e-12, float(wide.max()))
    colours = cv2.applyColorMap((255 * part).astype(np.uint8), cv2.COLORMAP_TURBO)
    strength = (0.65 * np.sqrt(part))[..., None]
    return np.asarray(image * (1 - strength) + colours * strength, np.uint8)


def as_address(image: Image) -> str:
    """A `data:` address of a JPEG."""
    is_written, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not is_written:
        raise DataError("picture cannot be drawn", image.shape, "report it")
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
