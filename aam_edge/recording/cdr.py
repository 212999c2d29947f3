"""CDR: how ROS 2 messages lie in a recording; both directions, made from the ros2msg texts.

Plain CDR, little-endian: the bytes 00 01 00 00, then the fields in their order. A primitive is
aligned to its own size, counted from behind those four bytes. A string is its length with the final
zero, uint32, then UTF-8 and the zero; a sequence is its length, uint32, then the items; an array is
the items alone. Readers take big-endian (00 00 00 00) too.

Messages are dicts by field name. Numbers in sequences come back as numpy arrays, bytes as bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from aam_edge.ros_definitions import SEPARATOR, full_definition, full_name

HEADERS = {b"\0\1\0\0": "<", b"\0\0\0\0": ">"}
CODES = {
    **{f"{sign}int{bits}": f"{'iu'[sign == 'u']}{bits // 8}" for sign in ("", "u") for bits in
       (8, 16, 32, 64)},
    "bool": "u1", "byte": "u1", "char": "u1", "float32": "f4", "float64": "f8",
}  # fmt: skip
"""Primitive to numpy's code without byte order."""
PACKED = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
          "f4": "f", "f8": "d"}  # fmt: skip
"""numpy's code to struct's."""
FIELD = re.compile(r"([\w/]+)(?:<=\d+)?(?:\[((?:<=)?\d*)\])?\s+([a-z]\w*)(?:\s+.*)?")
CONSTANT = re.compile(r"[\w<=]+\s+[A-Z]\w*\s*=.*")

SPARE_MESSAGES = 1000

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a definition."""

    name: str
    kind: str
    """A primitive, `string`, or the full name of a message."""
    count: int | None
    """None for one value, -1 for a sequence, else the length of an array."""


def parse(name: str, text: str) -> dict[str, list[Field]]:
    """Every message of a schema's text, by full name; ValueError where a line is not understood.

    Args:
        name: full name of the first message, `sensor_msgs/msg/Image`.
        text: its definition, then `=` lines with `MSG: package/Type` and what it needs.
    """
    first, *others = re.split(rf"^{SEPARATOR}\n", text, flags=re.MULTILINE)
    messages = {full_name(name): _fields(first, name)}
    for part in others:
        title, _, body = part.partition("\n")
        inner = full_name(title.removeprefix("MSG: ").strip())
        messages[inner] = _fields(body, inner)
    return messages


def _fields(text: str, owner: str) -> list[Field]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = []
    for line in filter(None, lines):
        if CONSTANT.fullmatch(line):
            continue
        match = FIELD.fullmatch(line)
        if match is None:
            raise ValueError(f"definition of {owner} has a line that is none: {line}")
        kind, count, name = match.groups()
        if kind not in CODES and kind not in ("string", "wstring"):
            # A type without package is of the owner's, but for the oldest of all.
            package = "std_msgs" if kind == "Header" else owner.partition("/")[0]
            kind = full_name(kind if "/" in kind else f"{package}/{kind}")
        is_bounded = count is not None and count.isdigit()
        found.append(Field(name, kind, None if count is None else int(count) if is_bounded else -1))
    # An empty message still takes a byte, as every DDS writes it.
    return found or [Field("structure_needs_at_least_one_member", "uint8", None)]


class Codec:
    """Writes and reads one type of message."""

    def __init__(self, name: str, text: str):
        self.name = full_name(name)
        self._messages = parse(name, text)

    def encode(self, message: Message) -> bytes:
        """A message to bytes; fields that are missing are 0, empty or false."""
        out = _Output()
        self._write(out, self.name, message)
        return bytes(out.data)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Bytes to a message; ValueError if they are not one of this type."""
        try:
            return self._read(_Input(data), self.name)
        except (struct.error, KeyError, IndexError, UnicodeDecodeError, RecursionError) as problem:
            raise ValueError(f"not a {self.name}: {problem}") from problem

    def _write(self, out: _Output, name: str, message: Message) -> None:
        for field in self._messages[name]:
            value = message.get(field.name)
            if field.count is None:
                self._write_one(out, field.kind, value)
            else:
                self._write_many(out, field, value)

    def _write_one(self, out: _Output, kind: str, value: Any) -> None:
        if kind in CODES:
            out.number(CODES[kind], value or 0)
        elif kind == "string":
            out.text(value or "")
        else:
            self._write(out, kind, value or {})

    def _write_many(self, out: _Output, field: Field, value: Any) -> None:
        is_given = value is not None
        items = value if is_given else [] if field.count == -1 else self._zeros(field)
        if field.count == -1:
            out.number("u4", len(items))
        elif len(items) != field.count:
            raise ValueError(f"{field.name} has {len(items)} items, not {field.count}")
        if field.kind in CODES:
            out.array(CODES[field.kind], items)
            return
        for item in items:
            self._write_one(out, field.kind, item)

    def _zeros(self, field: Field) -> list[Any]:
        assert field.count is not None
        return [0 if field.kind in CODES else None] * field.count

    def _read(self, data: _Input, name: str) -> dict[str, Any]:
        data.count_message()
        return {field.name: self._read_field(data, field) for field in self._messages[name]}

    def _read_field(self, data: _Input, field: Field) -> Any:
        one = self._reader(data, field.kind)
        if field.count is None:
            return one()
        count = int(data.number("u4")) if field.count == -1 else field.count
        if field.kind in CODES:
            return data.array(CODES[field.kind], count)
        if count > data.rest:
            raise ValueError(f"{field.name} would have {count} items")
        return [one() for _ in range(count)]

    def _reader(self, data: _Input, kind: str) -> Callable[[], Any]:
        if kind == "bool":
            return lambda: bool(data.number("u1"))
        if kind in CODES:
            return lambda: data.number(CODES[kind])
        if kind == "string":
            return data.text
        if kind == "wstring":
            raise ValueError("wstring is not read")
        return lambda: self._read(data, kind)


