"""Recordings of several cameras: topics of each, and each runs again bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rosbags.highlevel import AnyReader

from aam_edge.cli.main import main
from aam_edge.config import RecordConfig
from aam_edge.errors import DataError
from aam_edge.messages import Observation
from aam_edge.recording.reader import Recording
from aam_edge.sinks.recording import RecordingSink
from aam_edge.sources.catalog import camera_name
from aam_edge.sources.recording import picture_topic
from tests.conftest import frame_of
from tests.recordings import Kept, densities, stream


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    """A recording of two cameras, of which one is asked for something else on the way."""
    path = tmp_path_factory.mktemp("two") / "two.mcap"
    settings = {
        "source.cameras": ("synthetic", "demo"),
        "source.size": "640x480",
        "source.mic": "none",
        "record.file": str(path),
        "record.state_s": 0.2,
        "frames": 30,
    }
    return path, stream("", settings)[0]


def test_each_camera_of_a_recording_has_its_topics_and_is_read_alone(
    two: tuple[Path, Kept],
) -> None:
    path, kept = two
    with AnyReader([path]) as bag:
        found = {connection.topic for connection in bag.connections}
    assert {f"/aam/camera_{name}/image/compressed" for name in ("synthetic", "demo")} <= found
    assert {f"/aam/camera_{name}/targets" for name in ("synthetic", "demo")} <= found
    with Recording(path) as recording:
        assert picture_topic(recording, "demo") == "/aam/camera_demo/image/compressed"
        with pytest.raises(DataError, match=r"no such camera .*two.mcap#back.: give one of /aam"):
            picture_topic(recording, "back")
    assert camera_name(f"{path}#demo") == "demo"
    assert {a.camera for a in kept.attentions} == {"synthetic", "demo"}


@pytest.mark.parametrize("alone", [True, False])
def test_cameras_of_a_recording_run_again_give_the_same_bits(
    two: tuple[Path, Kept], alone: bool
) -> None:
    path, kept = two
    cameras = ("demo",) if alone else ("demo", "synthetic")
    again, _ = stream("", {"source.cameras": tuple(f"{path}#{name}" for name in cameras)})
    for name in cameras:
        mine, theirs = ([a for a in k.attentions if a.camera == name] for k in (again, kept))
        assert len(mine) == len(theirs) > 5
        assert densities(mine) == densities(theirs)


def test_replay_compares_the_camera_that_is_named(
    two: tuple[Path, Kept], capsys: pytest.CaptureFixture[str]
) -> None:
    path, kept = two
    assert main(["replay", f"{path}#demo", "--engine", "onnx", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    count = sum(attention.camera == "demo" for attention in kept.attentions)
    assert (row["maps"], row["same"]) == (count, count)


def test_hole_of_one_camera_is_mended_though_the_other_was_written(tmp_path: Path) -> None:
    sink = RecordingSink(RecordConfig(file=str(tmp_path / "run.mcap"), queue_mb=1))
    taken = list[int]()

    def take() -> dict[str, Any]:
        taken.append(1)
        return {}

    def offer(camera: str, k: int) -> int:
        before = sink.dropped
        sink.offer_step(Observation(frame_of(camera, k)), (), together=True)
        return sink.dropped - before

    sink.before_step(take, 0)
    assert (offer("a", 0), offer("b", 0)) == (0, 1)  # there is room for one picture
    sink._queue.take(0)
    sink.before_step(take, 0)
    assert len(taken) == 2
    assert offer("a", 1) == 0
    assert offer("b", 1) == 1
    sink._queue.take(0)
    assert offer("b", 2) == 0  # without a state
    sink.before_step(take, 0)
    assert len(taken) == 3
    sink.close()
