"""Scores predictors on finding things by name, on the very same photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.measure.found import Tally, box_mask, boxes_of, questions
from aam_edge.training.measure.predictor import Answer, Predictor
from aam_edge.training.measure.prior import GRID, train_items
from aam_edge.training.measure.run import PRIOR, spread
from aam_edge.training.metrics import Map, to_density

SEARCH_FOR = "search for {}"


@dataclass(slots=True)
class SearchScores:
    """What was found by name on one split of one set."""

    name: str
    split: str
    tallies: dict[str, Tally]


def measure_search(
    spec: str,
    root: Path,
    split: str,
    predictors: Sequence[Predictor],
    skipped: Skipped,
    most: int | None = None,
    on_item: Callable[[Item], None] = lambda item: None,
) -> SearchScores | None:
    """Who finds what is boxed; None where nothing is. Arguments as `measure_set`.

    Predictors that follow no prompt are scored too, and so is where things of the train split lie.
    """
    items = [item for item in read_items(spec, root, split, skipped) if boxes_of(item)]
    if not items:
        return None
    names = sorted({name for item in items for name in boxes_of(item)})
    rng = np.random.default_rng(0)
    all_asked = [(item, questions(boxes_of(item), names, rng)) for item in items]
    asking = [(item, asked) for item, asked in all_asked if asked is not None]
    if not asking:
        todo = "give more photos, with other things"
        raise DataError("every photo holds every name", f"{spec}, {split}", todo)
    asking = [asking[i] for i in spread(len(asking), most)]
    usual = usual_place(spec, root, split, items)
    scores = SearchScores(items[0].gaze_set, split, {})
    scores.tallies = {name: Tally() for name in (*(p.name for p in predictors), PRIOR)}
    for item, asked in asking:
        prompts = [SEARCH_FOR.format(name) for name in asked.names()]
        with skipped.counting():
            answers = {p.name: next(p.look(item, [0], prompts)) for p in predictors}
            answers[PRIOR] = [Answer(usual)] * len(prompts)
            for name, told in answers.items():
                maps, chances = [a.density for a in told], [a.presence for a in told]
                asked.add_to(scores.tallies[name], item.stimulus, maps, chances)
        on_item(item)
    return scores


def usual_place(spec: str, root: Path, split: str, items: list[Item]) -> Map:
    """Where boxed things lie, whatever they are, on the train split or, without one, on this."""
    if split != "train":
        items = train_items(spec, root, Skipped()) or items
    masks = [box_mask([b], GRID) for item in items for boxes in boxes_of(item).values()
             for b in boxes]  # fmt: skip
    return to_density(np.mean(masks, axis=0)) if masks else to_density(np.ones(GRID))
