"""The centre prior: where people look whatever the picture.

It is the mean density of the set's train stimuli; under a prompt of its own where at least 20 of
them were seen under it. Where the train split itself is scored, or there is none, a stimulus's own
density is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.data import LONG_SIDE_CELLS, grid_of, human_density
from aam_edge.training.measure.gaze import Gaze, clip_table
from aam_edge.training.metrics import Map, Points, to_density, to_grid

GRID = (96, LONG_SIDE_CELLS)
FEWEST_OF_A_PROMPT = 20
MOST_ITEMS = 1000
"""Of a large set every n-th is taken."""
MOST_FRAMES = 10
"""Of a video whose frames have maps."""


@dataclass(slots=True)
class _Sum:
    total: Map = field(default_factory=lambda: np.zeros(GRID))
    of: dict[str, tuple[Map, int]] = field(default_factory=dict)
    """Sum and number of each stimulus's densities."""
    count: int = 0

    def add(self, stimulus: str, density: Map) -> None:
        total, count = self.of.get(stimulus, (np.zeros(GRID), 0))
        self.of[stimulus] = total + density, count + 1
        self.total, self.count = self.total + density, self.count + 1


@dataclass(slots=True)
class CentrePrior:
    """Mean densities, of all and by prompt."""

    leaves_out_own: bool
    _all: _Sum = field(default_factory=_Sum)
    _by_prompt: dict[str, _Sum] = field(default_factory=dict)

    def add(self, item: Item, density: Map) -> None:
        """Takes the density of a stimulus in, on any grid."""
        on_grid = to_grid(density, GRID)
        self._all.add(item.stimulus, on_grid)
        self._by_prompt.setdefault(item.prompt, _Sum()).add(item.stimulus, on_grid)

    def density(self, item: Item, shape: tuple[int, int]) -> Map:
        """What is to be expected under the item's prompt; uniform where nothing is known."""
        known = self._by_prompt.get(item.prompt)
        if known is None or len(known.of) < FEWEST_OF_A_PROMPT:
            known = self._all
        total, count = known.total, known.count
        if self.leaves_out_own:
            own, frames = known.of.get(item.stimulus, (0, 0))
            total, count = total - own, count - frames
        return to_grid(total / count, shape) if count else to_density(np.ones(shape))


def read_prior(
    spec: str, root: Path, split: str, gazes: list[Gaze], skipped: Skipped
) -> CentrePrior:
    """The prior for the gazes of a split."""
    items = [] if split == "train" else train_items(spec, root, skipped)
    prior = CentrePrior(leaves_out_own=not items)
    if not items:
        for gaze in gazes:
            with skipped.counting():
                prior.add(gaze.item, gaze.density(GRID))
        return prior
    form, _, folder = spec.partition(":")
    pooled = _pooled(Path(folder)) if form == "native" else {}
    for item in items[:: -(-len(items) // MOST_ITEMS)]:
        with skipped.counting():
            for density in _densities(item, pooled):
                prior.add(item, density)
    return prior


def train_items(spec: str, root: Path, skipped: Skipped) -> list[Item]:
    """Of the train split; none where there is no such split."""
    try:
        return list(read_items(spec, root, "train", skipped))
    except DataError:
        return []


def _densities(item: Item, pooled: dict[str, Points]) -> Iterable[Map]:
    shape = GRID if item.size is None else grid_of(*item.size)
    if item.name in pooled and item.sigma is not None:
        if len(pooled[item.name]):
            yield human_density(pooled[item.name], shape, item.sigma)
        return
    for index in range(0, len(item), -(-len(item) // MOST_FRAMES)):
        density = item.density(shape, index)
        if density is not None:
            yield density


def _pooled(folder: Path) -> dict[str, Points]:
    """All fixations of each clip of a native set, over its whole time."""
    table = clip_table(folder)
    if table is None:
        return {}
    owner = table["trial_image"][table["trial"]]
    points = np.stack([table["x"], table["y"]], axis=1).astype(np.float64)
    return {str(name): points[owner == i] for i, name in enumerate(table["image_id"])}
