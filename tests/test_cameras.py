"""Several cameras at once in programs and in the stream: nobody waits for anybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

import aam_edge
from aam_edge.config import Config, SourceConfig, load_config
from aam_edge.errors import AamEdgeError, SourceError
from aam_edge.messages import Health
from aam_edge.model_api import Model, load
from aam_edge.runtime import Runtime
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.faulty import FaultyDevice
from aam_edge.sources.source import Source
from tests.conftest import frame_of, scene
from tests.recordings import QUIET
from tests.test_runtime import Witness

DEADLINE_S = 45.0


@pytest.fixture(scope="module")
def model() -> Model:
    return load(engine="onnx")


def test_python_takes_frames_of_several_cameras_in_one_step(model: Model) -> None:
    stream, others = (
        model.stream(["free viewing", "search for cup"]),
        model.stream(["free viewing"]),
    )
    for k in range(4):
        left, right = stream.step_together([frame_of("a", k), frame_of("b", k, (640, 272))])
        alone = others.step(frame_of("a", k))
    assert [a.topic for a in (*left, *right)] == [
        *("attention/a/0", "attention/a/1"),
        *("attention/b/0", "attention/b/1"),
    ]
    np.testing.assert_allclose(left[0].density, alone[0].density, atol=1e-6)
    assert stream.step_together([]) == []
    with pytest.raises(ValueError, match="one frame a camera is expected, got a, a"):
        stream.step_together([frame_of("a", 5), frame_of("a", 6)])


def test_sources_opened_together_give_what_is_ready(tmp_path: Path) -> None:
    for folder, count in (("left", 3), ("right", 5)):
        (tmp_path / folder).mkdir()
        for k in range(count):
            cv2.imwrite(str(tmp_path / folder / f"{k}.png"), scene(k, 64, 48))
    specs = str(tmp_path / "left"), str(tmp_path / "right")
    seen_frames: dict[str, list[int]] = {"left": [], "right": []}
    with aam_edge.open_sources(*specs, pace="every") as sources:
        assert sources.cameras == ["left", "right"]
        for frames in sources:
            assert len({frame.camera for frame in frames}) == len(frames) > 0
            for frame in frames:
                seen_frames[frame.camera].append(frame.frame_id)
    assert {name: len(found) for name, found in seen_frames.items()} == {"left": 3, "right": 5}
    with pytest.raises(SourceError, match="no such camera or file"):
        aam_edge.open_sources(specs[0], str(tmp_path / "nosuch"))
    assert not [t for t in threading.enumerate() if t.name.startswith("aam-source-")]


def test_camera_can_look_for_something_else_than_the_others(model: Model) -> None:
    stream = model.stream(["free viewing"])
    frames = [frame_of("a", 0), frame_of("b", 0)]
    stream.step_together(frames)
    stream.set_prompts(["search for cup"], "b")
    left, right = stream.step_together([frame_of("a", 1), frame_of("b", 1)])
    assert (left[0].prompt, right[0].prompt) == ("free viewing", "search for cup")
    assert left[0].prompt_id != right[0].prompt_id
    assert right[0].presence is not None
    kept = stream.state()
    expected = stream.step_together([frame_of("a", 2), frame_of("b", 2)])
    other = model.stream(["search for dog"])
    other.restore(kept)
    again = other.step_together([frame_of("a", 2), frame_of("b", 2)])
    for mine, theirs in zip(again, expected, strict=True):
        np.testing.assert_array_equal(mine[0].density, theirs[0].density)
        assert mine[0].prompt == theirs[0].prompt
    stream.set_prompts(["search for dog"])
    assert stream.prompts_of("b") == ("search for dog",)


def test_reset_of_one_camera_leaves_the_other_alone(model: Model) -> None:
    stream = model.stream()
    for k in range(3):
        stream.step_together([frame_of("a", k), frame_of("b", k)])
    stream.reset("a")
    left, right = stream.step_together([frame_of("a", 3), frame_of("b", 3)])
    assert left[0].dt_s == 0
    assert right[0].dt_s > 0


@contextmanager
def running(
    devices: dict[str, FaultyDevice], **settings: object
) -> Iterator[tuple[Witness, Runtime, list[AamEdgeError]]]:
    """A stream of several devices in a thread of its own."""
    chosen = {"source.cameras": tuple(devices), "source.retry_max_s": 0.3}
    config: Config = load_config(options=QUIET | chosen | settings)
    witness, stop, failures = Witness(), threading.Event(), list[AamEdgeError]()

    def make(spec: str, config: SourceConfig, camera: str) -> Source:
        return CameraSource(devices[spec], config, camera)

    runtime = Runtime(config, [witness], make)

    def body() -> None:
        try:
            runtime.run(stop)
        except AamEdgeError as problem:
            failures.append(problem)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield witness, runtime, failures
    finally:
        for device in devices.values():
            device.resume()
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def count(witness: Witness, camera: str) -> int:
    return sum(a.camera == camera for a in witness.attentions)


def test_lost_and_stuck_cameras_do_not_delay_the_others() -> None:
    devices = {"0": FaultyDevice(fps=30), "1": FaultyDevice(fps=30), "2": FaultyDevice(fps=7)}
    with running(devices, **{"source.stall_s": 0.3}) as (witness, _, _failures):
        for camera in devices:
            witness.wait_for(lambda c=camera: count(witness, c) >= 5)  # type: ignore[misc]
        devices["0"].unplug()
        devices["1"].stall()
        lost = {"0": "lost", "1": "lost", "2": "live"}
        witness.wait_for(lambda: any(h.source_state == lost for h in witness.health))
        before = count(witness, "2")
        witness.wait_for(lambda: count(witness, "2") >= before + 10)
        devices["0"].plug_in()
        devices["1"].resume()
        witness.wait_for(
            lambda: (
                set(witness.health[-1].source_state.values()) == {"live"}
                and witness.health[-1].cameras["0"].rate_hz > 0
            )
        )
    # Each camera's maps have numbers, stamps and state of their own.
    for camera in devices:
        of_camera = [a for a in witness.attentions if a.camera == camera]
        assert [a.seq for a in of_camera] == list(range(len(of_camera)))
        stamps = [a.capture_ns for a in of_camera]
        assert stamps == sorted(stamps)
        assert not any(a.cut for a in of_camera)


def test_health_tells_of_each_camera() -> None:
    devices = {"0": FaultyDevice(fps=30), "1": FaultyDevice(fps=5)}
    with running(devices) as (witness, _, _failures):
        witness.wait_for(lambda: count(witness, "1") >= 8 and len(witness.health) > 2)
        witness.wait_for(lambda: any(h.cameras["1"].rate_hz > 0 for h in witness.health[-1:]))
    health = Health.from_bytes(witness.health[-1].to_bytes())
    assert health == witness.health[-1]
    assert list(health.cameras) == ["0", "1"]
    assert 0 < health.cameras["1"].rate_hz < 8
    assert health.cameras["0"].state == "live"
    assert set(health.cameras["0"].latency_ms) == {"p50", "p99"}


def test_commands_may_name_a_camera() -> None:
    devices = {"0": FaultyDevice(fps=30), "1": FaultyDevice(fps=30)}
    with running(devices) as (witness, runtime, _):
        witness.wait_for(lambda: count(witness, "1") >= 3)
        tell = runtime.commands.submit
        asked = tell({"cmd": "set_prompt", "prompt": "search for cup", "camera": "1"})
        assert asked["prompts"] == ["search for cup"]
        status = tell({"cmd": "status"})
        assert status["prompts_of"] == {"0": ["free viewing"], "1": ["search for cup"]}
        assert tell({"cmd": "status", "camera": "1"})["prompts"] == ["search for cup"]
        assert tell({"cmd": "pause", "camera": "0"})["ok"]
        paused, others = count(witness, "0"), count(witness, "1")
        witness.wait_for(lambda: count(witness, "1") >= others + 10)
        assert count(witness, "0") <= paused + 1
        assert tell({"cmd": "status"})["warnings"] == ["0: paused"]
        assert tell({"cmd": "pause"})["ok"]
        assert tell({"cmd": "status"})["warnings"] == ["paused"]
        assert tell({"cmd": "resume"})["ok"]
        assert not tell({"cmd": "status"})["paused"]
        assert tell({"cmd": "reset", "camera": "0"})["ok"]
        answer = tell({"cmd": "reset", "camera": "7"})
        assert answer == {"ok": False, "error": "no such camera (7): give one of 0, 1"}
        snapshot = tell({"cmd": "snapshot"})["snapshot"]
        assert tell({"cmd": "set_prompt", "prompt": "search for dog"})["ok"]
        assert tell({"cmd": "restore", "snapshot": snapshot})["ok"]
        assert tell({"cmd": "status"})["prompts_of"] == status["prompts_of"]
    assert {a.prompt for a in witness.attentions if a.camera == "1"} >= {
        "free viewing",
        "search for cup",
    }


class Tardy(CameraSource):
    """A camera that takes its time to open."""

    may_open = threading.Event()

    def open(self) -> None:
        assert self.may_open.wait(DEADLINE_S)
        super().open()


def test_camera_that_opens_late_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aam_edge.sources.feed.LATE_S", 0.05)
    devices = {"0": FaultyDevice(fps=30), "1": FaultyDevice(fps=30)}
    devices["1"].unplug()
    options = {"source.cameras": tuple(devices), "source.retry_max_s": 0.3}
    witness, stop = Witness(), threading.Event()
    Tardy.may_open.clear()

    def make(spec: str, config: SourceConfig, camera: str) -> Source:
        kind = Tardy if spec == "1" else CameraSource
        return kind(devices[spec], config, camera)

    runtime = Runtime(load_config(options=QUIET | options), [witness], make)
    thread = threading.Thread(target=runtime.run, args=(stop,))
    thread.start()
    try:
        witness.wait_for(lambda: count(witness, "0") >= 5)
        assert not witness.health or "1: 1 is not open yet" in witness.health[-1].warnings
        Tardy.may_open.set()  # and now it is not even there: it is tried again
        witness.wait_for(lambda: any(h.source_state["1"] == "lost" for h in witness.health[-1:]))
        devices["1"].plug_in()
        witness.wait_for(lambda: count(witness, "1") >= 3)
    finally:
        Tardy.may_open.set()
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_one_of_several_cameras_that_is_not_there_at_the_start_is_an_error() -> None:
    devices = {"0": FaultyDevice(fps=30), "1": FaultyDevice()}
    devices["1"].unplug()
    with running(devices) as (_, _runtime, failures):
        for _ in range(1000):
            if failures or threading.Event().wait(0.02):
                break
    assert isinstance(failures[0], SourceError)


def test_stream_of_several_cameras_ends_after_so_many_frames() -> None:
    devices = {"0": FaultyDevice(fps=50), "1": FaultyDevice(fps=50)}
    with running(devices, frames=7) as (witness, _, _failures):
        witness.wait_for(lambda: len(witness.attentions) == 7)
    assert len(witness.attentions) == 7
