"""Maxima of a density: place, width, mass, and what is no maximum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aam_edge.messages import Map
from aam_edge.readout import peaks as readout_peaks
from aam_edge.readout.peaks import MERGE_WIDTHS, Peak, entropy_bits

SHAPE = 48, 64


def blobs(
    *parts: tuple[float, float, float, float],
    shape: tuple[int, int] = SHAPE,
    floor: float = 1e-4,
) -> Map:
    """A density of Gaussians (x, y, sigma, mass), in cells, over a floor of so much mass."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    density = np.full(shape, floor / (shape[0] * shape[1]))
    for centre_x, centre_y, sigma, mass in parts:
        hill = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2))
        density += mass * hill / hill.sum()
    return np.asarray(density / density.sum(), np.float32)


def find_peaks(
    density: Map, image: tuple[int, int], *, most: int = 8, least_score: float = 0.0
) -> tuple[Peak, ...]:
    """Of a density whose log has a variance of 1; what variance does is in test_sigma."""
    variance = np.ones_like(density)
    return readout_peaks.find_peaks(density, variance, image, most=most, least_score=least_score)


def as_density(values: Map) -> Map:
    return np.asarray(values / values.sum(dtype=np.float64), np.float32)


def places(shape: tuple[int, int], margin: float) -> st.SearchStrategy[tuple[float, float]]:
    x = st.floats(margin, shape[1] - 1 - margin)
    y = st.floats(margin, shape[0] - 1 - margin)
    return st.tuples(x, y)


any_density = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
    elements=st.floats(0, 1, width=32).map(lambda v: np.float32(v + 1e-6)),
).map(as_density)


@settings(deadline=None)
@given(places(SHAPE, 12), st.floats(0.8, 4.0))
def test_blob_is_found_within_a_tenth_of_a_cell_and_its_width_within_a_tenth(
    centre: tuple[float, float], sigma: float
) -> None:
    # Cells of 10 x 8 pixels: sigma is the mean, in the geometric sense, of both axes.
    peak, *others = find_peaks(blobs((*centre, sigma, 1.0)), (640, 384), least_score=0.05)
    assert not others
    assert abs((peak.x + 0.5) / 10 - 0.5 - centre[0]) < 0.1
    assert abs((peak.y + 0.5) / 8 - 0.5 - centre[1]) < 0.1
    assert peak.width_px == pytest.approx(sigma * np.sqrt(10 * 8), rel=0.1)


@settings(deadline=None)
@given(places(SHAPE, 9), st.floats(1.0, 3.0))
def test_score_of_a_blob_is_the_mass_within_two_widths(
    centre: tuple[float, float], sigma: float
) -> None:
    (peak,) = find_peaks(blobs((*centre, sigma, 1.0)), (64, 48), least_score=0.05)
    # At sigma 1 the disc of 2 sigma is a dozen cells, and its edge is as wide as one.
    assert peak.score == pytest.approx(1 - np.exp(-2), abs=0.06)


@settings(deadline=None)
@given(places((30, 30), 12), st.floats(1.0, 2.0), st.integers(0, 30), st.integers(0, 15))
def test_moving_the_map_moves_the_peak_and_nothing_else(
    centre: tuple[float, float], sigma: float, right: int, down: int
) -> None:
    x, y = centre
    (before,) = find_peaks(blobs((x, y, sigma, 1.0)), (64, 48), least_score=0.05)
    (after,) = find_peaks(blobs((x + right, y + down, sigma, 1.0)), (64, 48), least_score=0.05)
    moved = [before.x + right, before.y + down, before.width_px, before.score]
    np.testing.assert_allclose(
        [after.x, after.y, after.width_px, after.score], moved, rtol=1e-3, atol=1e-3
    )


def test_elongated_blob_at_an_angle_is_found_between_the_cells() -> None:
    y, x = np.mgrid[:48, :64]
    along, across = (x - 30.4 + y - 20.4) / np.sqrt(2), (x - 30.4 - y + 20.4) / np.sqrt(2)
    density = as_density(np.exp(-(along**2) / 32 - across**2 / 8).astype(np.float32))
    (peak,) = find_peaks(density, (64, 48), least_score=0.05)
    assert (peak.x, peak.y) == pytest.approx((30.4, 20.4), abs=0.1)
    assert peak.width_px == pytest.approx(np.sqrt(4 * 2), rel=0.1)


@settings(deadline=None)
@given(any_density, st.integers(1, 3000), st.integers(1, 3000))
def test_scores_are_parts_of_the_mass_and_peaks_lie_in_the_picture(
    density: Map, width: int, height: int
) -> None:
    peaks = find_peaks(density, (width, height), most=32)
    scores = [peak.score for peak in peaks]
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-5
    assert scores == sorted(scores, reverse=True)
    for peak in peaks:
        assert -0.5 <= peak.x <= width - 0.5
        assert -0.5 <= peak.y <= height - 0.5
        side_px = np.sqrt(width * height / density.size)
        assert 0 < peak.width_px <= max(side_px / 2, min(width, height) / 4) * (1 + 1e-9)


