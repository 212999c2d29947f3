"""Which files an ONNX graph would read: its tensors may lie outside of it, at any path it likes.

Ours names the package's tensors and nothing else. What a stranger's names (`/etc/shadow`, `../key`)
would be read into a tensor, and leave with the maps. ONNX Runtime and OpenVINO each have rules of
their own for such paths, by version; here the graph is looked at before either sees it.

Of protobuf this reads the way to `external_data` alone: fields are a key (number and wire type) and
a value; the messages on the way, by the numbers of onnx.proto, are those of INSIDE.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aam_edge.errors import ModelError

INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""Message to its fields that are messages on the way to a path."""
LOCATION = b"location"
KEY, VALUE = 1, 2
"""Fields of an entry."""
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
DEEPEST = 64


def check_graph_files(graph: Path, tensors: Path) -> None:
    """Raises ModelError where a graph reads another file than its package's tensors."""
    try:
        content = memoryview(graph.read_bytes())
        named = set(_locations(content, "model", 0))
    except (OSError, ValueError) as problem:
        why = f"{graph.name}: {getattr(problem, 'strerror', None) or problem}"
        raise ModelError("network cannot be loaded", why, "export it anew") from problem
    foreign = sorted(named - {tensors.name})
    if foreign:
        todo = "do not use it: it is not from aam-edge"
        raise ModelError("network reads a file of others", f"{graph.name}: {foreign[0]}", todo)


def _locations(content: memoryview, kind: str, depth: int) -> Iterator[str]:
    """Every location in a message; ValueError where it is no such message."""
    if depth > DEEPEST:
        raise ValueError("graphs lie too deep within each other")
    if kind == "entry":
        fields = dict(_fields(content))
        if bytes(fields.get(KEY, b"")) == LOCATION:
            yield bytes(fields.get(VALUE, b"")).decode()
        return
    for number, value in _fields(content):
        inner = INSIDE[kind].get(number)
        # Most of a graph has none: it is passed over at the speed of C.
        if inner is not None and LOCATION in bytes(value):
            yield from _locations(value, inner, depth + 1)


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each field that has bytes; others are passed over."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == BYTES:
            length, at = _varint(content, at)
            if at + length > len(content):
                raise ValueError("it is cut off")
            yield number, content[at : at + length]
            at += length
        elif wire_type == VARINT:
            _, at = _varint(content, at)
        elif wire_type in (FIXED_32, FIXED_64):
            at += 4 if wire_type == FIXED_32 else 8
        else:
            raise ValueError("it is no ONNX")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number of at most ten bytes, seven bits each, and what follows it."""
    value = 0
    for step in range(10):
        if at + step >= len(content):
            raise ValueError("it is cut off")
        byte = content[at + step]
        value |= (byte & 127) << 7 * step
        if byte < 128:
            return value, at + step + 1
    raise ValueError("it is no ONNX")
