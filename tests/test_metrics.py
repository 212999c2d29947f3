"""Metrics of gaze: their definitions, their extremes, and the reference of the shared data."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.training.metrics import auc_judd, cc, kld, nss, sim, to_density, to_grid

seeds = st.integers(0, 10_000)


def random_map(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return to_density(np.random.default_rng(seed).gamma(0.3, size=(24, 32)))


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_map_fits_itself_best(seed: int) -> None:
    human, other = random_map(seed), random_map(seed + 1)
    assert cc(human, human) == pytest.approx(1)
    assert sim(human, human) == pytest.approx(1)
    assert abs(kld(human, human)) < 1e-3
    assert kld(other, human) > 0
    assert cc(other, human) < 1
    assert sim(other, human) < 1


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 200))
def test_auc_of_random_points_is_chance_on_average(seed: int, points: int) -> None:
    generator = np.random.default_rng(seed)
    values = [auc_judd(random_map(seed), generator.random((points, 2))) for _ in range(30)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.3 / np.sqrt(points) + 0.02)


def test_constant_map_is_chance() -> None:
    flat, points = to_density(np.ones((24, 32))), np.array([[0.1, 0.9], [0, 0], [1, 1]])
    assert cc(flat, random_map(0)) == 0
    assert nss(flat, points) == pytest.approx(0, abs=1e-6)
    assert auc_judd(flat, points) == 0.5


def test_fixations_at_the_border_count() -> None:
    density = np.zeros((24, 32))
    density[0, 0] = density[-1, -1] = 1
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert auc_judd(to_density(density), corners) == 1
    assert nss(to_density(density), corners) > 10


def test_empty_map_becomes_uniform() -> None:
    np.testing.assert_allclose(to_density(np.zeros((4, 5))), 1 / 20)


def test_grid_keeps_mass_where_it_is() -> None:
    fine = np.zeros((48, 64), np.float32)
    fine[10, 20] = 1
    coarse = to_grid(fine, (12, 16))
    assert coarse.argmax() == (10 // 4) * 16 + 20 // 4
    assert coarse.sum() == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 50), st.integers(1, 60))
def test_grid_of_a_turned_map_is_the_turned_grid(seed: int, height: int, width: int) -> None:
    values = random_map(seed)
    grid = to_grid(values, (height, width))
    np.testing.assert_allclose(to_grid(values[::-1, ::-1], grid.shape), grid[::-1, ::-1], atol=1e-9)
    np.testing.assert_allclose(to_grid(values, values.shape), values, atol=1e-9)


def test_deviation_too_small_for_a_square_is_none() -> None:
    faint = np.array([[1e-200, 2e-200]])
    assert cc(faint, np.array([[0.25, 0.75]])) == 0


def test_numbers_are_those_of_the_reference(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("read", shared / "data" / "read.py")
    assert spec is not None
    assert spec.loader is not None
    pytest.importorskip("PIL", reason="the reference needs Pillow")
    reference = importlib.util.module_from_spec(spec)
    sys.modules["read"] = reference  # its dataclass looks itself up
    spec.loader.exec_module(reference)
    for seed in range(5):
        predicted, human = random_map(seed), random_map(seed + 50)
        points = np.random.default_rng(seed).random((40, 2))
        ours = [
            cc(predicted, human), kld(predicted, human), sim(predicted, human),
            nss(predicted, points), auc_judd(predicted, points),
        ]  # fmt: skip
        np.testing.assert_allclose(ours, reference.scores(predicted, human, points), rtol=1e-6)
