"""`--record`: what the file holds, read by others and by ourselves, and the same maps again."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from aam_edge.config import RecordConfig, SourceConfig
from aam_edge.errors import SinkError
from aam_edge.recording.reader import Recording
from aam_edge.sinks.recording import RecordingSink
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.faulty import FaultyDevice
from aam_edge.sources.source import Source
from tests.recordings import Kept, densities, maps_of, messages_of, sound_of, stream

FRAMES = 40
TYPES = {
    "/aam/attention/compressed": "sensor_msgs/msg/CompressedImage",
    "/aam/attention/density": "std_msgs/msg/Float32MultiArray",
    "/aam/attention/message": "std_msgs/msg/String",
    "/aam/targets": "vision_msgs/msg/Detection2DArray",
    "/aam/gaze": "geometry_msgs/msg/PointStamped",
    "/aam/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/aam/image/input": "sensor_msgs/msg/Image",
}
"""What each step has one of."""


@dataclass
class Recorded:
    path: Path
    kept: Kept


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("record") / "demo.mcap"
    secret = {"page.token": "open sesame"}
    settings = {"record.file": str(path), "frames": FRAMES, "source.mic": "file"}
    kept, _ = stream("demo", settings | secret)
    return Recorded(path, kept)


def stamp_ns(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def test_rosbags_reads_types_stamps_and_counts(recorded: Recorded) -> None:
    attentions = recorded.kept.attentions
    captures = [attention.capture_ns for attention in attentions]
    publishes = [attention.publish_ns for attention in attentions]
    with AnyReader([recorded.path]) as bag:
        kinds = {c.topic: (c.msgtype, c.msgcount) for c in bag.connections}
        for topic, kind in TYPES.items():
            assert kinds[topic] == (kind, FRAMES), topic
        assert kinds["/aam/audio"][0] == "foxglove_msgs/msg/RawAudio"
        assert kinds["/diagnostics"][0] == "diagnostic_msgs/msg/DiagnosticArray"
        targets = [c for c in bag.connections if c.topic == "/aam/targets"]
        rows = list(bag.messages(connections=targets))
        assert [time_ns for _, time_ns, _ in rows] == publishes
        read: list[Any] = [bag.deserialize(raw, c.msgtype) for c, _, raw in rows]
    assert [stamp_ns(message.header) for message in read] == captures
    for message, attention in zip(read, attentions, strict=True):
        assert message.header.frame_id == "camera_demo_optical_frame"
        places = [(d.bbox.center.position.x, d.bbox.center.position.y) for d in message.detections]
        assert places == [(target.x, target.y) for target in attention.targets]
        assert [d.id for d in message.detections] == [str(t.id) for t in attention.targets]


def test_mcap_library_decodes_every_message(recorded: Recorded) -> None:
    with recorded.path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        decoded = list(reader.iter_decoded_messages())
        summary = reader.get_summary()
    assert summary is not None
    assert {c.compression for c in summary.chunk_indexes} == {"lz4"}
    assert summary.statistics is not None
    assert len(decoded) == summary.statistics.message_count > 7 * FRAMES
    points = [d.decoded_message for d in decoded if d.channel.topic == "/aam/gaze"]
    gazes = [a.gaze for a in recorded.kept.attentions]
    assert [(p.point.x, p.point.y) for p in points] == [(g.x, g.y) for g in gazes if g]


def test_pictures_are_those_that_were_seen(recorded: Recorded) -> None:
    pictures = messages_of(recorded.path, "/image/compressed")
    heats = messages_of(recorded.path, "/attention/compressed")
    for frame, attention, picture, heat in zip(
        recorded.kept.frames, recorded.kept.attentions, pictures, heats, strict=True
    ):
        image = cv2.imdecode(np.frombuffer(picture["data"], np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == frame.image.shape
        assert np.abs(image.astype(int) - frame.image).mean() < 5
        cells = cv2.imdecode(np.frombuffer(heat["data"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert cells is not None
        relative = attention.density / attention.density.max()
        assert np.abs(cells / 255 - relative).mean() < 0.02


def test_messages_come_back_with_all_their_bits(recorded: Recorded) -> None:
    published = [attention.to_bytes() for attention in recorded.kept.attentions]
    assert [attention.to_bytes() for attention in maps_of(recorded.path)] == published
    assert densities(maps_of(recorded.path)) == densities(recorded.kept.attentions)


def test_each_sample_of_sound_is_recorded_once(recorded: Recorded) -> None:
    samples, starts = sound_of(recorded.path)
    lengths = [len(block["data"]) // 2 for block in messages_of(recorded.path, "/audio")]
    ends = [start + n * 62_500 for start, n in zip(starts, lengths, strict=True)]
    assert ends[:-1] == starts[1:]
    frames = recorded.kept.frames
    assert abs(ends[-1] - frames[-1].capture_ns) < 50e6
    assert np.abs(samples).max() > 100


def test_run_yaml_tells_settings_versions_and_weights_but_no_secrets(recorded: Recorded) -> None:
    with Recording(recorded.path) as recording:
        run = recording.run
    attention = recorded.kept.attentions[0]
    assert run["model"]["weights"].startswith(attention.weights)
    assert len(run["model"]["weights"]) == 64
    assert run["settings"]["source"]["mic"] == "file"
    assert run["versions"]["mcap"]
    assert run["cameras"] == ["demo"]
    assert "sesame" not in yaml.safe_dump(run)


def test_same_network_gives_the_same_maps_bit_for_bit(recorded: Recorded) -> None:
    again, _ = stream(str(recorded.path))
    assert densities(again.attentions) == densities(recorded.kept.attentions)
    for now, then in zip(again.attentions, recorded.kept.attentions, strict=True):
        assert (now.targets, now.gaze, now.sound) == (then.targets, then.gaze, then.sound)
        assert (now.capture_ns, now.frame_id, now.gap) == (then.capture_ns, then.frame_id, then.gap)


def test_recording_of_a_recording_is_the_same_again(recorded: Recorded, tmp_path: Path) -> None:
    second = tmp_path / "second.mcap"
    stream(str(recorded.path), {"record.file": str(second)})
    third, _ = stream(str(second))
    assert densities(third.attentions) == densities(recorded.kept.attentions)
    np.testing.assert_array_equal(sound_of(second)[0], sound_of(recorded.path)[0])


def test_other_prompts_put_the_recorded_ones_off(recorded: Recorded) -> None:
    asked = {"prompts": ("search for cup",), "source.as_recorded": False}
    again, _ = stream(str(recorded.path), asked)
    assert {attention.prompt for attention in again.attentions} == {"search for cup"}


def test_several_prompts_and_cameras_have_their_own_topics(tmp_path: Path) -> None:
    path = tmp_path / "two.mcap"
    cameras = ("synthetic", "demo")
    settings = {"source.cameras": cameras, "prompts": ("a cup", "a dog"), "frames": 12}
    kept, _ = stream("synthetic", settings | {"record.file": str(path)})
    with Recording(path) as recording:
        counts = recording.index.counts
    for camera in cameras:
        mine = [a for a in kept.attentions if a.camera == camera and a.prompt_index == 1]
        assert counts[f"/aam/camera_{camera}/prompt_1/targets"] == len(mine)
    assert len(maps_of(path)) == len(kept.attentions)
    assert {m["data"] for m in messages_of(path, "prompt_1/prompt")} == {"a dog"}


def test_jpeg_of_the_camera_is_passed_through(tmp_path: Path) -> None:
    path = tmp_path / "mjpg.mcap"

    def make(spec: str, config: SourceConfig, camera: str) -> Source:
        return CameraSource(FaultyDevice(fps=60, fourcc="MJPG"), config, camera)

    kept, _ = stream("0", {"frames": 10, "record.file": str(path)}, make)
    pictures = [message["data"] for message in messages_of(path, "/image/compressed")]
    assert pictures == [frame.jpeg for frame in kept.frames]
    assert all(picture[-2:] == b"\xff\xd9" for picture in pictures)
    assert not messages_of(path, "/image/input")
    again, _ = stream(str(path))
    assert densities(again.attentions) == densities(kept.attentions)


def test_camera_info_is_recorded_with_a_calibration(tmp_path: Path) -> None:
    calibration, path = tmp_path / "camera.yaml", tmp_path / "info.mcap"
    calibration.write_text(
        "image_width: 640\nimage_height: 480\ncamera_name: demo\n"
        "camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 510, 240, 0, 0, 1]}\n"
        "distortion_model: plumb_bob\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n"
    )
    settings = {"source.calibration": (str(calibration),), "frames": 5, "record.file": str(path)}
    stream("demo", settings)
    (info,) = messages_of(path, "/camera_info")
    assert (info["width"], info["height"], info["distortion_model"]) == (640, 480, "plumb_bob")
    assert info["k"].tolist() == [500, 0, 320, 0, 510, 240, 0, 0, 1]
    rays = messages_of(path, "/gaze/bearing")
    assert len(rays) == 5
    assert sum(rays[0]["vector"][axis] ** 2 for axis in "xyz") == pytest.approx(1)


def test_file_that_is_there_is_kept_and_the_new_one_gets_a_number(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    for expected in (path, tmp_path / "out-2.mcap", tmp_path / "out-3.mcap"):
        sink = RecordingSink(RecordConfig(file=str(path)))
        assert sink.path == expected
        sink.close()
        assert not expected.exists()  # nothing was recorded
        expected.touch()


@pytest.mark.parametrize("place", ["no/such/folder/x.mcap", "/sys/x.mcap"])
def test_place_that_cannot_be_written_is_one_clear_line(place: str) -> None:
    with pytest.raises(SinkError, match=r"recording cannot be written \(.*x.mcap: .+\): choose"):
        RecordingSink(RecordConfig(file=place))


def test_threads_end_with_the_stream(recorded: Recorded) -> None:
    assert not [thread for thread in threading.enumerate() if thread.name == "aam-record"]
    stamps = [attention.capture_ns for attention in maps_of(recorded.path)]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))


def test_maps_can_be_sought_by_time(recorded: Recorded) -> None:
    with Recording(recorded.path) as recording:
        middle = recorded.kept.attentions[FRAMES // 2].publish_ns
        items = list(recording.items(middle, wanted=["/aam/targets"]))
    assert len(items) == FRAMES - FRAMES // 2
    assert items[0].log_ns == middle
