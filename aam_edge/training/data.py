"""Gaze sets on disk: photos, people's fixations, and the splits.

A set is a folder with `images/<id>.jpg`, `splits.json` (`train`, `val`: lists of ids) and
`fixations.npz`: `image_id`, `image_size` (w, h of the original), `sigma` (blur of the density as a
fraction of the picture's width, about one degree of visual angle); per trial `trial_image`,
`trial_box`; per fixation `trial`, `order`, `x`, `y` (fractions of width and height).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.metrics import Map, Points, to_density
from aam_edge.training.tables import Table, read_arrays, telling

LONG_SIDE_CELLS = 128
"""The grid on which maps are compared: this many cells along the long side, near-square."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One photo with all people's fixations on it."""

    gaze_set: str
    image_id: str
    path: Path
    points: Points
    size: tuple[int, int]
    """Width and height of the original in pixels."""
    sigma: float
    """Blur of the human density, fraction of the width."""

    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3), BGR."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(
                "photo cannot be read", self.path, "restore it or take it out of splits"
            )
        return np.asarray(image, np.uint8)

    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the grid on which maps are compared."""
        return grid_of(*self.size)

    def density(self, shape: tuple[int, int]) -> Map:
        """The human density on a grid: one Gaussian a fixation, sampled at cell centres, sum 1."""
        return human_density(self.points, shape, self.sigma)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the grid for a picture: LONG_SIDE_CELLS on its long side, near-square."""
    unit = LONG_SIDE_CELLS / max(width, height)
    return max(1, round(unit * height)), max(1, round(unit * width))


def human_density(points: Points, shape: tuple[int, int], sigma: float) -> Map:
    """Sum of one Gaussian a point; sigma is a fraction of the width, on near-square cells."""
    rows, columns = shape
    s = sigma * columns
    along_x = np.exp(-((np.arange(columns) + 0.5 - points[:, :1] * columns) ** 2) / (2 * s * s))
    along_y = np.exp(-((np.arange(rows) + 0.5 - points[:, 1:] * rows) ** 2) / (2 * s * s))
    return to_density(along_y.T @ along_x)


def read_gaze_set(folder: Path, split: str) -> list[Photo]:
    """All photos of one split that have fixations, in the order of the split."""
    table = read_arrays(folder / "fixations.npz")
    with telling(folder):
        ids = json.loads((folder / "splits.json").read_text())[split]
        index = {str(name): i for i, name in enumerate(table["image_id"])}
        owner = table["trial_image"][table["trial"]]
        # In search sets (they have target boxes) the first fixation is a forced start point.
        first = int(np.isfinite(table["trial_box"]).any())
        seen = table["order"] >= first
        photos = [
            _photo(folder, str(name), table, index[str(name)], (owner == index[str(name)]) & seen)
            for name in ids
        ]
    return [photo for photo in photos if len(photo.points)]


def _photo(folder: Path, name: str, table: Table, i: int, mine: NDArray[np.bool_]) -> Photo:
    """One photo with the fixations `mine`; ValueError where its facts cannot be."""
    points = np.stack([table["x"][mine], table["y"][mine]], axis=1).astype(np.float64)
    width, height = (int(n) for n in table["image_size"][i])
    sigma = float(table["sigma"][i])
    if min(width, height) < 1 or not 0 < sigma < np.inf:
        raise ValueError(f"photo {name} is {width}x{height}, blur {sigma}")
    path = folder / "images" / f"{name}.jpg"
    return Photo(folder.name, name, path, points, (width, height), sigma)
