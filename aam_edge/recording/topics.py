"""What stands in which topic of a recording, as ROS 2 messages (CONTRACT 3 and 4).

Below the namespace, and below `camera_NAME` where there are several cameras:

    image/compressed      CompressedImage    the picture: the camera's own JPEG, or made by us
    image/input           Image              the picture as the network took it, bgr8, exact; only
                                             where image/compressed is not what the network saw
    audio                 RawAudio           16 bit, one channel, each sample once
    ego                   Float32MultiArray  (3, 3), the camera's motion, where it is known
    attention/message     String             CONTRACT 2's map as JSON, without its `map`
    attention/density     Float32MultiArray  (h, w), the density itself, bit for bit
    attention/compressed  CompressedImage    JPEG of the map scaled to its peak
    targets, gaze, gaze/bearing              as on the bridge
    camera_info           CameraInfo         with a calibration, once a file
    prompt                String             at the start and with every change

and without a camera `imu` (Imu: a gyro's rates as they were stamped, no orientation and no
acceleration), `health` (String, JSON) and /diagnostics. What belongs to a further prompt has
`prompt_1`, `prompt_2` before it. Messages of one step share their log time, the time of publishing,
and stand in the order message, density, ..., image: who reads on to the image has all of the step.
Header stamps are capture times. The network's state lies in attachments `state.msgpack`, each to be
restored before the frame that follows it; `run.yaml` tells settings and versions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge import wire
from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import SOUND_RATE_HZ, Attention, Gaze, Health, Image, Sound, Target
from aam_edge.recording.pcm import from_pcm, to_pcm

SCHEMA = 1
RUN = "run.yaml"
STATE = "state.msgpack"
DIAGNOSTICS = "/diagnostics"

IMAGE, INPUT, AUDIO, EGO = "image/compressed", "image/input", "audio", "ego"
MESSAGE, DENSITY, HEALTH = "attention/message", "attention/density", "health"
PROMPT, CAMERA_INFO, IMU = "prompt", "camera_info", "imu"
IMU_TYPE = "sensor_msgs/msg/Imu"
STRING = "std_msgs/msg/String"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
MULTI_ARRAY = "std_msgs/msg/Float32MultiArray"

Entry = tuple[str, str, dict[str, Any]]
"""Topic below namespace and camera, type, message."""


def optical_frame(camera: str) -> str:
    """The camera's frame in ROS: z forward, x right, y down."""
    return f"camera_{ros_name(camera)}_optical_frame"


def ros_name(name: str) -> str:
    """Letters, digits and _ alone, as ROS wants it."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def camera_prefix(namespace: str, camera: str, *, is_alone: bool) -> str:
    """What stands before a camera's topics, with a slash at the end."""
    base = f"/{namespace.strip('/')}/".replace("//", "/")
    return base if is_alone else f"{base}camera_{ros_name(camera)}/"


