"""The loop with a camera that fails: it goes on, keeps the state, and says what happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import pytest

from aam_edge.config import Config, SourceConfig, load_config
from aam_edge.errors import SourceError
from aam_edge.messages import Attention, Frame, Health
from aam_edge.runtime import Runtime
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.faulty import FaultyDevice
from aam_edge.sources.source import Source
from tests.recordings import QUIET, Kept

DEADLINE_S = 90.0


class Witness(Kept):
    """A sink that lets a test wait for what it hopes for."""

    name = "witness"

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        with self._changed:
            self.attentions.extend(attentions)  # without the frames: there may be hundreds
            self._changed.notify_all()

    def offer_health(self, health: Health) -> None:
        with self._changed:
            super().offer_health(health)
            self._changed.notify_all()

    def wait_for(self, what: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(what, DEADLINE_S), "what was awaited did not come"


@contextmanager
def running(device: FaultyDevice, **settings: object) -> Iterator[tuple[Witness, list[Exception]]]:
    """A stream of the device in a thread of its own."""
    config: Config = load_config(
        options=QUIET | {"source.cameras": ("0",), "source.retry_max_s": 0.3} | settings
    )
    witness, stop = Witness(), threading.Event()
    failures: list[Exception] = []

    def make(spec: str, config: SourceConfig, camera: str) -> Source:
        return CameraSource(device, config, camera)

    def body() -> None:
        try:
            Runtime(config, [witness], make).run(stop)
        except SourceError as problem:
            failures.append(problem)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield witness, failures
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_camera_pulled_out_comes_back_with_the_state_kept() -> None:
    device = FaultyDevice(fps=30)
    with running(device) as (witness, _):
        witness.wait_for(lambda: len(witness.attentions) >= 10)
        device.unplug()
        witness.wait_for(lambda: any(h.source_state == {"0": "lost"} for h in witness.health))
        lost_at = len(witness.attentions)
        device.plug_in()
        witness.wait_for(lambda: len(witness.attentions) >= lost_at + 10)
    after = witness.attentions[lost_at]
    # The first map after the gap knows how long it was, so it goes on from the state before.
    assert after.dt_s > 0.3
    assert int(after.frame_id) > int(witness.attentions[lost_at - 1].frame_id)
    stamps = [attention.capture_ns for attention in witness.attentions]
    assert stamps == sorted(stamps)
    sequence = [attention.seq for attention in witness.attentions]
    assert sequence == list(range(len(sequence)))
    warned = [h.warnings for h in witness.health if h.source_state == {"0": "lost"}]
    assert warned[0][0].startswith("0: ")


def test_nothing_is_published_while_the_camera_is_silent() -> None:
    device = FaultyDevice(fps=30)
    with running(device, **{"source.stall_s": 0.3}) as (witness, _):
        witness.wait_for(lambda: len(witness.attentions) >= 5)
        device.stall()
        witness.wait_for(lambda: any(h.source_state == {"0": "lost"} for h in witness.health))
        silent = len(witness.attentions)
        seen = len(witness.health)
        witness.wait_for(lambda: len(witness.health) >= seen + 2)
        assert len(witness.attentions) <= silent + 1
        device.resume()
        witness.wait_for(lambda: len(witness.attentions) >= silent + 5)


def test_camera_that_is_not_there_at_the_start_is_an_error() -> None:
    device = FaultyDevice()
    device.unplug()
    with running(device) as (_, failures):
        end_s = time.monotonic() + DEADLINE_S
        while not failures and time.monotonic() < end_s:
            threading.Event().wait(0.02)
    assert len(failures) == 1
    assert "no such camera (/dev/stand-in)" in str(failures[0])


def test_latency_does_not_grow_when_the_network_is_slower_than_the_camera() -> None:
    device = FaultyDevice(fps=500)
    with running(device, prompts=("a", "b", "c", "d")) as (witness, _):
        witness.wait_for(lambda: len(witness.attentions) >= 400)
        health_seen = len(witness.health)
        witness.wait_for(lambda: len(witness.health) > health_seen)
    ages_s = [(a.publish_ns - a.capture_ns) / 1e9 for a in witness.attentions[40:]]
    # A queue in which every frame waits its turn would make the last ones seven times as old.
    assert median(ages_s[-100:]) < max(0.3, 3 * median(ages_s[:100]))
    assert witness.health[-1].dropped["source/0"] > 0


def test_health_says_when_the_cameras_own_motion_cannot_be_known() -> None:
    told = "0: the camera's motion is not known for "
    with running(FaultyDevice(fps=60), **{"ego.source": "picture"}) as (witness, _):
        witness.wait_for(
            lambda: any(w.startswith(told) for h in witness.health for w in h.warnings)
        )


@pytest.mark.parametrize("frames", [1, 7])
def test_stream_stops_by_itself_after_so_many_frames(frames: int) -> None:
    with running(FaultyDevice(fps=30), frames=frames) as (witness, _):
        witness.wait_for(lambda: len(witness.attentions) == frames)
    assert len(witness.attentions) == frames
