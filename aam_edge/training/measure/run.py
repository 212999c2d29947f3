"""Scores predictors on a set, next to the centre prior and to people, on the very same photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aam_edge.errors import DataError
from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.measure.gaze import Gaze, by_item, read_gazes
from aam_edge.training.measure.predictor import Answer, Predictor
from aam_edge.training.measure.prior import CentrePrior, read_prior
from aam_edge.training.measure.scores import Case, Others, Row, ceiling, nothing, score
from aam_edge.training.metrics import Map, to_grid

PRIOR = "centre prior"
CEILING = "human ceiling, half of the people"
WHOLE_CEILING = "human ceiling, all people"
OTHER_PROMPT = "{}, another prompt"
NO_PROMPT = "{}, free viewing"
PEOPLE = "people"


@dataclass(slots=True)
class SetScores:
    """What was measured on one split of one set."""

    name: str
    split: str
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """Who is scored to a row of METRICS for each of `where`."""
    where: list[str] = field(default_factory=list)
    stimuli: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def add(self, gaze: Gaze, scored: dict[str, Row]) -> None:
        """Takes one moment in; who is not scored on it has NaN there."""
        for name in scored.keys() - self.rows.keys():
            self.rows[name] = [nothing()] * len(self.where)
        for name, rows in self.rows.items():
            rows.append(scored.get(name, nothing()))
        self.where.append(gaze.where)
        self.stimuli.append(gaze.item.stimulus)
        self.prompts.append(gaze.item.prompt)


def measure_set(
    spec: str,
    root: Path,
    split: str,
    predictors: Sequence[Predictor],
    skipped: Skipped,
    most: int | None = None,
    on_item: Callable[[Item], None] = lambda item: None,
) -> SetScores | None:
    """Scores of all on one split of a set; None where nobody's gaze is known of it.

    A photo that one of them cannot answer to is left out for all, and noted.

    Args:
        spec: as `corpus.reader` takes it.
        root: of the AAM corpus.
        split: train or val.
        predictors: who is asked.
        skipped: takes note of what is broken, missing or does not fit.
        most: photos or clips at most, spread over the set.
        on_item: told of each when it is done.

    Raises:
        DataError: unknown or empty set, no such split, or no photo that all could answer to.
    """
    gazes = read_gazes(spec, root, split, skipped)
    if not gazes:
        return None
    prior = read_prior(spec, root, split, gazes, skipped)
    bench = _Bench(predictors, prior, Others(gazes), gazes)
    scores = SetScores(gazes[0].item.gaze_set, split)
    grouped = list(by_item(gazes))
    for item, moments in (grouped[i] for i in spread(len(grouped), most)):
        with skipped.counting():
            for gaze, scored in zip(moments, bench.score(item, moments), strict=True):
                scores.add(gaze, scored)
        on_item(item)
    if not scores.where:
        todo = "see the lines above"
        raise DataError("no photo could be scored", f"{spec}, {split}", todo)
    scores.rows = {name: scores.rows[name] for name in bench.order if name in scores.rows}
    return scores


def spread(count: int, most: int | None) -> list[int]:
    """At most so many of `count` indices, evenly spread."""
    if most is None or most >= count:
        return list(range(count))
    return [round(i) for i in np.linspace(0, count - 1, most).tolist()]


class _Bench:
    """What all rows of a set have in common."""

    def __init__(
        self, predictors: Sequence[Predictor], prior: CentrePrior, others: Others, gazes: list[Gaze]
    ):
        self.predictors, self.prior, self.others = predictors, prior, others
        self._halving = np.random.default_rng(0)  # the reference's own
        self._choosing = np.random.default_rng(0)
        self.prompts = sorted({gaze.item.prompt for gaze in gazes})
        self.of_stimulus: dict[str, dict[str, Gaze]] = {}
        for gaze in gazes:
            self.of_stimulus.setdefault(gaze.item.stimulus, {})[gaze.item.prompt] = gaze
        gaze_set = gazes[0].item.gaze_set
        self.follows = {p.name: p.follows(gaze_set, self.prompts) for p in predictors}
        self.order = [
            *(row for p in predictors for row in (p.name, *_asked_otherwise(p.name))),
            PRIOR, OTHER_PROMPT.format(PEOPLE), CEILING, WHOLE_CEILING,
        ]  # fmt: skip

    def score(self, item: Item, moments: list[Gaze]) -> list[dict[str, Row]]:
        """A row for each moment and each who is scored; DataError where somebody has no answer."""
        others = self._other_prompts(item)
        asked = list(
            dict.fromkeys([item.prompt, *others, FREE_VIEWING] if others else [item.prompt])
        )
        indices = [gaze.index for gaze in moments]
        looks = [p.look(item, indices, asked if self.follows[p.name] else asked[:1])
                 for p in self.predictors]  # fmt: skip
        answers = [[next(look) for look in looks] for _ in moments]
        return [
            self._rows(gaze, [dict(zip(asked, a, strict=False)) for a in by_predictor], others)
            for gaze, by_predictor in zip(moments, answers, strict=True)
        ]

    def _rows(
        self, gaze: Gaze, answers: list[dict[str, Answer]], others: list[str]
    ) -> dict[str, Row]:
        shape = gaze.grid()
        human, prior = gaze.density(shape), self.prior.density(gaze.item, shape)
        strangers = self.others.of(gaze.item.stimulus)

        def of(predicted: Map) -> Row:
            return score(Case(predicted, human, gaze.points, strangers, prior))

        rows = {PRIOR: of(prior)}
        for predictor, by_prompt in zip(self.predictors, answers, strict=True):
            told = {prompt: of(to_grid(a.density, shape)) for prompt, a in by_prompt.items()}
            rows[predictor.name] = told[gaze.item.prompt]
            if len(told) > 1:
                another, free = _asked_otherwise(predictor.name)
                rows[another] = np.mean([told[prompt] for prompt in others], axis=0)
                rows[free] = told[FREE_VIEWING]
        seen_otherwise = self.of_stimulus[gaze.item.stimulus]
        if others and all(prompt in seen_otherwise for prompt in others):
            mean = np.mean([seen_otherwise[prompt].density(shape) for prompt in others], axis=0)
            rows[OTHER_PROMPT.format(PEOPLE)] = of(mean)
        halves = ceiling(gaze, strangers, prior, self._halving)
        if halves is not None:
            rows[CEILING], rows[WHOLE_CEILING] = halves
        return rows

    def _other_prompts(self, item: Item) -> list[str]:
        """What people were asked besides on this photo; else one thing asked on another photo."""
        here = [p for p in self.of_stimulus[item.stimulus] if p != item.prompt]
        elsewhere = [prompt for prompt in self.prompts if prompt != item.prompt]
        if here or not elsewhere:
            return here
        return [str(self._choosing.choice(elsewhere))]


def _asked_otherwise(name: str) -> tuple[str, str]:
    """The rows of a predictor under another prompt, and under none."""
    return OTHER_PROMPT.format(name), NO_PROMPT.format(name)
