"""What the microphone's callback makes of a block; the device itself is not needed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.errors import SourceError
from aam_edge.messages import Sound
from aam_edge.sources.microphone import BlockReader, Microphone
from aam_edge.sources.resampler import Resampler
from aam_edge.sources.sound_ring import SoundRing

NOW_NS = 1_700_000_000_000_000_000
rates_hz = st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])


def sine(rate_hz: int, seconds: float, pitch_hz: float = 440.0) -> NDArray[np.float32]:
    times_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.sin(2 * np.pi * pitch_hz * times_s).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(rates_hz)
def test_resampled_tone_keeps_its_pitch_phase_and_loudness(rate_hz: int) -> None:
    outputs = Resampler(rate_hz).feed(sine(rate_hz, 0.5))
    expected = sine(16_000, 0.5)[: len(outputs)]
    assert len(outputs) > 0.45 * 16_000
    # The first milliseconds hear the silence before the tone.
    np.testing.assert_allclose(outputs[200:], expected[200:], atol=0.01)


@settings(max_examples=30, deadline=None)
@given(rates_hz, st.lists(st.integers(0, 700), min_size=1, max_size=8))
def test_blocks_of_any_length_resample_like_the_whole(rate_hz: int, counts: list[int]) -> None:
    samples = np.random.default_rng(0).standard_normal(sum(counts)).astype(np.float32)
    resampler = Resampler(rate_hz)
    cuts = np.split(samples, np.cumsum(counts)[:-1])
    pieces = np.concatenate([resampler.feed(cut) for cut in cuts])
    np.testing.assert_allclose(pieces, Resampler(rate_hz).feed(samples), atol=1e-5)


def test_tone_above_the_new_nyquist_rate_is_gone() -> None:
    outputs = Resampler(48_000).feed(sine(48_000, 0.5, pitch_hz=10_000))
    assert np.abs(outputs[300:]).max() < 0.01


def blocks_of(reader: BlockReader, rate_hz: int, count: int, jitter_s: float = 0.0) -> list[Sound]:
    """Blocks of 20 ms whose first sample was taken 30 ms before the callback."""
    samples = sine(rate_hz, 0.02 * count).reshape(count, -1, 1)
    sounds = []
    for number in range(count):
        age_s = 0.03 + jitter_s * (number % 2)
        sounds.append(
            reader.read(
                samples[number],
                adc_time_s=100 + number * 0.02,
                current_time_s=100 + number * 0.02 + age_s,
                now_ns=NOW_NS + number * 20_000_000 + round(age_s * 1e9),
            )
        )
    return sounds


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_blocks_follow_each_other_without_a_seam_and_begin_at_their_adc_time(rate_hz: int) -> None:
    sounds = blocks_of(BlockReader(rate_hz), rate_hz, 50, jitter_s=0.004)
    assert abs(sounds[0].start_ns - NOW_NS) < 1000
    for before, after in pairwise(sounds):
        assert abs(after.start_ns - before.end_ns) <= 1


def test_sound_in_the_ring_is_the_tone_at_its_own_time() -> None:
    ring, reader = SoundRing(), BlockReader(48_000)
    for sound in blocks_of(reader, 48_000, 60):
        ring.add(sound)
    window = ring.window(NOW_NS + 1_100_000_000)
    assert window is not None
    first = (window.start_ns - NOW_NS) * 16_000 // 1_000_000_000
    np.testing.assert_allclose(window.samples, sine(16_000, 1.2)[first : first + 16_000], atol=0.02)


@pytest.mark.parametrize("adc_time_s", [0.0, -1.0, 1e9])
def test_device_without_adc_time_is_stamped_by_arrival_less_latency(adc_time_s: float) -> None:
    reader = BlockReader(16_000, latency_s=0.01)
    block = np.zeros((320, 1), np.float32)
    sound = reader.read(block, adc_time_s=adc_time_s, current_time_s=50.0, now_ns=NOW_NS)
    assert sound.start_ns == NOW_NS - 30_000_000


def test_stereo_becomes_mono_and_overruns_are_counted() -> None:
    reader = BlockReader(16_000)
    block = np.tile(np.array([[1.0, 0.0]], np.float32), (320, 1))
    sound = reader.read(block, adc_time_s=1.0, current_time_s=1.03, now_ns=NOW_NS, overran=True)
    np.testing.assert_allclose(sound.samples, 0.5)
    assert reader.overruns == 1


def test_missing_microphone_is_one_clear_line() -> None:
    with pytest.raises(SourceError) as caught:
        Microphone("no such device 7f3a", SoundRing())
    text = str(caught.value)
    assert "\n" not in text
    assert "--mic none" in text
    assert "no such device 7f3a" in text or "libportaudio2" in text
