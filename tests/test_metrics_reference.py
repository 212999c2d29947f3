"""Metrics against what others compute: pysaliency (golden file) and the public code's fixtures.

The golden file is made by tools/make_metric_golden.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.training.metrics import (
    auc_judd,
    auc_shuffled,
    cc,
    information_gain,
    kld,
    nss,
    sim,
    to_density,
)

CASES = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())
PUBLIC_EPSILON = 1e-12


def points_of(cells: list[list[int]], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Centres of (row, column) as fractions (x, y)."""
    return ((np.array(cells, np.float64) + 0.5) / shape)[:, ::-1]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_scores_are_those_of_pysaliency(case: dict[str, Any]) -> None:
    predicted, human = to_density(np.array(case["predicted"])), to_density(np.array(case["human"]))
    here, there = (points_of(case[c], predicted.shape) for c in ("cells", "other_cells"))
    ours = {
        "cc": cc(predicted, human),
        "kld": kld(predicted, human),
        "sim": sim(predicted, human),
        "nss": nss(predicted, here),
        "auc_judd": auc_judd(predicted, here),
        "auc_shuffled": auc_shuffled(predicted, here, there),
        "information_gain": information_gain(predicted, human, here),
    }
    # Both are double precision; IG's epsilon, which the reference has not, weighs 1e-9 bits here.
    for name, expected in case["scores"].items():
        expected = 0.0 if expected is None else expected  # our word for "no correlation"
        assert ours[name] == pytest.approx(expected, abs=1e-8), name


def test_fixations_on_the_edge_lie_in_the_border_cells() -> None:
    case = next(case for case in CASES if case["name"] == "fixations in the corners")
    predicted = to_density(np.array(case["predicted"]))
    edges = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
    assert nss(predicted, edges) == pytest.approx(case["scores"]["nss"], abs=1e-9)
    assert auc_judd(predicted, edges) == pytest.approx(case["scores"]["auc_judd"], abs=1e-9)


@pytest.fixture(scope="module")
def losses(shared: Path) -> dict[str, NDArray[np.float64]]:
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs the extra [train]")
    tensors = safetensors.load_file(shared / "aam" / "fixtures" / "b_losses.safetensors")
    return {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}


def part_of_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divided by the sum as the public code does: a map without mass stays without."""
    return np.asarray(values / max(values.sum(), PUBLIC_EPSILON))


@pytest.mark.parametrize(
    "case", ["rand", "same", "pred_zero", "pred_const", "gt_zero", "gt_onehot", "both_const"]
)
def test_map_scores_are_the_public_losses(losses: dict[str, Any], case: str) -> None:
    pairs = [
        (part_of_sum(p), part_of_sum(g))
        for p, g in zip(losses[f"{case}/pred"][:, 0], losses[f"{case}/gt"][:, 0], strict=True)
    ]
    # The fixtures are single precision, and their epsilon sits in another place.
    for name, ours in (
        ("kldiv", np.mean([kld(p, g, PUBLIC_EPSILON) for p, g in pairs])),
        ("cc", np.mean([cc(p, g) for p, g in pairs])),
        ("similarity", np.mean([sim(p, g) for p, g in pairs])),
    ):
        assert ours == pytest.approx(float(losses[f"{case}/{name}"]), abs=1e-5), name


def test_nss_is_the_public_one_up_to_its_deviation(losses: dict[str, Any]) -> None:
    # The public code divides the variance by n - 1.
    values = []
    for predicted, fixated in zip(losses["rand/pred"][:, 0], losses["fix"][:, 0], strict=True):
        rows, columns = np.nonzero(fixated)
        points = points_of(np.stack([rows, columns], 1).tolist(), predicted.shape)
        n = predicted.size
        values.append(nss(predicted, points) * np.sqrt((n - 1) / n))
    assert np.mean(values) == pytest.approx(float(losses["nss/rand"]), abs=1e-5)
