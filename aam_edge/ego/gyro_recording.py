"""A gyro's samples out of a recording: its `imu` topic, or the first sensor_msgs/Imu of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aam_edge.ego.gyro_log import GyroLog, say_holes
from aam_edge.errors import DataError
from aam_edge.recording import topics
from aam_edge.recording.reader import Item, Recording


def read_gyro_recording(path: Path) -> GyroLog:
    """Reads all samples; DataError where there are none. Holes are said in the log, once."""
    times_ns: list[int] = []
    rates: list[tuple[float, float, float]] = []
    with Recording(path) as recording:
        topic = imu_topic(recording)
        for item in recording.items(wanted={topic}):
            time_ns, rate = _sample(recording, item)
            if not times_ns or time_ns > times_ns[-1]:
                times_ns.append(time_ns)
                rates.append(rate)
    if len(times_ns) < 2:
        raise DataError("recording has no samples of a gyro", f"{path}: {topic}", "record it again")
    log = GyroLog(np.array(times_ns, np.int64), np.array(rates), is_unix=True)
    say_holes(log, path)
    return log


def _sample(recording: Recording, item: Item) -> tuple[int, tuple[float, float, float]]:
    try:
        return topics.read_imu(recording.decode(item))
    except (ValueError, KeyError, TypeError) as problem:
        values = f"{recording.path}: {item.topic}: {problem}"
        raise DataError("gyro's topic cannot be read", values, "record it again") from problem


def imu_topic(recording: Recording) -> str:
    """The topic with the samples, our own first; raises DataError."""
    found = [topic for topic, kind in recording.types.items() if kind == topics.IMU_TYPE]
    ours = [topic for topic in found if topic.endswith(f"/{topics.IMU}")]
    if not found:
        shown = ", ".join(sorted(recording.types)[:4])
        todo = "give one with a topic of sensor_msgs/msg/Imu"
        raise DataError("recording has no gyro", f"{recording.path}: {shown}", todo)
    return (ours or found)[0]
