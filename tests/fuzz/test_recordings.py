"""Strangers at recordings: every reader of MCAP files, ours and those of other programs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st
from mcap.writer import CompressionType

from aam_edge.config import SourceConfig
from aam_edge.ego.gyro_recording import read_gyro_recording
from aam_edge.errors import AamEdgeError
from aam_edge.recording import topics
from aam_edge.recording.published import published
from aam_edge.recording.reader import Recording
from aam_edge.recording.repair import repair
from aam_edge.ros_definitions import full_definition
from aam_edge.sources.recording import RecordingSource
from tests.fuzz.attack import SOME, Door, attack, play_to_end, replayed, stands, times
from tests.fuzz.bags import IMAGE, bag, compressed, imu, ours, picture
from tests.fuzz.mutation import bytes_like


def recording_door(folder: Path) -> Door:
    """All that reads a recording, one after the other; the first refusal counts."""
    path, mended = folder / "stranger.mcap", folder / "mended.mcap"

    def door(content: bytes) -> None:
        path.write_bytes(content)
        refusals = []
        for read in (_play, _publish, read_gyro_recording, lambda p: repair(p, mended)):
            mended.unlink(missing_ok=True)
            try:
                read(path)
            except AamEdgeError as problem:
                refusals.append(problem)
        if refusals:
            raise refusals[0]

    return door


def _play(path: Path) -> None:
    play_to_end(RecordingSource(path, SourceConfig(pace="every"), "0"))


def _publish(path: Path) -> None:
    with Recording(path) as recording:
        _ = recording.run, recording.types, recording.state_before(2**62)
        for _ in published(recording):
            pass


JPEG = cv2.imencode(".jpg", np.zeros((12, 16, 3), np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((12, 16, 3), np.uint8))[1].tobytes()
BAGS = [
    bag(IMAGE, [picture(0), picture(1)]),
    bag(topics.COMPRESSED, [compressed(JPEG), compressed(PNG, 1)]),
    bag(topics.IMU_TYPE, [imu(k) for k in range(4)]),
    bag(IMAGE, [picture(0), picture(1)], compression=CompressionType.LZ4),
    bag(IMAGE, [picture(0), picture(1)], compression=CompressionType.ZSTD),
]


@st.composite
def spoilt_bags(draw: st.DrawFn) -> bytes:
    """Bags whose frame is whole, and whose definition or messages are not."""
    kind, messages = draw(
        st.sampled_from(
            [
                (IMAGE, [picture(0), picture(1)]),
                (topics.COMPRESSED, [compressed(JPEG), compressed(PNG, 1)]),
                (topics.IMU_TYPE, [imu(k) for k in range(4)]),
            ]
        )
    )
    text = full_definition(kind).encode()
    if draw(st.booleans()):
        text = draw(bytes_like([text, *DEFINITIONS]))
    name = draw(st.sampled_from([kind, kind, kind, "", "a", "a/b", "a/b/c/d", "/", "\0"]))
    spoilt = [draw(bytes_like([m])) if draw(st.booleans()) else m for m in messages]
    return bag(kind, spoilt, text=text, name=name)


LINE = b"\n" + b"=" * 80 + b"\nMSG: sensor_msgs/"
DEFINITIONS = [
    b"sensor_msgs/Image a\nsensor_msgs/Image[] b",
    b"Header header\nuint8[9999999999999] data\nstring[7777777] names",
    # Messages without a byte multiply without end.
    b"".join(
        [b"uint8[0] x\nA[30] a"]
        + [LINE + b"%c\nuint8[0] y\n%c[30] n" % (65 + k, 66 + k) for k in range(9)]
        + [LINE + b"J\nuint8[0] z"]
    ),
    b"wstring a\nbool[3] b\nchar c\nfloat64[<=3] d\nstring<=5 e",
]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ours(tmp_path_factory.mktemp("ours"))


@times()
def test_no_bag_breaks_its_readers(cases: int, tmp_path: Path) -> None:
    attack(recording_door(tmp_path), st.one_of(spoilt_bags(), bytes_like(BAGS)), cases)


@times(SOME // 2)
def test_no_recording_of_ours_breaks_its_readers(
    cases: int, recorded: bytes, tmp_path: Path
) -> None:
    attack(recording_door(tmp_path), bytes_like([recorded]), cases)


@replayed("recording")
def test_recordings_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(recording_door(tmp_path), case.read_bytes())
