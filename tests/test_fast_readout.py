"""The readout finds what its plain form in plain_readout.py finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aam_edge.config import GazeConfig
from aam_edge.messages import Frame, Map, Observation, RawAttention, Target
from aam_edge.readout.gaze import GazeChooser
from aam_edge.readout.hills import find_hills
from aam_edge.readout.peaks import LEAST_RISE, Peak, find_peaks
from tests import plain_readout
from tests.plain_readout import PlainGaze

IMAGE = 641, 479
"""Sides that no map divides: places of a grid are then seldom exactly as far apart as a bound."""


@st.composite
def densities(draw: st.DrawFn) -> Map:
    """Maps of hills under noise, in few levels or in many, so that some have plateaus and ties."""
    height, width = draw(st.integers(1, 48)), draw(st.integers(1, 64))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y, x = np.mgrid[:height, :width]
    hills = np.full((height, width), draw(st.sampled_from([1e-6, 1e-2, 1.0])))
    for _ in range(draw(st.integers(0, 6))):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        sigma, top = random.uniform(0.5, 8), random.uniform(0.1, 3)
        hills += top * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2))
    noise = draw(st.sampled_from([0.0, 0.05, 0.5]))
    values = hills * np.exp(noise * random.standard_normal((height, width)))
    levels = draw(st.sampled_from([0, 3, 20, 200]))
    if levels:
        values = np.ceil(values / values.max() * levels) / levels
    return np.asarray(values / values.sum(), np.float32)


@settings(deadline=None, max_examples=200)
@given(densities())
def test_hills_are_those_of_the_plain_form(density: Map) -> None:
    fast, plain = find_hills(density), plain_readout.find_hills(density)
    np.testing.assert_array_equal(fast.owner, plain.owner)
    np.testing.assert_array_equal(fast.rows, plain.rows)
    np.testing.assert_array_equal(fast.columns, plain.columns)


@settings(deadline=None, max_examples=200)
@given(densities(), st.integers(0, 2**32 - 1))
def test_peaks_are_those_of_the_plain_form(density: Map, seed: int) -> None:
    # Whether a top just on the bound stands out is a matter of rounding.
    assume(not np.isclose(density, LEAST_RISE * density.mean(), rtol=1e-5, atol=0).any())
    variance = np.random.default_rng(seed).uniform(0, 2, density.shape).astype(np.float32)
    fast = find_peaks(density, variance, IMAGE, most=32)
    plain = plain_readout.find_peaks(density, variance, IMAGE, most=32)
    # Of equal scores rounding decides which is first. On a top that is all but flat it also moves
    # the place a little: pixels are compared to a thousandth.
    np.testing.assert_allclose(by_place(fast), by_place(plain), rtol=1e-6, atol=1e-3)
    scores, expected = ([peak.score for peak in peaks] for peaks in (fast, plain))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def by_place(peaks: tuple[Peak, ...]) -> list[tuple[float, ...]]:
    values = [(peak.x, peak.y, peak.width_px, peak.sigma_px, peak.score) for peak in peaks]
    return sorted(values, key=lambda value: (round(value[0], 1), round(value[1], 1)))


@pytest.mark.parametrize("turns", [False, True])
@settings(deadline=None, max_examples=20)
@given(st.lists(densities(), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_gaze_goes_where_the_plain_form_goes(turns: bool, maps: list[Map], seed: int) -> None:
    random = np.random.default_rng(seed)
    fast, plain = GazeChooser(GazeConfig()), PlainGaze(GazeConfig())
    image, now_ns = np.zeros((IMAGE[1], IMAGE[0], 3), np.uint8), 10**18
    for k in range(40):
        density = maps[k * len(maps) // 40]
        now_ns += int(random.integers(10**6, 2 * 10**8))
        ego = np.eye(3, dtype=np.float32)
        ego[:2, 2] = random.uniform(-0.2, 0.2, 2)
        seen = Observation(Frame(image, now_ns, "0", k), ego=ego if turns else None)
        peaks = find_peaks(density, np.ones_like(density), IMAGE)
        targets = [Target(n, p.x, p.y, p.sigma_px, p.score) for n, p in enumerate(peaks)]
        raw = RawAttention(density, np.ones_like(density), 0.03, cut=k == 20)
        assert fast.choose(seen, raw, targets) == plain.choose(seen, raw, targets)