class _Output:
    """Bytes that grow, with alignment."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0\1\0\0")

    def align(self, size: int) -> None:
        self.data += bytes(-(len(self.data) - 4) % size)

    def number(self, code: str, value: float) -> None:
        self.align(int(code[1]))
        self.data += struct.pack("<" + PACKED[code], value)

    def text(self, value: str) -> None:
        content = value.encode()
        self.number("u4", len(content) + 1)
        self.data += content + b"\0"

    def array(self, code: str, items: Any) -> None:
        if not len(items):
            return  # no item, no alignment
        self.align(int(code[1]))
        is_bytes = isinstance(items, (bytes, bytearray, memoryview))
        self.data += items if is_bytes else np.asarray(items, "<" + code).tobytes()


class _Input:
    """Bytes that are read from the front, with alignment."""

    def __init__(self, data: bytes):
        order = HEADERS.get(bytes(data[:4]))
        if order is None:
            raise ValueError(f"no CDR: begins with {data[:4].hex()}")
        self._data, self._order, self._at = memoryview(data)[4:], order, 0
        self._messages_left = len(self._data) + SPARE_MESSAGES

    def count_message(self) -> None:
        """Refuses more messages within each other than bytes: arrays of empty ones multiply."""
        self._messages_left -= 1
        if self._messages_left < 0:
            raise IndexError("more messages than bytes")

    @property
    def rest(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int, align: int = 1) -> memoryview:
        start = self._at + -self._at % align
        if size < 0 or start + size > len(self._data):
            raise IndexError("ends too early")
        self._at = start + size
        return self._data[start : self._at]

    def number(self, code: str) -> Any:
        size = int(code[1])
        return struct.unpack(self._order + PACKED[code], self.take(size, size))[0]

    def text(self) -> str:
        return bytes(self.take(self.number("u4"))).rstrip(b"\0").decode()

    def array(self, code: str, count: int) -> Any:
        size = int(code[1])
        taken = self.take(count * size, size) if count else memoryview(b"")
        return bytes(taken) if code == "u1" else np.frombuffer(taken, self._order + code)


@cache
def codec(name: str) -> Codec:
    """The codec of a message that we define ourselves; KeyError if there is none."""
    return Codec(name, full_definition(full_name(name)))
