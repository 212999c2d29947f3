"""Bytes on the wire, both directions side by side (CONTRACT 2).

A published message is one frame: topic, a zero byte, a msgpack map with UTF-8 string keys. One
frame, because ZMQ_CONFLATE tears multi-frame messages apart; the zero byte, because subscriptions
match by prefix. A map travels as {shape, dtype, scale, data}, and density = data * scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack
import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
END_OF_TOPIC = b"\0"
MapType = Literal["<f2", "<f4", "u1"]
T = TypeVar("T")


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


def pack(message: dict[str, Any]) -> bytes:
    """A map to msgpack."""
    return bytes(msgpack.packb(message))


def unpack(body: bytes) -> dict[str, Any]:
    """msgpack to a map; ValueError if it is something else."""
    try:
        message = msgpack.unpackb(body)
    except (ValueError, msgpack.exceptions.UnpackException) as problem:
        raise ValueError(f"not msgpack: {problem}") from problem
    if not isinstance(message, dict):
        raise ValueError(f"a map is expected, got {type(message).__name__}")
    return message


def write_fields(message: Any) -> dict[str, Any]:
    """A message, a dataclass, to a map of its fields; what they hold is left as it is."""
    return {name: getattr(message, name) for name in _names(type(message))}  # type: ignore[arg-type]


def read_fields(kind: type[T], values: Any, **read: Any) -> T:
    """A message of the fields that this version knows; others come from a later one.

    Args:
        kind: a dataclass.
        values: a map from outside; its lists become tuples where the field is one.
        read: fields that the caller has read itself.

    Raises:
        TypeError: `values` is no map, lacks a field, or a value is not what its field says; whole
            numbers may stand for floats.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"a map is expected, got {type(values).__name__}")
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    found: dict[str, Any] = {}
    for name in hints.keys() & values.keys() - read.keys():
        value, hint = values[name], hints[name]
        if isinstance(value, list) and get_origin(hint) is tuple:
            value = tuple(value)
        if not _fits(value, hint):
            raise TypeError(f"{name} is {type(value).__name__}, not {hint}")
        found[name] = value
    return kind(**found, **read)


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type as the fields of messages have them."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return value in parts
    if kind is dict:
        return isinstance(value, dict) and all(
            _fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items()
        )
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = parts[:1] * len(value) if parts[1:] == (Ellipsis,) else parts
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    return isinstance(value, int | float if hint is float else hint)


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
