"""How well things are found by name, on photos with boxes, by whoever gives maps for prompts.

`peak`: part of the things whose boxes hold the map's peak; `pixel_auc`: chance that a cell of the
thing is above one beside it; `other`: `peak` when names that are not in the photo are asked for;
`named` and `synonym`: `peak` of things with an unseen synonym, by name and by synonym;
`presence_auc`: chance that a name in view has the higher presence than one that is not;
`presence_error`: calibration error of presence, in ten bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam_edge.training.corpus.item import Item
from aam_edge.training.measure.scores import intervals
from aam_edge.training.prompts import KEPT_OUT

ABSENT_NAMES = 8
"""Names that are not there, asked of a photo; by one alone `other` would deviate by 0.03."""
SMALLEST, LARGEST = 0.002, 0.6
"""Parts of the picture between which a thing counts."""
SAME = {name: word for word, name in KEPT_OUT.items()}
"""A name to a word for it that training never saw."""
OF_THINGS = ("peak", "pixel_auc", "other", "named", "synonym")
OF_PRESENCE = ("presence_auc", "presence_error")

Boxes = dict[str, list[list[float]]]
"""Name to boxes (x0, y0, x1, y1), fractions of the picture."""
Figure = tuple[float, float, float]
"""Value, and the ends of its 95 % interval; NaN where not measured."""


@dataclass(slots=True)
class Tally:
    """What was found, photo by photo."""

    rows: list[list[float]] = field(default_factory=list)
    """OF_THINGS for each thing; NaN for things without an unseen synonym."""
    photos: list[str] = field(default_factory=list)
    """That each thing is in."""
    present: list[float] = field(default_factory=list)
    """Presence, 0..1, of names in view."""
    absent: list[float] = field(default_factory=list)

    def add(
        self,
        photo: str,
        boxes: Boxes,
        absent: Sequence[str],
        maps: Mapping[str, NDArray[np.floating[Any]]],
    ) -> None:
        """Takes a photo in: maps for its names, for absent ones and for unseen synonyms."""
        for name in boxes:
            mask = box_mask(boxes[name], maps[name].shape)
            if not SMALLEST <= mask.mean() <= LARGEST:
                continue
            hit = float(mask.flat[maps[name].argmax()])
            row = [hit, chance_above(maps[name][mask], maps[name][~mask])]
            row.append(float(np.mean([_hit(boxes[name], maps[other]) for other in absent])))
            if name in SAME:
                row += [hit, _hit(boxes[name], maps[SAME[name]])]
            self.rows.append(row + [np.nan] * (len(OF_THINGS) - len(row)))
            self.photos.append(photo)

    def add_presence(self, present: Sequence[float | None], absent: Sequence[float | None]) -> None:
        """Takes the presence of a photo's names and of absent ones in."""
        self.present.extend(chance for chance in present if chance is not None)
        self.absent.extend(chance for chance in absent if chance is not None)

    def figures(self) -> dict[str, Figure]:
        """All of them; those of presence without intervals."""
        nothing = (np.nan, np.nan, np.nan)
        found = [nothing] * len(OF_THINGS)
        if self.rows:
            found = intervals(np.array(self.rows), self.photos)
        by_name: dict[str, Figure] = dict(zip(OF_THINGS, found, strict=True))
        for name, value in zip(OF_PRESENCE, self._presence(), strict=True):
            by_name[name] = (value, np.nan, np.nan)
        return by_name

    def _presence(self) -> tuple[float, float]:
        if not self.present or not self.absent:
            return np.nan, np.nan
        present, absent = np.array(self.present), np.array(self.absent)
        # Absent names count as much as present ones, however many were asked.
        weight = np.concatenate([np.full(len(x), 0.5 / len(x)) for x in (present, absent)])
        is_there = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
        chance = np.concatenate([present, absent])
        return chance_above(present, absent), calibration_error(chance, is_there, weight)


class Questions(NamedTuple):
    """What is asked of a photo, each name once: its own, absent ones, unseen synonyms."""

    boxes: Boxes
    absent: list[str]
    synonyms: list[str]

    def names(self) -> list[str]:
        """In the order in which they are asked."""
        return [*self.boxes, *self.absent, *self.synonyms]

    def add_to(
        self,
        tally: Tally,
        photo: str,
        maps: Sequence[NDArray[np.floating[Any]]],
        chances: Sequence[float | None],
    ) -> None:
        """Counts what was answered: a map and a presence for each of `names`."""
        tally.add(photo, self.boxes, self.absent, dict(zip(self.names(), maps, strict=True)))
        own, asked = len(self.boxes), len(self.boxes) + len(self.absent)
        tally.add_presence(chances[:own], chances[own:asked])


def questions(boxes: Boxes, names: Sequence[str], rng: np.random.Generator) -> Questions | None:
    """What to ask of a photo, ABSENT_NAMES of the absent names at most; None where none is."""
    others = [name for name in names if name not in boxes]
    if not others:
        return None
    absent = rng.permutation(others)[:ABSENT_NAMES].tolist()
    return Questions(boxes, absent, [SAME[name] for name in boxes if name in SAME])


def boxes_of(item: Item) -> Boxes:
    """The boxed things of a photo."""
    boxes: Boxes = {}
    for thing in item.things:
        if thing.box is not None:
            boxes.setdefault(thing.name, []).append(list(thing.box))
    return boxes


def calibration_error(
    chance: NDArray[np.floating[Any]],
    happened: NDArray[np.floating[Any]],
    weight: NDArray[np.floating[Any]],
) -> float:
    """Expected calibration error: mean distance of a bin's chance from what happened, ten bins."""
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs((weight * (chance - happened))[bins == b].sum()) for b in range(10)]
    return float(np.sum(gaps) / weight.sum())


def box_mask(boxes: list[list[float]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Cells whose centre lies in one of the boxes, or the nearest cell to a tiny one."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        rows, columns = _cells(y0, y1, shape[0]), _cells(x0, x1, shape[1])
        mask[rows, columns] = True
    return mask


def _hit(boxes: list[list[float]], seen: NDArray[np.floating[Any]]) -> float:
    """1 where the peak of a map lies in one of the boxes."""
    return float(box_mask(boxes, seen.shape).flat[seen.argmax()])


def _cells(first: float, last: float, count: int) -> slice:
    """The cells whose centre lies between two fractions of a side, one at least."""
    start = min(round(first * count), count - 1)
    return slice(start, max(round(last * count), start + 1))


def chance_above(above: NDArray[np.floating[Any]], below: NDArray[np.floating[Any]]) -> float:
    """Chance that a value of the first is above one of the second, ties one half."""
    order = np.sort(below)
    wins = np.searchsorted(order, above, "left") + np.searchsorted(order, above, "right")
    return float(wins.mean() / (2 * len(order)))
