"""Bytes on the wire, both directions side by side (CONTRACT 2).

A published message is one frame: topic, a zero byte, a msgpack map with UTF-8 string keys. One
frame, because ZMQ_CONFLATE tears multi-frame messages apart; the zero byte, because subscriptions
match by prefix. A map travels as {shape, dtype, scale, data}, and density = data * scale.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgpack
import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
END_OF_TOPIC = b"\0"
MapType = Literal["<f2", "<f4", "u1"]


def topic_bytes(topic: str) -> bytes:
    """What a subscriber asks for: the topic and its end, so that `a/1` does not match `a/10`."""
    return topic.encode() + END_OF_TOPIC


def join(topic: str, body: bytes) -> bytes:
    """One message of a topic and a packed map."""
    return topic_bytes(topic) + body


def split(message: bytes) -> tuple[str, bytes]:
    """Topic and packed map of one message; ValueError if it has no topic."""
    topic, end, body = message.partition(END_OF_TOPIC)
    if not end:
        raise ValueError("message without a topic")
    return topic.decode(), body


def pack(fields: dict[str, Any]) -> bytes:
    """A map to msgpack."""
    return bytes(msgpack.packb(fields))


def unpack(body: bytes) -> dict[str, Any]:
    """msgpack to a map; ValueError if it is something else."""
    try:
        fields = msgpack.unpackb(body)
    except (ValueError, msgpack.exceptions.UnpackException) as problem:
        raise ValueError(f"not msgpack: {problem}") from problem
    if not isinstance(fields, dict):
        raise ValueError(f"a map is expected, got {type(fields).__name__}")
    return fields


def encode_map(density: NDArray[np.float32], dtype: MapType) -> dict[str, Any]:
    """A density (h, w) to its wire form; the scale makes the decoded cells sum to 1."""
    peak = float(density.max())
    if dtype == "u1":
        cells = np.rint(density * (255 / peak)).astype(dtype)
    elif dtype == "<f2":
        # Relative to the peak: bare densities of large maps would fall among fp16's subnormals.
        cells = (density / peak).astype(dtype)
    else:
        cells = density.astype(dtype)
    scale = 1.0 / float(cells.sum(dtype=np.float64))
    return {"shape": list(density.shape), "dtype": dtype, "scale": scale, "data": cells.tobytes()}


def decode_map(wired: dict[str, Any]) -> NDArray[np.float32]:
    """The wire form back to a density (h, w), float32, sum 1; ValueError if it is none."""
    try:
        dtype, shape, scale = wired["dtype"], tuple(wired["shape"]), float(wired["scale"])
        if dtype not in get_args(MapType):
            raise ValueError(f"dtype {dtype!r}")
        cells = np.frombuffer(wired["data"], dtype).reshape(shape)
        if cells.ndim != 2 or cells.shape != shape:
            raise ValueError(f"shape {shape}")
        if not (cells.min() >= 0 and abs(float(cells.sum(dtype=np.float64)) * scale - 1) < 1e-3):
            raise ValueError("cells that do not sum to 1")
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"not the map of a density: {problem!r}") from problem
    return cells.astype(np.float32) * np.float32(scale)
