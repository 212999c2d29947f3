"""Target ids: they stay with their target, and are never given twice."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.messages import Target
from aam_edge.readout.peaks import Peak, find_peaks
from aam_edge.readout.tracker import TargetTracker

FRAME_NS = 33_333_333
START_NS = 1_700_000_000_000_000_000


def peak(x: float, y: float = 100.0, score: float = 0.3) -> Peak:
    return Peak(x, y, width_px=15.0, sigma_px=4.0, score=score)


def ids(targets: tuple[Target, ...]) -> list[int]:
    return [target.id for target in targets]


@settings(deadline=None)
@given(
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.lists(st.integers(1, 6), min_size=5, max_size=40),
    st.integers(0, 1000),
)
def test_id_stays_under_smooth_motion_with_dropped_frames(
    vx: float, vy: float, steps: list[int], seed: int
) -> None:
    """Pixels a second up to 20 sigmas' worth, jitter of 1 pixel, up to five frames missing."""
    tracker, jitter = TargetTracker(keep_s=0.5), np.random.default_rng(seed)
    frames = np.concatenate([[0, 1, 2, 3, 4, 5], 5 + np.cumsum(steps)])
    seen = set()
    for frame in frames:
        t = frame / 30
        noise_x, noise_y = jitter.normal(0, 1, 2)
        moving = peak(320 + vx * t + noise_x, 240 + vy * t + noise_y)
        still = peak(320 - 1e5, 0)
        seen.add(tuple(ids(tracker.update([moving, still], START_NS + int(frame) * FRAME_NS))))
    assert seen == {(1, 2)}


def test_targets_that_cross_keep_their_ids() -> None:
    tracker = TargetTracker(keep_s=0.5)
    first: list[int] = []
    last: list[int] = []
    for frame in range(60):
        right, left = 100 + 8 * frame, 580 - 8 * frame
        if abs(right - left) < 22:  # one hill, so one peak
            peaks = [peak((right + left) / 2)]
        else:
            peaks = [peak(right), peak(left)]
        found = ids(tracker.update(peaks, START_NS + frame * FRAME_NS))
        first, last = first or found, found
    assert first == last == [1, 2]


def test_hills_that_cross_in_a_density_keep_their_ids() -> None:
    """The same through real maps: 48x64 cells, sigma 2 cells, 0.4 cells a frame."""
    y, x = np.mgrid[:48, :64]
    tracker = TargetTracker(keep_s=0.5)
    places: dict[int, list[float]] = {}
    for frame in range(100):
        centres = (12 + 0.4 * frame, 22.0), (52 - 0.4 * frame, 26.0)
        hills = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in centres]
        density = np.maximum(np.add(*hills), 1e-6)
        density = (density / density.sum()).astype(np.float32)
        peaks = find_peaks(density, np.ones_like(density), (640, 480), least_score=0.02)
        for target in tracker.update(peaks, START_NS + frame * FRAME_NS):
            places.setdefault(target.id, []).append(target.x)
    assert sorted(places) == [1, 2]
    ends = sorted((xs[0] < 320, xs[-1] < 320) for xs in places.values())
    assert ends == [(False, True), (True, False)]


def test_target_out_of_sight_keeps_its_id_for_keep_s_and_no_longer() -> None:
    tracker = TargetTracker(keep_s=0.5)
    assert ids(tracker.update([peak(10)], START_NS)) == [1]
    assert ids(tracker.update([], START_NS + 250_000_000)) == []
    assert ids(tracker.update([peak(11)], START_NS + 500_000_000)) == [1]
    assert ids(tracker.update([peak(11)], START_NS + 1_000_000_001)) == [2]


def test_far_peak_is_another_target() -> None:
    tracker = TargetTracker(keep_s=0.5)
    tracker.update([peak(100)], START_NS)
    assert ids(tracker.update([peak(300), peak(101)], START_NS + FRAME_NS)) == [2, 1]


