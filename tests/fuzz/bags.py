"""Small recordings for strangers to spoil: ours, and bags of one topic made to order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer

from aam_edge.messages import Image
from aam_edge.recording import topics
from aam_edge.recording.cdr import codec
from aam_edge.ros_definitions import full_definition
from tests.recordings import stream

IMAGE = "sensor_msgs/msg/Image"
NAMES = {
    IMAGE: "/camera/image_raw",
    topics.COMPRESSED: "/camera/compressed",
    topics.IMU_TYPE: "/imu",
}


def ours(folder: Path) -> bytes:
    """A recording of a few frames with sound, maps and state, as --record writes it."""
    path = folder / "ours.mcap"
    stream("demo", {"record.file": str(path), "frames": 3, "record.state_s": 0.1})
    return path.read_bytes()


def bag(
    kind: str,
    messages: list[bytes],
    *,
    text: bytes | None = None,
    name: str | None = None,
    compression: CompressionType = CompressionType.NONE,
) -> bytes:
    """A bag of one topic, without checksums, so that spoilt bytes are looked at."""
    file = io.BytesIO()
    writer = Writer(file, compression=compression, enable_crcs=False)
    writer.start("ros2", "a test")
    definition = full_definition(kind).encode() if text is None else text
    schema = writer.register_schema(kind if name is None else name, "ros2msg", definition)
    channel = writer.register_channel(NAMES[kind], "cdr", schema)
    for number, message in enumerate(messages):
        time_ns = 1_800_000_000_000_000_000 + number * 33_333_333
        writer.add_message(channel, time_ns, message, time_ns, number)
    writer.finish()
    return file.getvalue()


def picture(number: int = 0) -> bytes:
    """A raw picture as CDR."""
    image: Image = np.full((12, 16, 3), 10 * number, np.uint8)
    _, _, message = topics.image_entry("", image, 1_800_000_000_000_000_000 + number, "0")
    return codec(IMAGE).encode(message)


def compressed(jpeg: bytes, number: int = 0) -> bytes:
    """A compressed one."""
    _, _, message = topics.picture_entry(jpeg, 1_800_000_000_000_000_000 + number, "0")
    return codec(topics.COMPRESSED).encode(message)


def imu(number: int = 0) -> bytes:
    """A gyro's sample."""
    _, _, message = topics.imu_entry(
        1_800_000_000_000_000_000 + number * 5_000_000, (0.1, 0.2, 0.3)
    )
    return codec(topics.IMU_TYPE).encode(message)
