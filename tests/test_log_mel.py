"""Log-mel energies computed hop by hop are those of the whole window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.engine.log_mel import BANDS, HOP, HOPS, SAMPLE_NS, SILENCE, WINDOW, LogMel, log_mel
from aam_edge.messages import SOUND_RATE_HZ, Samples, Sound

START = 1_800_000_000 * SOUND_RATE_HZ
"""A sample number of these days."""
TRACK = np.random.default_rng(3).normal(0, 0.1, 4 * SOUND_RATE_HZ).astype(np.float32)
windows = st.tuples(
    st.integers(0, 40_000), st.sampled_from([0, 300, 399, 400, 8_000, 16_000, 24_000])
)
walks = st.lists(st.integers(-700, 3_000), min_size=1, max_size=12)


def cut(first: int, count: int, track: Samples = TRACK) -> Sound:
    """Samples of the track at their time."""
    return Sound(track[first : first + count].copy(), (START + first) * SAMPLE_NS)


@settings(max_examples=60, deadline=None)
@given(st.lists(windows, min_size=1, max_size=6))
def test_any_sequence_of_windows_gives_what_each_gives_alone(cuts: list[tuple[int, int]]) -> None:
    mel = LogMel()
    for first, count in cuts:
        alone = LogMel().update(cut(first, count))
        np.testing.assert_allclose(mel.update(cut(first, count)), alone, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(walks)
def test_window_that_moves_on_or_back_gives_what_it_gives_alone(steps: list[int]) -> None:
    mel, first = LogMel(), 10_000
    for step in steps:
        first += step
        alone = LogMel().update(cut(first, SOUND_RATE_HZ))
        np.testing.assert_allclose(mel.update(cut(first, SOUND_RATE_HZ)), alone, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 15_000), st.integers(1, 4_000), st.integers(0, 1_600))
def test_block_that_comes_late_is_heard(first: int, count: int, step: int) -> None:
    holed = TRACK.copy()
    holed[20_000 + first : 20_000 + first + count] = 0
    mel = LogMel()
    mel.update(cut(20_000, SOUND_RATE_HZ, holed))
    whole = cut(20_000 + step, SOUND_RATE_HZ)
    np.testing.assert_allclose(mel.update(whole), LogMel().update(whole), atol=1e-5)


def test_hops_of_a_window_are_those_of_the_whole_track() -> None:
    hops = log_mel(TRACK)  # hop k is [160 k, 160 k + 400) here
    found = LogMel().update(cut(160 * 50, SOUND_RATE_HZ))
    assert found.shape == (BANDS, HOPS)
    newest = 50 + (SOUND_RATE_HZ - WINDOW) // HOP
    # START is a multiple of 160, the windows end at multiples of 160: 400 = 2.5 hops, so half off.
    shifted = log_mel(TRACK[HOP // 2 :])
    np.testing.assert_allclose(found[:, -90:].T, shifted[newest - 89 : newest + 1], atol=1e-5)
    assert np.abs(found[:, -90:].T - hops[newest - 89 : newest + 1]).max() > 0.01


def test_silence_and_no_sound_are_the_same_constant() -> None:
    silent = LogMel().update(Sound(np.zeros(SOUND_RATE_HZ, np.float32), START * SAMPLE_NS))
    np.testing.assert_allclose(silent, SILENCE, atol=1e-6)
    mel = LogMel()
    mel.update(cut(0, SOUND_RATE_HZ))
    np.testing.assert_array_equal(mel.update(None), np.full((BANDS, HOPS), SILENCE, np.float32))


@pytest.mark.parametrize("pitch_hz", [100.0, 440.0, 1_000.0, 3_500.0, 7_000.0])
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_sine_peaks_in_the_band_of_its_pitch_at_its_level(
    pitch_hz: float, amplitude: float
) -> None:
    times_s = np.arange(SOUND_RATE_HZ) / SOUND_RATE_HZ
    sine = (amplitude * np.sin(2 * np.pi * pitch_hz * times_s)).astype(np.float32)
    newest = LogMel().update(Sound(sine, 0))[:, -1]
    mels = 2595 * np.log10(1 + np.array([50.0, pitch_hz, 8_000.0]) / 700)
    expected_band = (mels[1] - mels[0]) / (mels[2] - mels[0]) * (BANDS + 1) - 1
    assert abs(newest.argmax() - expected_band) <= 1.0
    level_db = 40 * newest.max() - 40
    assert abs(level_db - 20 * np.log10(amplitude)) < 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e38, 1.0, -1.0, 0.0, 1e-40])
def test_any_sample_gives_finite_values_in_range(value: float) -> None:
    samples = TRACK[:SOUND_RATE_HZ].copy()
    samples[3_000::2] = value
    found = LogMel().update(Sound(samples, START * SAMPLE_NS))
    assert np.isfinite(found).all()
    assert found.min() >= SILENCE - 1e-6
    assert found.max() <= 2


def test_samples_that_are_not_numbers_do_not_make_every_hop_new() -> None:
    samples = TRACK[: 2 * SOUND_RATE_HZ].copy()
    samples[:SOUND_RATE_HZ] = np.nan
    mel = LogMel()
    mel.update(cut(0, SOUND_RATE_HZ, samples))
    later = cut(480, SOUND_RATE_HZ, samples)
    np.testing.assert_allclose(mel.update(later), LogMel().update(later), atol=1e-5)