def stamp(time_ns: int) -> dict[str, int]:
    """builtin_interfaces/Time."""
    return {"sec": time_ns // 1_000_000_000, "nanosec": time_ns % 1_000_000_000}


def unix_ns(time: dict[str, int]) -> int:
    """And back."""
    return time["sec"] * 1_000_000_000 + time["nanosec"]


def header(time_ns: int, camera: str) -> dict[str, Any]:
    """std_msgs/Header."""
    return {"stamp": stamp(time_ns), "frame_id": optical_frame(camera)}


def attention_entries(attention: Attention, taken: dict[str, Any]) -> Iterator[Entry]:
    """Everything that is said of one map.

    Args:
        attention: as it was published.
        taken: how the network took the frame in: `heard_ns`, end of the sound that it heard with
            it, and `together`, whether frames of other cameras were in the same pass.
    """
    before = f"prompt_{attention.prompt_index}/" if attention.prompt_index else ""
    text = json.dumps(message_map(attention) | taken, allow_nan=False)
    yield before + MESSAGE, STRING, {"data": text}
    yield before + DENSITY, MULTI_ARRAY, array_message(attention.density, ("h", "w"))
    yield from shown_entries(attention)


def shown_entries(attention: Attention) -> Iterator[Entry]:
    """The part of it that goes over the ROS bridge as well (CONTRACT 3)."""
    before = f"prompt_{attention.prompt_index}/" if attention.prompt_index else ""
    head = header(attention.capture_ns, attention.camera)
    yield before + "attention/compressed", COMPRESSED, _heat(attention) | {"header": head}
    detections = [_detection(target, head) for target in attention.targets]
    detections_type = "vision_msgs/msg/Detection2DArray"
    yield before + "targets", detections_type, {"header": head, "detections": detections}
    if attention.gaze is not None:
        yield from _gaze_entries(before, head, attention.gaze, attention.targets)


def message_map(attention: Attention) -> dict[str, Any]:
    """CONTRACT 2's map without the density, of JSON's types alone."""
    message = wire.unpack(attention.to_bytes("u1"))
    del message["map"]
    return {name: _finite(value) for name, value in message.items()}


def read_attention(text: str, density: NDArray[np.float32]) -> Attention:
    """The message as it was published, bit for bit; ValueError if it is none."""
    try:
        message = json.loads(text)
        _check_density(density)
        # A stand-in of the right shape; the density itself needs no decoding and keeps its bits.
        message["map"] = wire.encode_map(np.full(density.shape, 1 / density.size, "f4"), "<f4")
        attention = Attention.from_bytes(wire.pack(message))
    except (TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"not an attention message: {problem!r}") from problem
    object.__setattr__(attention, "density", density)  # not yet seen by anybody
    return attention


def _check_density(density: NDArray[np.float32]) -> None:
    if not density.size or not (density.min() >= 0 and abs(float(density.sum()) - 1) < 1e-3):
        raise ValueError(f"{density.shape} is no density")


def array_message(values: NDArray[np.float32], labels: tuple[str, str]) -> dict[str, Any]:
    """A matrix as Float32MultiArray, row-major."""
    rows, columns = values.shape
    strides = (rows * columns, columns)
    dims = [
        {"label": label, "size": size, "stride": stride}
        for label, size, stride in zip(labels, values.shape, strides, strict=True)
    ]
    return {"layout": {"dim": dims, "data_offset": 0}, "data": np.ravel(values)}


def read_array(message: dict[str, Any]) -> NDArray[np.float32]:
    """And back; ValueError if it is no matrix."""
    shape = [dim["size"] for dim in message["layout"]["dim"]]
    if len(shape) != 2:
        raise ValueError(f"a matrix is expected, got {shape}")
    return np.asarray(message["data"], np.float32).reshape(shape)


def picture_entry(jpeg: bytes, capture_ns: int, camera: str) -> Entry:
    """The picture as JPEG; `format` as image_transport writes it."""
    message = {"header": header(capture_ns, camera), "format": "bgr8; jpeg compressed bgr8"}
    return IMAGE, COMPRESSED, message | {"data": jpeg}


def image_entry(topic: str, image: Image, capture_ns: int, camera: str) -> Entry:
    """A picture (H, W, 3), BGR, as it is."""
    height, width = image.shape[:2]
    message = {"header": header(capture_ns, camera), "height": height, "width": width}
    message |= {"encoding": "bgr8", "step": 3 * width, "data": image.tobytes()}
    return topic, "sensor_msgs/msg/Image", message


def audio_entry(sound: Sound) -> Entry:
    """16 bit, little-endian, stamped with the first sample's time."""
    message: dict[str, Any] = {
        "timestamp": stamp(sound.start_ns),
        "data": to_pcm(sound.samples).tobytes(),
    }
    message |= {"format": "pcm-s16", "sample_rate": SOUND_RATE_HZ, "number_of_channels": 1}
    return AUDIO, "foxglove_msgs/msg/RawAudio", message


def read_audio(message: dict[str, Any]) -> Sound:
    """And back; ValueError if it is in no form of ours."""
    form = message["format"], message["sample_rate"], message["number_of_channels"]
    if form != ("pcm-s16", SOUND_RATE_HZ, 1):
        raise ValueError(f"sound is {form}")
    return Sound(from_pcm(np.frombuffer(message["data"], "<i2")), unix_ns(message["timestamp"]))


def imu_entry(time_ns: int, rate: tuple[float, float, float]) -> Entry:
    """A gyro's sample, rad/s; a covariance that begins with -1 says that the rest is not there."""
    absent = [-1.0] + [0.0] * 8
    message: dict[str, Any] = {
        "header": {"stamp": stamp(time_ns), "frame_id": "imu_link"},
        "orientation": {"w": 1.0},
        "orientation_covariance": absent,
        "angular_velocity": dict(zip("xyz", rate, strict=True)),
        "linear_acceleration_covariance": absent,
    }
    return IMU, IMU_TYPE, message


def read_imu(message: dict[str, Any]) -> tuple[int, tuple[float, float, float]]:
    """UNIX nanoseconds and rad/s of a sensor_msgs/Imu."""
    x, y, z = (float(message["angular_velocity"][axis]) for axis in "xyz")
    return unix_ns(message["header"]["stamp"]), (x, y, z)


def health_entries(health: Health, time_ns: int) -> Iterator[Entry]:
    """Health as CONTRACT 2 has it, and for ROS; the topic of the latter is a whole one."""
    values = {name: _finite(value) for name, value in asdict(health).items()}
    yield HEALTH, STRING, {"data": json.dumps(values | {"schema": wire.SCHEMA})}
    status = {
        "level": 1 if health.trouble else 0,
        "name": "aam_edge: stream",
        "message": health.trouble or "ok",
        "values": [{"key": k, "value": json.dumps(v)} for k, v in values.items()],
    }
    head = {"stamp": stamp(time_ns), "frame_id": ""}
    yield DIAGNOSTICS, "diagnostic_msgs/msg/DiagnosticArray", {"header": head, "status": [status]}


def read_health(text: str) -> Health:
    """And back; ValueError if it is none."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a health message")
    return Health.from_bytes(wire.pack(values))


def camera_info(lens: Intrinsics) -> dict[str, Any]:
    """sensor_msgs/CameraInfo without its header."""
    width, height = lens.size
    matrix = [float(value) for value in lens.matrix.ravel()]
    projection = np.hstack([lens.matrix, np.zeros((3, 1))]).ravel()
    return {
        "width": width,
        "height": height,
        "distortion_model": lens.model,
        "d": [float(value) for value in lens.distortion],
        "k": matrix,
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [float(value) for value in projection],
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN; nested lists and maps are taken along."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _heat(attention: Attention) -> dict[str, Any]:
    cells = np.rint(attention.density * (255 / attention.density.max())).astype(np.uint8)
    is_done, data = cv2.imencode(".jpg", cells)
    assert is_done, "any uint8 picture has a JPEG"
    return {"format": "mono8; jpeg compressed mono8", "data": data.tobytes()}


def _detection(target: Target, head: dict[str, Any]) -> dict[str, Any]:
    size = 2 * target.sigma_px
    return {
        "header": head,
        "id": str(target.id),
        "results": [{"hypothesis": {"class_id": "attention", "score": target.score}}],
        "bbox": {
            "center": {"position": {"x": target.x, "y": target.y}},
            "size_x": size,
            "size_y": size,
        },
    }


def _gaze_entries(
    before: str, head: dict[str, Any], gaze: Gaze, targets: tuple[Target, ...]
) -> Iterator[Entry]:
    sigma_px = next((t.sigma_px for t in targets if t.id == gaze.target_id), 0.0)
    point = {"x": gaze.x, "y": gaze.y, "z": sigma_px}
    yield before + "gaze", "geometry_msgs/msg/PointStamped", {"header": head, "point": point}
    if gaze.yaw is None or gaze.pitch is None:
        return
    # Yaw is positive to the left, pitch downwards; the optical frame has x right and y down.
    level = math.cos(gaze.pitch)
    ray = {
        "x": -math.sin(gaze.yaw) * level,
        "y": math.sin(gaze.pitch),
        "z": math.cos(gaze.yaw) * level,
    }
    message = {"header": head, "vector": ray}
    yield before + "gaze/bearing", "geometry_msgs/msg/Vector3Stamped", message
