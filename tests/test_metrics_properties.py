"""Metrics by their properties: ranges, invariances, fast against slow, and what chance scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from aam_edge.training.metrics import (
    KLD_EPSILON,
    Map,
    Points,
    auc_judd,
    auc_shuffled,
    cc,
    cells,
    information_gain,
    kld,
    nss,
    sim,
    to_density,
)

SHAPE = (6, 8)
fractions = st.floats(0, 1, width=32)
maps = arrays.arrays(np.float64, SHAPE, elements=st.floats(0, 1e3, width=32))
densities = maps.map(to_density)
levels = arrays.arrays(np.float64, SHAPE, elements=st.integers(0, 6).map(float))
points_sets = st.integers(1, 20).flatmap(
    lambda n: arrays.arrays(np.float64, (n, 2), elements=fractions)
)
quick = settings(max_examples=60, deadline=None)


@quick
@given(densities, densities, points_sets, points_sets)
def test_scores_stay_in_their_range(p: Map, d: Map, here: Points, there: Points) -> None:
    assert -1 - 1e-9 <= cc(p, d) <= 1 + 1e-9
    assert 0 <= sim(p, d) <= 1 + 1e-9
    assert kld(p, d) >= -4 * p.size * KLD_EPSILON
    assert math.isfinite(nss(p, here))
    assert math.isfinite(information_gain(p, d, here))
    assert 0 <= auc_judd(p, here) <= 1
    assert 0 <= auc_shuffled(p, here, there) <= 1


@quick
@given(densities, densities)
def test_cc_and_sim_do_not_care_which_map_is_first(p: Map, d: Map) -> None:
    assert cc(p, d) == pytest.approx(cc(d, p), abs=1e-12)
    assert sim(p, d) == sim(d, p)


@quick
@given(levels, points_sets, st.floats(0.01, 100), st.floats(-100, 100))
def test_nss_and_cc_do_not_change_with_gain_and_shift(
    values: Map, points: Points, gain: float, shift: float
) -> None:
    other = values[::-1]
    assert nss(values * gain + shift, points) == pytest.approx(nss(values, points), abs=1e-7)
    assert cc(values * gain + shift, other) == pytest.approx(cc(values, other), abs=1e-7)
    assert nss(-values, points) == pytest.approx(-nss(values, points), abs=1e-9)


@quick
@given(levels, points_sets, points_sets)
def test_auc_depends_on_the_order_of_values_alone(values: Map, here: Points, there: Points) -> None:
    for curve in (np.exp, np.cbrt, lambda v: 3 * v - 7):
        bent: Map = curve(values)
        assert auc_judd(bent, here) == auc_judd(values, here)
        assert auc_shuffled(bent, here, there) == auc_shuffled(values, here, there)
    assert auc_judd(-values, here) == pytest.approx(1 - auc_judd(values, here))


@quick
@given(densities, densities, densities, points_sets)
def test_information_gains_add_up(p: Map, q: Map, r: Map, points: Points) -> None:
    both = information_gain(p, q, points) + information_gain(q, r, points)
    assert information_gain(p, r, points) == pytest.approx(both, abs=1e-9)


@quick
@given(densities, densities, points_sets, points_sets)
def test_fast_scores_are_the_slow_definitions(p: Map, d: Map, here: Points, there: Points) -> None:
    assume(p.max() > p.min())
    fixated = [p[row, column] for row, column in zip(*cells(here, SHAPE), strict=True)]
    elsewhere = [p[row, column] for row, column in zip(*cells(there, SHAPE), strict=True)]
    taken = set(zip(*cells(here, SHAPE), strict=True))
    free = [p[i, j] for i in range(SHAPE[0]) for j in range(SHAPE[1]) if (i, j) not in taken]
    assert auc_judd(p, here) == pytest.approx(pairs_won(fixated, free))
    assert auc_shuffled(p, here, there) == pytest.approx(pairs_won(fixated, elsewhere))
    mean, deviation = np.mean(p), math.sqrt(np.mean([(v - np.mean(p)) ** 2 for v in p.ravel()]))
    slow_nss = np.mean([(v - mean) / deviation for v in fixated])
    assert nss(p, here) == pytest.approx(slow_nss, rel=1e-6, abs=1e-6)
    slow_kld = sum(
        b * math.log(KLD_EPSILON + b / (a + KLD_EPSILON))
        for a, b in zip(p.ravel(), d.ravel(), strict=True)
    )
    assert kld(p, d) == pytest.approx(slow_kld, abs=1e-9)


def pairs_won(positives: list[float], negatives: list[float]) -> float:
    """AUC as its definition says it: over all pairs, one for larger, one half for equal."""
    won = [(a > b) + 0.5 * (a == b) for a in positives for b in negatives]
    return sum(won) / len(won)


@given(densities)
@settings(max_examples=10, deadline=None)
def test_nothing_measured_is_nan(p: Map) -> None:
    nobody: NDArray[np.float64] = np.zeros((0, 2))
    somebody = np.array([[0.5, 0.5]])
    everywhere = np.stack(np.meshgrid(*(np.linspace(0, 1, 40),) * 2), -1).reshape(-1, 2)
    assert math.isnan(nss(p, nobody))
    assert math.isnan(auc_judd(p, nobody))
    assert math.isnan(auc_judd(p, everywhere))  # no cell without a fixation is left
    assert math.isnan(auc_shuffled(p, somebody, nobody))
    assert math.isnan(information_gain(p, p, nobody))


def test_centre_prior_gains_nothing_over_fixations_elsewhere() -> None:
    # On 30 stimuli people look at the centre whatever is there: AUC-Judd rewards the prior for it.
    rng = np.random.default_rng(3)
    fixations = [np.clip(rng.normal(0.5, 0.17, (80, 2)), 0, 1) for _ in range(30)]
    y, x = (np.arange(n) + 0.5 for n in (48, 64))
    prior = to_density(
        np.outer(np.exp(-((y / 48 - 0.5) ** 2) / 0.06), np.exp(-((x / 64 - 0.5) ** 2) / 0.06))
    )
    shuffled = [
        auc_shuffled(prior, mine, np.concatenate(fixations[:i] + fixations[i + 1 :]))
        for i, mine in enumerate(fixations)
    ]
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.01)  # standard error 0.006
    assert np.mean([auc_judd(prior, mine) for mine in fixations]) > 0.75
    assert information_gain(prior, np.full((48, 64), 1 / 3072), fixations[0]) > 0.5
