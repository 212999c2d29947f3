"""The ring gives back what was heard, at its time, and zeros elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.messages import Frame, Sound
from aam_edge.sources.sample_clock import SampleClock
from aam_edge.sources.sound_ring import SAMPLE_NS, SoundRing
from aam_edge.sources.synchroniser import Synchroniser

START = 1_700_000_000 * 16_000
"""A sample number of these days."""
ROOM = 400
blocks = st.lists(st.tuples(st.integers(-900, 900), st.integers(0, 600)), max_size=12)


def block(first: int, count: int) -> Sound:
    """Samples that hold their own number, from START on."""
    values = np.arange(first, first + count, dtype=np.float32) + 2000
    return Sound(values, (START + first) * SAMPLE_NS)


def ns(sample: int) -> int:
    return (START + sample) * SAMPLE_NS


@given(blocks, st.integers(-1000, 1600), st.integers(1, ROOM))
def test_each_sample_of_a_window_is_zero_or_what_was_heard_at_its_time(
    heard: list[tuple[int, int]], end: int, length: int
) -> None:
    ring = SoundRing(ROOM / 16_000)
    for first, count in heard:
        ring.add(block(first, count))
    window = ring.window(ns(end), length / 16_000)
    if window is None:
        return
    assert len(window.samples) == length
    assert window.end_ns <= ns(end)
    first = window.start_ns // SAMPLE_NS - START
    expected = np.arange(first, first + length) + 2000
    is_zero = window.samples == 0
    np.testing.assert_array_equal(window.samples[~is_zero], expected[~is_zero])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.integers(1, ROOM))
def test_consecutive_blocks_come_back_whole(counts: list[int], length: int) -> None:
    ring = SoundRing(ROOM / 16_000)
    first = 0
    for count in counts:
        ring.add(block(first, count))
        first += count
    window = ring.window(ns(first), length / 16_000)
    assert window is not None
    expected = np.arange(first - length, first, dtype=np.float32) + 2000
    expected[: max(0, length - first)] = 0
    np.testing.assert_array_equal(window.samples, expected)


def test_hole_between_blocks_is_silent() -> None:
    ring = SoundRing(ROOM / 16_000)
    ring.add(block(0, 100))
    ring.add(block(150, 50))
    window = ring.window(ns(200), 200 / 16_000)
    assert window is not None
    assert not window.samples[100:150].any()
    assert window.samples[:100].all()
    assert window.samples[150:].all()


def test_late_block_fills_its_hole() -> None:
    ring = SoundRing(ROOM / 16_000)
    ring.add(block(0, 100))
    ring.add(block(150, 50))
    ring.add(block(100, 50))
    window = ring.window(ns(200), 200 / 16_000)
    assert window is not None
    assert window.samples.all()


def test_window_ends_at_the_last_sound_heard_when_sound_is_late() -> None:
    ring = SoundRing(ROOM / 16_000)
    ring.add(block(0, 300))
    window = ring.window(ns(320), 100 / 16_000)
    assert window is not None
    assert window.end_ns == ns(300)


@pytest.mark.parametrize("end", [-50, 0, 600])
def test_nothing_is_given_for_a_time_of_which_nothing_was_heard(end: int) -> None:
    ring = SoundRing(ROOM / 16_000)
    ring.add(block(0, 300))
    assert ring.window(ns(end), 200 / 16_000) is None


def test_ring_starts_anew_when_the_clock_is_set() -> None:
    ring = SoundRing(ROOM / 16_000)
    ring.add(block(0, 300))
    ring.add(block(-100_000, 100))
    window = ring.window(ns(-99_900), 200 / 16_000)
    assert window is not None
    assert not window.samples[:100].any()
    assert window.samples[100:].all()


def test_observation_has_the_sound_that_ends_with_its_frame() -> None:
    ring = SoundRing()
    ring.add(block(0, 32_000))
    frame = Frame(np.zeros((2, 2, 3), np.uint8), ns(20_000), "0", 7)
    observation = Synchroniser(ring).observe(frame)
    assert observation.frame is frame
    assert observation.sound is not None
    assert observation.sound.end_ns == frame.capture_ns
    assert len(observation.sound.samples) == 16_000


def test_observation_without_sound_is_silent() -> None:
    frame = Frame(np.zeros((2, 2, 3), np.uint8), ns(0), "0", 0)
    assert Synchroniser().observe(frame).sound is None
    assert Synchroniser(SoundRing()).observe(frame).sound is None


@given(st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=100))
def test_jitter_of_stamps_leaves_blocks_seamless(jitters_ns: list[int]) -> None:
    clock = SampleClock()
    first_ns = clock.start_of(320, jitters_ns[0])
    for number, jitter_ns in enumerate(jitters_ns[1:], start=1):
        start_ns = clock.start_of(320, number * 20_000_000 + jitter_ns)
        assert start_ns == first_ns + number * 20_000_000


def test_hole_in_the_stamps_moves_the_sound_at_once() -> None:
    clock = SampleClock()
    clock.start_of(320, 0)
    assert clock.start_of(320, 500_000_000) == 500_000_000


def test_drift_of_a_crystal_is_followed_within_milliseconds() -> None:
    clock = SampleClock()
    for number in range(100_000):
        measured_ns = number * 20_002_000  # 100 ppm slow
        assert abs(clock.start_of(320, measured_ns) - measured_ns) < 11_000_000
