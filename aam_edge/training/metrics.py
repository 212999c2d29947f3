"""How well a predicted density fits where people looked.

Plain functions of float arrays; maps are (h, w) of equal shape. Three texts define them:

* Z. Bylinskii et al., "What do different evaluation metrics tell us about saliency models?" (TPAMI
  2019): CC, KLD, SIM, NSS, AUC-Judd, and IG with its epsilon.
* The reference of the shared gaze data (`read.py`): maps are brought to the human density's grid,
  clipped at 0 and divided by their sum; KLD has epsilon 1e-7; a fixation's cell is found by
  truncation; the deviation in NSS is that over all cells (divided by n, not n - 1).
* M. Kümmerer et al., "Information-theoretic model comparison unifies saliency metrics" (PNAS 2015):
  IG in bits a fixation over a baseline; and B. W. Tatler et al., "Visual correlates of fixation
  selection" (Vision Research 2005): AUC against fixations on other stimuli.

Both AUC are areas under the exact ROC curve: the part of all pairs (fixation, other cell) in which
the fixation's value is larger, ties one half. A constant map has CC 0, NSS 0 and AUC 0.5. Where
there is no fixation, or no other cell to compare with, the score is NaN: nothing was measured.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
Points = NDArray[np.float64]
"""(n, 2): x and y as fractions of width and height, 0 at the left and top edge."""

KLD_EPSILON = 1e-7
IG_EPSILON = 2.2204e-16
"""That of Bylinskii et al.; keeps a density of 0 at a fixation finite (-52 bits)."""


def to_density(values: NDArray[np.floating]) -> Map:
    """Clips at 0 and scales to sum 1; a map without any mass becomes uniform."""
    positive = np.maximum(np.asarray(values, np.float64), 0) + 1e-20
    return np.asarray(positive / positive.sum())


def to_grid(values: NDArray[np.floating], shape: tuple[int, int]) -> Map:
    """Brings a predicted map to (h, w), bilinear, and scales it to sum 1.

    Where it shrinks, each cell averages what it covers, as the reference's Pillow does.
    """
    down, across = (_bilinear(n, m) for n, m in zip(values.shape, shape, strict=True))
    return to_density(down @ np.asarray(values, np.float64) @ across.T)


@lru_cache(maxsize=64)
def _bilinear(old: int, new: int) -> Map:
    """(new, old): weights of `old` cells of a line in each of `new`; rows sum to 1."""
    width = max(1.0, old / new)
    centres = (np.arange(new)[:, None] + 0.5) * old / new
    weights = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centres) / width)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def cells(points: Points, shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of each point on a grid (h, w)."""
    row = np.clip((points[:, 1] * shape[0]).astype(np.intp), 0, shape[0] - 1)
    column = np.clip((points[:, 0] * shape[1]).astype(np.intp), 0, shape[1] - 1)
    return row, column


def cc(predicted: Map, human: Map) -> float:
    """Pearson correlation over cells, -1..1; 0 where either map is constant."""
    if _is_constant(predicted) or _is_constant(human):
        return 0.0
    a, b = predicted - predicted.mean(), human - human.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def kld(predicted: Map, human: Map, epsilon: float = KLD_EPSILON) -> float:
    """Kullback-Leibler divergence of the prediction from the human density, nats, 0 is best.

    Sum over cells of d log(epsilon + d / (p + epsilon)). The public AAM code takes epsilon 1e-12.
    It is >= 0 up to the epsilon's own error, a few n cells times epsilon.
    """
    return float((human * np.log(epsilon + human / (predicted + epsilon))).sum())


def sim(predicted: Map, human: Map) -> float:
    """Histogram intersection, 0..1."""
    return float(np.minimum(predicted, human).sum())


def nss(predicted: Map, points: Points) -> float:
    """Mean z-score of the prediction at the fixations; 0 is chance."""
    if not len(points):
        return math.nan
    if _is_constant(predicted):
        return 0.0
    z = (predicted - predicted.mean()) / (predicted.std() + 1e-30)
    return float(z[cells(points, predicted.shape)].mean())


def auc_judd(predicted: Map, points: Points) -> float:
    """Each fixation's value against all cells without a fixation; 0.5 is chance."""
    at = cells(points, predicted.shape)
    free = np.ones(predicted.shape, bool)
    free[at] = False
    return _area(predicted[at], predicted[free])


def auc_shuffled(predicted: Map, points: Points, others: Points) -> float:
    """Each fixation's value against those at fixations on other stimuli (sAUC); 0.5 is chance.

    What looking at the centre earns, it earns for both: the centre prior has 0.5.

    Args:
        predicted: (h, w).
        points: fixations on this stimulus.
        others: fixations on other stimuli, fractions of those; each counts once, however many
            share a cell.
    """
    return _area(
        predicted[cells(points, predicted.shape)], predicted[cells(others, predicted.shape)]
    )


def information_gain(predicted: Map, baseline: Map, points: Points) -> float:
    """Bits a fixation by which the prediction is more likely than a baseline, such as the prior.

    Mean over fixations of log2(epsilon + p) - log2(epsilon + b). Both are densities.
    """
    if not len(points):
        return math.nan
    at = cells(points, predicted.shape)
    gain = np.log2(IG_EPSILON + predicted[at]) - np.log2(IG_EPSILON + baseline[at])
    return float(gain.mean())


def _area(positives: Map, negatives: Map) -> float:
    """Area under the ROC curve: the part of pairs won, ties one half."""
    if not len(positives) or not len(negatives):
        return math.nan
    ranked = np.sort(negatives)
    below = np.searchsorted(ranked, positives, "left")
    not_above = np.searchsorted(ranked, positives, "right")
    return float((below + not_above).mean() / (2 * len(ranked)))


def _is_constant(values: Map) -> bool:
    # Its deviation is 0 only up to rounding, which 1e-30 would blow up.
    return bool(values.min() == values.max())
