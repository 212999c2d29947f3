"""A photo with everything that is known of it, and a random view of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from aam_edge.training.data import Photo, human_density

HEAT_SHAPE = (64, 64)
Heat = NDArray[np.uint8]
"""HEAT_SHAPE over the whole picture, 255 is certain."""
Grid = NDArray[np.float32]
"""A map over a view."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1, fractions of the picture."""

FEWEST_FIXATIONS = 5
"""In a view, for a density of them."""
EXTENT = 0.35
"""Heat within a box, away from its middle."""
NARROWEST = 0.045
"""Sides of a box on the heat's grid at least, so that a cell sees it."""


@dataclass(slots=True, eq=False)
class Sample:
    """A photo in memory and what teaches on it."""

    image: Image
    gaze: list[tuple[str, Photo]] = field(default_factory=list)
    """Instruction, and the people's fixations under it."""
    maps: list[tuple[str, NDArray[np.number], float]] = field(default_factory=list)
    """Instruction, a density over the whole picture, and its weight."""
    searched: NDArray[np.number] | None = None
    """Where people look who have not found what they search for, a density over the picture."""
    things: dict[str, Heat] = field(default_factory=dict)
    """Where things of a name are."""
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    """Name and box of things that can be cut out."""
    absent: frozenset[str] = frozenset()
    """Names of things that are surely not in view."""
    somewhere: frozenset[str] = frozenset()
    """Names of things that are in view, nobody knows where."""
    chances: NDArray[np.float32] | None = None
    """That each of `prompts.NAMES` is in view; None where only the names above are known."""
    words: NDArray[np.float16] | None = None
    """Probabilities of many names for the whole picture, by a classifier."""

    @property
    def has_people(self) -> bool:
        """People looked at it."""
        return bool(self.gaze) or any(weight == 1 for *_, weight in self.maps)


@dataclass(frozen=True, slots=True)
class View:
    """A crop, mirrored or not; fractions of the picture."""

    x: float
    y: float
    width: float
    height: float
    mirrored: bool

    def picture(self, image: Image, size: tuple[int, int]) -> Image:
        """The picture seen so, at (H, W)."""
        rows, columns = image.shape[:2]
        x0, y0 = int(self.x * columns), int(self.y * rows)
        x1 = max(x0 + 2, round((self.x + self.width) * columns))
        y1 = max(y0 + 2, round((self.y + self.height) * rows))
        small = cv2.resize(image[y0:y1, x0:x1], size[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(small[:, ::-1] if self.mirrored else small, np.uint8)

    def gaze(self, photo: Photo, shape: tuple[int, int]) -> Grid | None:
        """The density of the people's fixations inside; None where too few are."""
        corner, part = np.array([self.x, self.y]), np.array([self.width, self.height])
        points = (photo.points - corner) / part
        points = points[((points >= 0) & (points < 1)).all(1)]
        if len(points) < FEWEST_FIXATIONS:
            return None
        density = human_density(points, shape, photo.sigma / self.width)
        return np.asarray(density[:, ::-1] if self.mirrored else density, np.float32)

    def density(self, whole: NDArray[np.number], shape: tuple[int, int]) -> Grid | None:
        """A density of the whole picture inside; None where little of it is."""
        seen = self.heat(whole, shape)
        inside = float(seen.sum()) * self.width * self.height / seen.size
        return seen / seen.sum() if inside > 0.2 * float(whole.mean()) else None

    def heat(self, whole: NDArray[np.number], shape: tuple[int, int]) -> Grid:
        """A map of the whole picture seen so, at (h, w)."""
        rows, columns = whole.shape
        to_whole = np.array(
            [
                [self.width * columns / shape[1], 0, self.x * columns],
                [0, self.height * rows / shape[0], self.y * rows],
            ]
        )
        to_whole[:, 2] += to_whole[:, :2] @ [0.5, 0.5] - 0.5  # cell centres
        seen = cv2.warpAffine(
            whole.astype(np.float32), to_whole, shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(seen[:, ::-1] if self.mirrored else seen, np.float32)


def random_view(smallest: float, rng: np.random.Generator) -> View:
    """A view of at least `smallest` of each side; sides differ by a third at most."""
    part = np.ones(2)
    if rng.random() < 0.75:
        part = np.clip(rng.uniform(smallest, 1) * rng.uniform(0.85, 1.18, 2), smallest, 1)
    corner = rng.uniform(0, 1 - part)
    x, y, width, height = (float(v) for v in (*corner, *part))
    return View(x, y, width, height, bool(rng.random() < 0.5))


def relit(image: Image, rng: np.random.Generator) -> Image:
    """Another light and colour; at times grey."""
    gain, shift = rng.uniform(0.8, 1.2, 3) * rng.uniform(0.8, 1.2), rng.uniform(-15, 15)
    if rng.random() < 0.1:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
    return np.asarray(np.clip(image * gain + shift, 0, 255), np.uint8)


def thing_density(seen: Grid) -> Grid | None:
    """A heat map inside a view to a density; None where the thing is not well in view."""
    peak = float(seen.max())
    if peak < 64:
        return None
    clear = np.where(seen > 0.25 * peak, seen, 0)
    return np.asarray(clear / clear.sum(), np.float32)


def boxes_heat(boxes: Sequence[Sequence[float]], shape: tuple[int, int] = HEAT_SHAPE) -> Heat:
    """Boxes (x0, y0, x1, y1 as fractions) on a grid (h, w): 1 in the middle, EXTENT inside.

    A thing reaches as far as its box, so all of it stands above what is beside it.
    """
    rows, columns = ((np.arange(n) + 0.5) / n for n in shape)
    heat = np.zeros(shape)
    for x0, y0, x1, y1 in boxes:
        across = (columns - (x0 + x1) / 2)[None] / max(x1 - x0, NARROWEST)  # 0.5 at the edge
        down = (rows - (y0 + y1) / 2)[:, None] / max(y1 - y0, NARROWEST)
        middle = np.exp(-12.5 * (across**2 + down**2))
        inside = np.exp(-((1.85 * across) ** 10) - (1.85 * down) ** 10)
        heat = np.maximum(heat, EXTENT * inside + (1 - EXTENT) * middle)
    return np.asarray(np.rint(255 * heat), np.uint8)
