"""Why no fresh map leaves, by arguments alone."""

from __future__ import annotations

import numpy as np
import pytest

from aam_edge.messages import Frame, Health
from aam_edge.pulse import OK, PAUSED, Pulse, SourceNow

S = 1_000_000_000
LIVE = SourceNow("live", "", False)
IMAGE = np.zeros((4, 4, 3), np.uint8)


def frame(number: int, capture_ns: int | None = None, camera: str = "0") -> Frame:
    return Frame(IMAGE.copy(), number if capture_ns is None else capture_ns, camera, number)


def running(*cameras: str, interval_ns: int = S // 30) -> tuple[Pulse, int]:
    """A pulse after ten maps of each camera, and the time."""
    pulse, now_ns = Pulse(0), 0
    pulse.wait(0)
    for number in range(1, 11):
        now_ns = number * interval_ns
        for camera in cameras or ("0",):
            pulse.leave(frame(number, camera=camera), 0.02, now_ns)
    return pulse, now_ns


def test_maps_are_missed_within_two_seconds_less_what_health_takes_to_leave() -> None:
    pulse, now_ns = running()
    assert pulse.why(now_ns + S, {"0": LIVE}) == OK
    assert pulse.why(now_ns + 13 * S // 10, {"0": LIVE}) == "0: source gives no pictures for 1.3 s"
    assert pulse.age_s(now_ns + S) == 1.0


def test_who_is_slow_by_nature_is_given_its_time() -> None:
    pulse, now_ns = running(interval_ns=4 * S)
    assert pulse.why(now_ns + 9 * S, {"0": LIVE}) == OK
    assert pulse.why(now_ns + 11 * S, {"0": LIVE}) != OK


def test_one_long_silence_does_not_make_a_source_slow_by_nature() -> None:
    pulse, now_ns = running()
    pulse.leave(frame(11), 0.02, now_ns + 60 * S)
    assert pulse.why(now_ns + 62 * S, {"0": LIVE}) != OK


def test_stuck_stage_is_named_and_a_short_one_is_not() -> None:
    pulse, now_ns = running()
    pulse.enter("network", now_ns)
    assert pulse.why(now_ns + S, {"0": LIVE}) == OK
    assert pulse.why(now_ns + 2 * S, {"0": LIVE}) == "network is stuck for 2.0 s"
    paused = SourceNow("live", "", True)
    assert pulse.why(now_ns + 2 * S, {"0": paused}) == "network is stuck for 2.0 s"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (SourceNow("lost", "no such camera", False), "0: source lost: no such camera"),
        (SourceNow("opening", "", False), "0: source opening"),
        (SourceNow("ended", "", False), "0: source ended"),
        (SourceNow("live", "", True), PAUSED),
    ],
)
def test_state_of_the_source_is_the_reason(now: SourceNow, words: str) -> None:
    pulse, now_ns = running()
    assert pulse.why(now_ns + 2 * S, {"0": now}) == words


def test_picture_that_is_repeated_is_no_fresh_one() -> None:
    pulse, now_ns = running()
    for n in range(1, 60):
        now_ns += S // 30
        pulse.leave(frame(10 + n, capture_ns=10), 0.02, now_ns)
    words = "0: source repeats one picture: its stamp stands still"
    assert pulse.why(now_ns, {"0": LIVE}) == words


@pytest.mark.parametrize("latency_s", [5.0, -3600.0])
def test_old_maps_are_bad_and_one_at_a_stepped_clock_is_not(latency_s: float) -> None:
    pulse, now_ns = running()
    pulse.leave(frame(11), latency_s, now_ns)
    assert pulse.why(now_ns, {"0": LIVE}) == OK
    for number in range(12, 17):
        pulse.leave(frame(number), latency_s, now_ns)
    assert pulse.why(now_ns, {"0": LIVE}) == f"0: maps are {latency_s:.1f} s old"


def test_one_of_two_cameras_is_enough_and_each_is_told_apart() -> None:
    pulse, now_ns = running("0", "1")
    later_ns = now_ns + 2 * S
    pulse.leave(frame(11, camera="1"), 0.02, later_ns)
    both = {"0": LIVE, "1": LIVE}
    assert pulse.why(later_ns, both) == OK
    assert pulse.why_camera("0", later_ns, LIVE) == "source gives no pictures for 2.0 s"
    mixed = {"0": LIVE, "1": SourceNow("live", "", True)}
    assert (
        pulse.why(later_ns, mixed) == "0: source gives no pictures for 2.0 s; 1: paused by command"
    )


def test_before_the_first_frame_it_is_said_what_is_opened() -> None:
    pulse = Pulse(0)
    pulse.enter("cameras", S)
    assert pulse.why(3 * S, {}) == "opening: cameras, for 3.0 s"
    pulse.end("stopped")
    assert pulse.why(3 * S, {}) == "stopped"


def test_health_of_an_older_program_is_read_and_its_worst_is_one_line() -> None:
    health = Health.unknown()
    assert health.trouble == "no fresh maps: opening"
    assert Health.from_bytes(health.to_bytes()) == health
