"""Copy-paste: a boxed thing of one photo laid onto another picture, so that rare things are common.

After G. Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
segmentation" (CVPR 2021), with boxes in place of outlines: what is pasted fades at its edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from aam_edge.training.batch import PLACE, SEEN, UNKNOWN, Scene
from aam_edge.training.corpus.item import Item
from aam_edge.training.prompts import GENERAL, KEPT_OUT, children
from aam_edge.training.sample import Box, Grid, Sample, boxes_heat, relit

SIDES = (0.08, 0.35)
"""Of what is pasted, against those of the picture: the root of its area."""
MOST_ENLARGED = 1.25
"""A thing of few pixels would be seen by its blur."""
FEWEST_PIXELS = 20
"""Of the shorter side in the photo that it is cut from."""
LARGEST_CUT = 0.85
"""Of a side of that photo: what fills it is hardly one thing."""
FADE = 2.06
"""Of the edges: half is left at 0.46 of a side from the middle."""


class Cuttings:
    """All things that can be pasted, by name."""

    def __init__(self, photos: Sequence[Sample | Item]):
        self._of: dict[str, list[tuple[int, Box]]] = {}
        for i, photo in enumerate(photos):
            for name, box in boxes_of(photo):
                if name in PLACE and max(box[2] - box[0], box[3] - box[1]) <= LARGEST_CUT:
                    self._of.setdefault(name, []).append((i, box))
        self._names = sorted(self._of)

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def draw(self, rng: np.random.Generator) -> tuple[str, int, Box]:
        """A name, each as often as another, number of a photo, and box of such a thing in it."""
        name = self._names[rng.integers(len(self._names))]
        return name, *self._of[name][rng.integers(len(self._of[name]))]


def boxes_of(photo: Sample | Item) -> list[tuple[str, Box]]:
    """Names and boxes of single things in it."""
    if isinstance(photo, Sample):
        return photo.boxes
    things = [(KEPT_OUT.get(t.name, t.name), t.box) for t in photo.things if not t.is_crowd]
    return [(name, box) for name, box in things if box is not None]


def is_clear(cut: Image) -> bool:
    """It has pixels enough to be known by."""
    return bool(min(cut.shape[:2]) >= FEWEST_PIXELS)


def cut_out(image: Image, box: Box) -> Image:
    """The pixels of a box."""
    rows, columns = image.shape[:2]
    across = slice(int(box[0] * columns), math.ceil(box[2] * columns))
    return image[int(box[1] * rows) : math.ceil(box[3] * rows), across]


def paste(scene: Scene, name: str, cut: Image, rng: np.random.Generator) -> None:
    """Lays a thing somewhere onto a picture, at any size, in any light; changes the scene.

    Where people would look in it then, nobody knows: its densities are dropped.
    """
    cut = relit(cut, rng)[:, :: -1 if rng.random() < 0.5 else 1]
    rows, columns = scene.picture.shape[:2]
    height, width = size_in((rows, columns), (cut.shape[0], cut.shape[1]), rng)
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    method = cv2.INTER_AREA if height < cut.shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=method)
    inside = slice(top, top + height), slice(left, left + width)
    alpha = faded(height, width)[:, :, None]
    picture = scene.picture.copy()
    picture[inside] = np.rint(alpha * small + (1 - alpha) * picture[inside])
    scene.picture = picture
    shape = rows // 4, columns // 4
    cover = np.zeros((rows, columns), np.float32)
    cover[inside] = alpha[:, :, 0]
    small_cover = cv2.resize(cover, shape[::-1], interpolation=cv2.INTER_AREA)
    hide(scene, np.asarray(small_cover, np.float32))
    box = (left / columns, top / rows, (left + width) / columns, (top + height) / rows)
    show(scene, name, boxes_heat([box], shape).astype(np.float32))
    scene.densities = []


def size_in(
    picture: tuple[int, int], cut: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Height and width that a thing is given in a picture, all in pixels."""
    least, most = (math.log(part) for part in SIDES)
    side = math.exp(rng.uniform(least, most)) * math.sqrt(picture[0] * picture[1])
    by = min(
        side / math.sqrt(cut[0] * cut[1]),
        MOST_ENLARGED,
        0.9 * picture[0] / cut[0],
        0.9 * picture[1] / cut[1],
    )
    return max(4, round(by * cut[0])), max(4, round(by * cut[1]))


def faded(height: int, width: int) -> NDArray[np.float32]:
    """How much of a pasted thing is seen, (h, w): all in the middle, hardly any in the corners."""
    down, across = (((np.arange(n) + 0.5) / n - 0.5) * FADE for n in (height, width))
    return np.exp(-((down[:, None]) ** 8) - across[None] ** 8).astype(np.float32)


def hide(scene: Scene, cover: Grid) -> None:
    """Takes what is covered off the heat; what was clear and is no more may be there or not."""
    for name, heat in scene.things.items():
        left = heat * (1 - cover)
        if name in PLACE and left.max() <= SEEN and left.max() < 0.8 * heat.max():
            scene.chances[PLACE[name]] = UNKNOWN
        scene.things[name] = left


def show(scene: Scene, name: str, heat: Grid) -> None:
    """A thing, and the general words above its name, are in view."""
    above = [general for general in GENERAL if name in children(general)]
    for shown in (name, *above):
        known = scene.things.get(shown)
        scene.things[shown] = heat if known is None else np.maximum(known, heat)
        scene.chances[PLACE[shown]] = 1
    scene.absent -= {name, *above}
