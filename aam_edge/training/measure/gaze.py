"""What is scored: where people looked on one stimulus, at one moment of it, under one prompt.

Photos are one moment each. Clips are looked at every half second, from 0.5 s on: clips with gazes
over time where at least 5 gazes are under way (as the reference of the shared data does), videos
with published maps where the frame's map is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.check import checked_sound
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.native import gazes_at, read_table
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.data import grid_of, human_density
from aam_edge.training.metrics import Map, Points
from aam_edge.training.tables import Table

EACH_S = 0.5
"""Between the moments of a clip that are scored."""
FEWEST_GAZES = 5
"""Under way at a moment of a clip."""
USUAL_FPS = 25.0
"""Of videos whose rate is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaze:
    """People's gaze, and what they saw."""

    item: Item
    index: int
    """Of the moment of `item` that was shown."""
    points: Points
    observers: NDArray[np.integer[Any]] | None
    """Who looked, a number a point; None where it is not known."""

    @property
    def where(self) -> str:
        """Photo, or clip and frame, and the prompt."""
        frame = self.item.moments[self.index].number
        return f"{self.item}, frame {frame}" if len(self.item) > 1 else str(self.item)

    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the grid on which maps are compared."""
        if self.item.size is not None:
            return grid_of(*self.item.size)
        height, width = self.item.image(self.index).shape[:2]
        return grid_of(width, height)

    def density(self, shape: tuple[int, int]) -> Map:
        """The human density on a grid (h, w); DataError where nobody looked."""
        if self.item.sigma is not None and len(self.points):
            return human_density(self.points, shape, self.item.sigma)
        density = self.item.density(shape, self.index)
        if density is None:
            raise DataError("nobody looked", self.where, "take it out of the list")
        return density


def read_gazes(spec: str, root: Path, split: str, skipped: Skipped) -> list[Gaze]:
    """All that can be scored of a split, in its order; DataError where the set is empty."""
    form, _, folder = spec.partition(":")
    table = clip_table(Path(folder)) if form == "native" else None
    return [
        gaze
        for item in read_items(spec, root, split, skipped)
        for gaze in _gazes_of(item, table, skipped)
    ]


def clip_table(folder: Path) -> Table | None:
    """The gazes over time of a native set of clips; None where it is of photos."""
    path = folder / "fixations.npz"
    table = read_table(path) if path.is_file() else {}
    return table if "fps" in table else None


def by_item(gazes: Iterable[Gaze]) -> Iterator[tuple[Item, list[Gaze]]]:
    """Each photo, or clip with its moments."""
    for _, group in groupby(gazes, key=lambda gaze: id(gaze.item)):
        together = list(group)
        yield together[0].item, together


def _gazes_of(item: Item, table: Table | None, skipped: Skipped) -> Iterator[Gaze]:
    if item.kind != "image":
        yield from _glances(checked_sound(item, skipped), table, skipped)
    elif item.moments[0].saliency_map is not None or item.moments[0].fixations is not None:
        with skipped.counting():
            yield Gaze(item, 0, item.points(), item.moments[0].observers)


def _glances(item: Item, table: Table | None, skipped: Skipped) -> Iterator[Gaze]:
    """Every half second of a clip."""
    numbers = np.array([moment.number for moment in item.moments])
    fps = item.fps or USUAL_FPS
    for time_s in np.arange(EACH_S, (numbers[-1] + 1) / fps, EACH_S):
        # The frame that is on the screen; that its map may lie a moment behind is as published.
        index = int(np.searchsorted(numbers, int(time_s * fps + 1e-9), "right")) - 1
        if index < 0:
            continue
        if table is not None:
            image = int(np.flatnonzero(table["image_id"] == item.name)[0])
            points, observers = gazes_at(table, image, float(time_s))
            if len(points) >= FEWEST_GAZES:
                yield Gaze(item, index, points, observers)
            continue
        with skipped.counting():
            if item.density((12, 16), index) is not None:
                yield Gaze(item, index, item.points(index), None)