@settings(deadline=None)
@given(st.data())
def test_ids_are_unique_in_a_map_and_never_come_back(data: st.DataObject) -> None:
    tracker, now_ns, lost, seen = TargetTracker(keep_s=0.1), START_NS, set[int](), set[int]()
    for _ in range(data.draw(st.integers(1, 15))):
        xs = data.draw(st.lists(st.floats(0, 640), max_size=8))
        now_ns += data.draw(st.integers(0, 200_000_000))
        is_cut = data.draw(st.booleans())
        found = ids(tracker.update([peak(x) for x in xs], now_ns, cut=is_cut))
        assert len(set(found)) == len(found) == len(xs)
        if is_cut:
            lost |= seen
        assert not lost & set(found)
        seen |= set(found)


def test_cut_and_time_that_runs_back_make_every_target_new() -> None:
    tracker = TargetTracker(keep_s=0.5)
    assert ids(tracker.update([peak(100)], START_NS)) == [1]
    assert ids(tracker.update([peak(100)], START_NS + FRAME_NS, cut=True)) == [2]
    assert ids(tracker.update([peak(100)], START_NS)) == [3]
    tracker.reset()
    assert ids(tracker.update([peak(100)], START_NS + FRAME_NS)) == [4]


def test_targets_are_given_in_the_order_of_the_peaks_with_their_values() -> None:
    tracker = TargetTracker(keep_s=0.5)
    tracker.update([peak(100), peak(300)], START_NS)
    targets = tracker.update([peak(301, score=0.5), peak(99, score=0.2)], START_NS + FRAME_NS)
    assert ids(targets) == [2, 1]
    assert [(t.x, t.y, t.sigma_px, t.score) for t in targets] == [
        (301, 100, 4, 0.5),
        (99, 100, 4, 0.2),
    ]


def test_state_saved_as_text_and_restored_goes_on_bit_by_bit() -> None:
    tracker = TargetTracker(keep_s=0.5)
    for frame in range(5):
        tracker.update([peak(100 + 7 * frame), peak(400.3)], START_NS + frame * FRAME_NS)
    other = TargetTracker(keep_s=0.5)
    other.restore(json.loads(json.dumps(tracker.state())))
    for frame in range(5, 30):
        x = 100 + 7 * frame + 20 * math.sin(frame)
        peaks = [peak(x), peak(500.0)]
        now_ns = START_NS + frame * FRAME_NS
        assert tracker.update(peaks, now_ns) == other.update(peaks, now_ns)
    assert tracker.state() == other.state()


def test_restoring_the_past_does_not_give_its_later_ids_again() -> None:
    tracker = TargetTracker(keep_s=0.5)
    tracker.update([peak(100)], START_NS)
    past = tracker.state()
    assert ids(tracker.update([peak(100), peak(300)], START_NS + FRAME_NS)) == [1, 2]
    tracker.restore(past)
    assert ids(tracker.update([peak(100), peak(500)], START_NS + FRAME_NS)) == [1, 3]


def test_targets_stay_the_same_while_the_camera_turns_fast() -> None:
    """60 pixels a frame, ten times a target's width: only who knows the motion can follow."""
    shift = np.eye(3, dtype=np.float32)
    shift[0, 2] = -60 / 320  # half a picture is 320 pixels
    tracker, blind = TargetTracker(keep_s=0.5), TargetTracker(keep_s=0.5)
    seen, lost = set(), set()
    for k in range(10):
        # Between the two lies the shift, so that a blind tracker takes one for the other.
        peaks = [peak(600 - 60 * k, 100), peak(660 - 60 * k, 100), peak(610 - 55 * k, 300)]
        if k:
            tracker.turn(shift, (640, 480))
        now_ns = START_NS + k * FRAME_NS
        seen.add(tuple(ids(tracker.update(peaks, now_ns))))
        lost.add(tuple(ids(blind.update(peaks, now_ns))))
    assert seen == {(1, 2, 3)}
    assert lost != {(1, 2, 3)}


def test_turned_target_keeps_its_speed_in_the_world() -> None:
    tracker = TargetTracker(keep_s=0.5)
    for k in range(20):
        tracker.update([peak(100 + 5 * k)], START_NS + k * FRAME_NS)
    roll = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32)  # a quarter of a turn
    tracker.turn(roll, (400, 400))
    (track,) = tracker._tracks
    assert abs(track.vx) < 1
    assert track.vy == pytest.approx(-5 * 1e9 / FRAME_NS, rel=0.05)
    away = np.diag([1, 1, -1]).astype(np.float32)
    tracker.turn(away, (400, 400))
    assert track.x < -1000
