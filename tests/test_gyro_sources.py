"""A gyro from a ROS topic and from a recording, and what of it is recorded."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from aam_edge.camera_yaml import write_camera_yaml
from aam_edge.config import EgoConfig
from aam_edge.ego.catalog import EgoSources
from aam_edge.ego.gyro import Gyro
from aam_edge.ego.gyro_recording import read_gyro_recording
from aam_edge.ego.imu_yaml import ImuMount, write_imu_yaml
from aam_edge.errors import DataError
from aam_edge.recording.reader import Recording
from tests.recordings import densities, maps_of, messages_of, stream
from tests.ros_fit import Tree
from tests.rosbridge import RosBridge
from tests.test_ego_motion import LENS, frame_of
from tests.test_ros_bridge import wait_for
from tests.views import START_NS

TOPIC = "/imu/data"


def imu(ros: int, time_ns: int, rate: tuple[float, float, float]) -> Tree:
    names = ("secs", "nsecs") if ros == 1 else ("sec", "nanosec")
    stamp = dict(zip(names, divmod(time_ns, 1_000_000_000), strict=True))
    vector = dict(zip("xyz", rate, strict=True))
    return {"header": {"stamp": stamp, "frame_id": "imu"}, "angular_velocity": vector}


@pytest.fixture
def imu_yaml(tmp_path: Path) -> str:
    write_imu_yaml(ImuMount(np.eye(3)), tmp_path / "imu.yaml", [])
    return str(tmp_path / "imu.yaml")


@pytest.mark.parametrize("ros", [1, 2])
def test_imu_of_a_topic_turns_the_picture(ros: int, imu_yaml: str) -> None:
    config = EgoConfig(source="gyro", gyro=f"ros:{TOPIC}", imu=(imu_yaml,))
    with RosBridge(ros) as server:
        sources = EgoSources(config, lambda *_: LENS, bridge=server.url)
        try:
            motion = sources.of("0")
            assert motion is not None
            server.wait(lambda: server.has_subscriber(TOPIC), "subscription")
            assert sources.troubles == [f"gyro: nothing comes on {TOPIC}"]
            image = np.zeros((240, 320, 3))
            motion.update(frame_of(image, 0))
            sources.new_samples(START_NS)
            for k in range(11):
                sample = imu(ros, START_NS + k * 5_000_000, (0.0, 0.5, 0.0))
                server.publish(TOPIC, "sensor_msgs/Imu", sample)
            wait_for(lambda: len(sources.new_samples(START_NS + 5_000_000)) >= 1, "samples")
            wait_for(lambda: knows(sources, START_NS + 50_000_000), "last sample")
            assert not np.array_equal(motion.update(frame_of(image, 1)), np.eye(3))
            assert sources.troubles == []
        finally:
            sources.close()
            sources.close()


def knows(sources: EgoSources, time_ns: int) -> bool:
    return any(t == time_ns for t, _ in sources.new_samples(time_ns))


def test_bridge_that_is_not_there_is_said_and_nobody_waits(imu_yaml: str) -> None:
    config = EgoConfig(source="gyro", gyro=f"ros:{TOPIC}", imu=(imu_yaml,))
    begun_s = time.monotonic()
    sources = EgoSources(config, lambda *_: LENS, bridge="ws://127.0.0.1:1")
    try:
        motion = sources.of("0")
        assert motion is not None
        for k in range(3):
            np.testing.assert_array_equal(
                motion.update(frame_of(np.zeros((240, 320, 3)), k)), np.eye(3)
            )
        assert sources.troubles == ["gyro: no ROS bridge answers at ws://127.0.0.1:1"]
    finally:
        sources.close()
    assert time.monotonic() - begun_s < 20


def test_samples_between_two_times_are_given_once() -> None:
    gyro = Gyro()
    for k in range(10):
        gyro.add(k * 10, (float(k), 0, 0))
    assert [t for t, _ in gyro.between(20, 50)] == [30, 40, 50]
    assert gyro.between(20, 29) == []
    sources = EgoSources(EgoConfig(), lambda *_: None, live=lambda _: gyro)
    assert [t for t, _ in sources.new_samples(35)] == [0, 10, 20, 30]
    assert [t for t, _ in sources.new_samples(50)] == [40, 50]
    assert EgoSources(EgoConfig(), lambda *_: None).new_samples(50) == []


def test_gyro_is_recorded_and_a_recording_is_a_gyro(tmp_path: Path, imu_yaml: str) -> None:
    write_camera_yaml(LENS, tmp_path / "camera.yaml")
    log = "".join(f"{k * 0.004:.3f},0.1,{0.001 * k:.3f},-0.2\n" for k in range(400))
    (tmp_path / "gyro.csv").write_text("time_s,wx,wy,wz\n" + log)
    path = tmp_path / "run.mcap"
    settings = {
        "source.size": "320x240",
        "source.mic": "none",
        "source.calibration": (str(tmp_path / "camera.yaml"),),
        "ego.source": "gyro",
        "ego.gyro": str(tmp_path / "gyro.csv"),
        "ego.imu": (imu_yaml,),
        "frames": 8,
    }
    stream("synthetic", settings | {"record.file": str(path)})
    with AnyReader([path]) as bag:
        (connection,) = [c for c in bag.connections if c.topic == "/aam/imu"]
        assert connection.msgtype == "sensor_msgs/msg/Imu"
        _, _, raw = next(iter(bag.messages(connections=[connection])))
        first = bag.deserialize(raw, connection.msgtype)
        assert first.angular_velocity.x == pytest.approx(0.1)  # type: ignore[attr-defined]
        assert first.orientation_covariance[0] == -1  # type: ignore[attr-defined]
    read = read_gyro_recording(path)
    rates = np.round(read.rates[:, 1] * 1000).astype(int)
    np.testing.assert_array_equal(rates, np.arange(len(rates)))  # each sample once
    assert len(rates) > 40
    # Run again with the gyro out of the recording instead of the motion that was recorded.
    recorded = messages_of(path, "/aam/ego")
    sources = EgoSources(EgoConfig(source="gyro", gyro=str(path), imu=(imu_yaml,)), lambda *_: LENS)
    motion = sources.of("run")
    assert motion is not None
    for attention, ego in zip(maps_of(path), recorded, strict=True):
        k = round((attention.capture_ns - maps_of(path)[0].capture_ns) / 33_000_000)
        frame = frame_of(np.zeros((240, 320, 3)), k)
        object.__setattr__(frame, "capture_ns", attention.capture_ns)
        np.testing.assert_allclose(motion.update(frame).ravel(), ego["data"], atol=1e-6)
    again, _ = stream(str(path))
    assert densities(again.attentions) == densities(maps_of(path))


def test_recording_without_a_gyro_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    stream("synthetic", {"record.file": str(path), "frames": 2, "source.mic": "none"})
    with pytest.raises(DataError, match=r"recording has no gyro .*Imu"):
        read_gyro_recording(path)
    with Recording(path) as recording:
        assert "/aam/imu" not in recording.types
    assert not [t for t in threading.enumerate() if t.name == "aam-gyro"]
