"""Scores of one map, of halves of the people, and intervals of means.

Definitions are those of `training.metrics`. IG is over the centre prior, sAUC against fixations on
other stimuli of the set. What cannot be measured (a set of maps has no fixations) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.training.measure.gaze import Gaze
from aam_edge.training.metrics import (
    Map,
    Points,
    auc_judd,
    auc_shuffled,
    cc,
    information_gain,
    kld,
    nss,
    sim,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One map and all that it may be held against."""

    predicted: Map
    """(h, w), >= 0, sums to 1."""
    human: Map
    """Of people, (h, w), >= 0, sums to 1."""
    points: Points
    """Their fixations (n, 2), x and y as fractions of width and height."""
    others: Points
    """Fixations (m, 2) on other stimuli of the set, as fractions of those."""
    prior: Map
    """The centre prior, (h, w), sums to 1."""


METRICS: dict[str, Callable[[Case], float]] = {
    "CC": lambda case: cc(case.predicted, case.human),
    "KLD": lambda case: kld(case.predicted, case.human),
    "SIM": lambda case: sim(case.predicted, case.human),
    "NSS": lambda case: nss(case.predicted, case.points),
    "AUC-J": lambda case: auc_judd(case.predicted, case.points),
    "sAUC": lambda case: auc_shuffled(case.predicted, case.points, case.others),
    "IG": lambda case: information_gain(case.predicted, case.prior, case.points),
}
"""Column of the table to what is measured; a metric that stands here is in every output."""
Row = NDArray[np.float64]
"""One number for each of METRICS, in their order; NaN where nothing was measured."""
RESAMPLES = 2000
MOST_OTHERS = 50_000


def score(case: Case) -> Row:
    """All metrics of a map; densities on one grid."""
    return np.array([measure(case) for measure in METRICS.values()])


def nothing() -> Row:
    """The row of who was not scored."""
    return np.full(len(METRICS), np.nan)


def ceiling(
    gaze: Gaze, others: Points, prior: Map, rng: np.random.Generator
) -> tuple[Row, Row] | None:
    """How well one random half of the people predicts the other, both ways; None for one person.

    Returns:
        The mean of both ways; and what the correlation would be between all people and as many
        others (Spearman-Brown, 2 r / (1 + r)), CC alone.
    """
    people = gaze.observers
    if people is None or gaze.item.sigma is None or len(np.unique(people)) < 2:
        return None
    names = rng.permutation(np.unique(people))
    first = np.isin(people, names[: len(names) // 2])
    halves = [(gaze.points[mine], gaze.points[~mine]) for mine in (first, ~first)]
    rows = []
    for predicting, looked in halves:
        made, human = (
            Gaze(gaze.item, gaze.index, points, None).density(prior.shape)
            for points in (predicting, looked)
        )
        rows.append(score(Case(made, human, looked, others, prior)))
    mean = np.mean(rows, axis=0)
    whole, column = nothing(), list(METRICS).index("CC")
    whole[column] = 2 * mean[column] / (1 + mean[column])
    return mean, whole


class Others:
    """Fixations on the other stimuli of a set."""

    def __init__(self, gazes: list[Gaze]):
        points = [gaze.points for gaze in gazes]
        self._points = np.concatenate([*points, np.zeros((0, 2))])
        self._owner = np.repeat([gaze.item.stimulus for gaze in gazes], [len(p) for p in points])
        if len(self._points) > MOST_OTHERS:
            kept = np.random.default_rng(0).permutation(len(self._points))[:MOST_OTHERS]
            self._points, self._owner = self._points[kept], self._owner[kept]

    def of(self, stimulus: str) -> Points:
        """(n, 2)."""
        return np.asarray(self._points[self._owner != stimulus])


def intervals(
    rows: NDArray[np.floating[Any]], stimuli: list[str], resamples: int = RESAMPLES
) -> list[tuple[float, float, float]]:
    """Mean of each column with the ends of its 95 % bootstrap interval.

    Stimuli are drawn, with all their rows: rows of one photo or clip are no independent evidence.

    Args:
        rows: (n, columns); NaN counts as not there.
        stimuli: name of the photo or clip of each row.
        resamples: draws.

    Returns:
        Mean, low and high of each column; NaN where all of it is.
    """
    _, owner = np.unique(np.array(stimuli), return_inverse=True)
    count = int(owner.max()) + 1
    sums, numbers = (np.zeros((count, rows.shape[1])) for _ in range(2))
    np.add.at(sums, owner, np.nan_to_num(rows))
    np.add.at(numbers, owner, ~np.isnan(rows))
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), resamples)
    found = []
    for column in range(rows.shape[1]):
        total = numbers[:, column].sum()
        if not total:
            found.append((np.nan, np.nan, np.nan))
            continue
        with np.errstate(invalid="ignore"):
            means = (drawn @ sums[:, column]) / (drawn @ numbers[:, column])
        low, high = np.nanpercentile(means, [2.5, 97.5])
        found.append((float(sums[:, column].sum() / total), float(low), float(high)))
    return found
