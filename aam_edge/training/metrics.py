"""How well a predicted density fits where people looked.

Definitions after Z. Bylinskii et al., "What do different evaluation metrics tell us about saliency
models?" (TPAMI 2019), with these conventions: maps are brought to the human density's grid, clipped
at 0 and divided by their sum; KLD is in nats with epsilon 1e-7; cells of fixations are found by
truncation. Every function takes float arrays of equal shape (h, w).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
Points = NDArray[np.float64]
"""(n, 2): x and y as fractions of width and height, 0 at the left and top edge."""

KLD_EPSILON = 1e-7


def to_density(values: NDArray[np.floating]) -> Map:
    """Clips at 0 and scales to sum 1; a map without any mass becomes uniform."""
    positive = np.maximum(np.asarray(values, np.float64), 0) + 1e-20
    return np.asarray(positive / positive.sum())


def to_grid(values: NDArray[np.floating], shape: tuple[int, int]) -> Map:
    """Brings a predicted map to (h, w), averaging where it shrinks, and scales it to sum 1."""
    shrinks = values.shape[0] > shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.asarray(values, np.float32), shape[::-1], interpolation=how)
    return to_density(np.asarray(resized, np.float64))


def cells(points: Points, shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of each point on a grid (h, w)."""
    row = np.clip((points[:, 1] * shape[0]).astype(np.intp), 0, shape[0] - 1)
    column = np.clip((points[:, 0] * shape[1]).astype(np.intp), 0, shape[1] - 1)
    return row, column


def cc(predicted: Map, human: Map) -> float:
    """Pearson correlation over cells, -1..1; 0 where either map is constant."""
    a, b = predicted - predicted.mean(), human - human.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def kld(predicted: Map, human: Map) -> float:
    """Kullback-Leibler divergence of the prediction from the human density, nats, 0 is best."""
    return float((human * np.log(KLD_EPSILON + human / (predicted + KLD_EPSILON))).sum())


def sim(predicted: Map, human: Map) -> float:
    """Histogram intersection, 0..1."""
    return float(np.minimum(predicted, human).sum())


def nss(predicted: Map, points: Points) -> float:
    """Mean z-score of the prediction at the fixations; 0 is chance."""
    z = (predicted - predicted.mean()) / (predicted.std() + 1e-30)
    return float(z[cells(points, predicted.shape)].mean())


def auc_judd(predicted: Map, points: Points) -> float:
    """Each fixation's value against all cells without a fixation, ties one half; 0.5 is chance."""
    at = cells(points, predicted.shape)
    free = np.ones(predicted.shape, bool)
    free[at] = False
    others = np.sort(predicted[free])
    below = np.searchsorted(others, predicted[at], "left")
    not_above = np.searchsorted(others, predicted[at], "right")
    return float((below + not_above).mean() / (2 * len(others)))