@settings(deadline=None)
@given(any_density)
def test_a_single_highest_cell_that_stands_out_is_never_lost(density: Map) -> None:
    row, column = np.unravel_index(int(density.argmax()), density.shape)
    found = find_peaks(density, (density.shape[1] * 100, density.shape[0] * 100), most=32)
    if density[row, column] >= 1.51 * density.mean() and (density == density.max()).sum() == 1:
        places = [((peak.x + 0.5) / 100 - 0.5, (peak.y + 0.5) / 100 - 0.5) for peak in found]
        assert any(abs(x - column) <= 0.51 and abs(y - row) <= 0.51 for x, y in places)


def test_several_blobs_are_found_with_their_masses_best_first() -> None:
    density = blobs((12, 12, 2, 0.5), (40, 12, 2, 0.3), (40, 36, 2, 0.2))
    peaks = find_peaks(density, (64, 48), least_score=0.02)
    assert [(round(peak.x), round(peak.y)) for peak in peaks] == [(12, 12), (40, 12), (40, 36)]
    inside = 1 - np.exp(-2)
    np.testing.assert_allclose(
        [peak.score for peak in peaks], [0.5 * inside, 0.3 * inside, 0.2 * inside], atol=0.03
    )
    assert len(find_peaks(density, (64, 48), most=2)) == 2
    assert len(find_peaks(density, (64, 48), least_score=0.2)) == 2


def test_ripple_on_a_hill_is_one_target() -> None:
    noise = np.exp(0.03 * np.random.default_rng(1).standard_normal(SHAPE)).astype(np.float32)
    (peak,) = find_peaks(as_density(blobs((30, 20, 5, 1.0)) * noise), (64, 48), least_score=0.02)
    assert (peak.x, peak.y) == pytest.approx((30, 20), abs=2.5)
    assert peak.width_px == pytest.approx(5, rel=0.15)


def test_no_two_targets_lie_within_the_merging_distance() -> None:
    noise = np.random.default_rng(2).random(SHAPE).astype(np.float32)
    density = as_density(noise**4 + 1e-6)
    peaks = find_peaks(density, (640, 480), most=32)
    assert len(peaks) > 5
    for k, peak in enumerate(peaks):
        for other in peaks[k + 1 :]:
            distance = np.hypot(peak.x - other.x, peak.y - other.y)
            assert distance > MERGE_WIDTHS * min(peak.width_px, other.width_px)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (48, 64), (64, 24)])
def test_uniform_map_has_no_target(shape: tuple[int, int]) -> None:
    uniform = np.full(shape, 1 / (shape[0] * shape[1]), np.float32)
    assert find_peaks(uniform, (640, 480)) == ()
    noise = np.random.default_rng(3).normal(1, 0.05, shape).astype(np.float32)
    assert find_peaks(as_density(uniform * noise), (640, 480)) == ()


def test_plateau_is_one_target_in_its_middle() -> None:
    density = np.full(SHAPE, 1e-6, np.float32)
    density[10:15, 20:29] = 1
    (peak,) = find_peaks(as_density(density), (64, 48))
    assert (peak.x, peak.y) == (24, 12)


def test_two_equal_cells_are_one_target_between_them() -> None:
    (peak,) = find_peaks(blobs((20.5, 12.3, 2, 1.0)), (64, 48), least_score=0.02)
    assert (peak.x, peak.y) == pytest.approx((20.5, 12.3), abs=0.01)


def test_step_on_the_way_up_is_no_target() -> None:
    density = np.full(SHAPE, 1e-6, np.float32)
    density[10:20, 10:40] = 1
    density[10:20, 37:40] = 2
    (peak,) = find_peaks(as_density(density), (64, 48))
    assert 36.5 < peak.x < 39.5


@pytest.mark.parametrize("corner", [(0, 0), (63, 0), (0, 47), (63, 47), (31, 0)])
def test_maximum_on_the_border_stays_in_the_picture(corner: tuple[int, int]) -> None:
    (peak,) = find_peaks(blobs((*corner, 3, 1.0)), (64, 48), least_score=0.02)
    assert (peak.x, peak.y) == pytest.approx(corner, abs=0.01)
    # The border's own cells are whole and not halved, which widens a hill of few cells.
    assert peak.width_px == pytest.approx(3, rel=0.25)
    assert 0.8 < peak.score < 0.97


def test_point_mass_has_a_width_of_about_half_a_cell_and_all_the_mass() -> None:
    density = np.zeros(SHAPE, np.float32)
    density[20, 30] = 1
    (peak,) = find_peaks(density, (640, 480))
    assert (peak.x, peak.y) == (304.5, 204.5)
    assert 5 <= peak.width_px <= 7  # cells of 10 pixels
    assert peak.score == pytest.approx(1, abs=1e-6)
    assert entropy_bits(density) == 0


@settings(deadline=None)
@given(hnp.array_shapes(min_dims=2, max_dims=2, max_side=80))
def test_entropy_of_a_uniform_map_is_the_logarithm_of_its_cells(shape: tuple[int, int]) -> None:
    cells = shape[0] * shape[1]
    uniform = np.full(shape, 1 / cells, np.float32)
    assert entropy_bits(uniform) == pytest.approx(np.log2(cells), abs=1e-4)


@settings(deadline=None)
@given(any_density)
def test_entropy_lies_between_nothing_and_uniform(density: Map) -> None:
    assert 0 <= entropy_bits(density) <= np.log2(density.size) + 1e-4
