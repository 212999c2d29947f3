"""Our CDR against that of rosbags, for every message that a recording or the bridge can hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from aam_edge.recording.cdr import CODES, Codec, Field, codec, parse
from aam_edge.ros_definitions import DEFINITIONS, full_definition

NAMES = sorted(name for name in DEFINITIONS if "/msg/" in name)
RANGES = {
    f"{sign}int{bits}": (0 if sign else -(1 << (bits - 1)), (1 << (bits - (not sign))) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


@cache
def typestore() -> Typestore:
    store = get_typestore(Stores.EMPTY)
    for name in NAMES:
        store.register(get_types_from_msg(full_definition(name), name))
    return store


def values(kind: str) -> st.SearchStrategy[Any]:
    """Any value of a primitive."""
    if kind in RANGES:
        return st.integers(*RANGES[kind])
    if kind.startswith("float"):
        return st.floats(width=32, allow_nan=False)
    if kind == "string":
        return st.text(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9
        )
    return st.booleans() if kind == "bool" else st.integers(0, 255)


def fields(messages: dict[str, list[Field]], name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any message of a type."""
    return st.fixed_dictionaries({f.name: any_of(messages, f) for f in messages[name]})


def any_of(messages: dict[str, list[Field]], field: Field) -> st.SearchStrategy[Any]:
    one = fields(messages, field.kind) if field.kind in messages else values(field.kind)
    if field.count is None:
        return one
    least, most = (0, 3) if field.count == -1 else (field.count, field.count)
    return st.lists(one, min_size=least, max_size=most)


def plain(value: Any) -> Any:
    """What was read, of Python's own types."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, np.ndarray, bytes)) else (
        value.item() if isinstance(value, np.generic) else value
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_message_has_the_bytes_of_rosbags_and_comes_back(name: str) -> None:
    messages = parse(name, full_definition(name))

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(fields(messages, name))
    def check(message: dict[str, Any]) -> None:
        data = codec(name).encode(message)
        theirs = typestore().deserialize_cdr(data, name)
        assert bytes(typestore().serialize_cdr(theirs, name)) == data
        assert plain(codec(name).decode(data)) == message

    check()


def test_fields_that_are_left_out_are_zero_and_empty() -> None:
    data = codec("sensor_msgs/msg/CameraInfo").encode({"width": 640})
    message = codec("sensor_msgs/msg/CameraInfo").decode(data)
    assert (message["width"], message["height"], message["distortion_model"]) == (640, 0, "")
    assert len(message["k"]) == 9
    assert not message["k"].any()


def test_big_endian_is_read() -> None:
    little = codec("std_msgs/msg/Int32").encode({"data": 7})
    big = b"\0\0\0\0" + little[4:][::-1]
    assert codec("std_msgs/msg/Int32").decode(big) == {"data": 7}


@pytest.mark.parametrize("name", ["sensor_msgs/msg/Image", "vision_msgs/msg/Detection2DArray"])
@given(data=st.binary(max_size=80))
def test_bytes_that_are_no_message_are_a_value_error_or_a_message(name: str, data: bytes) -> None:
    try:
        message = codec(name).decode(b"\0\1\0\0" + data)
    except ValueError:
        return
    assert set(message) == {field.name for field in parse(name, full_definition(name))[name]}


@pytest.mark.parametrize("size", [0, 3, 5, 11])
def test_cut_off_message_is_a_value_error(size: int) -> None:
    data = codec("sensor_msgs/msg/Image").encode({"encoding": "bgr8", "data": b"abc"})
    with pytest.raises(ValueError, match=r"CDR|not a sensor_msgs"):
        codec("sensor_msgs/msg/Image").decode(data[:size])


def test_definitions_of_others_are_understood() -> None:
    text = (
        "# a comment\nuint8 DEBUG=1\nHeader header  # with a stamp\n"
        "Point[<=4] points\nstring<=10 name 'x'\nfloat32[2] pair\n"
        + "=" * 80
        + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
        + "=" * 80
        + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
        + "=" * 80
        + "\nMSG: mine/Point\nfloat64 x\n"
    )
    mine = Codec("mine/Thing", text)
    message = {"header": {"frame_id": "a"}, "points": [{"x": 1.5}], "name": "b", "pair": [1, 2]}
    read = mine.decode(mine.encode(message))
    assert (read["header"]["frame_id"], read["points"], read["name"]) == ("a", [{"x": 1.5}], "b")
    assert read["pair"].tolist() == [1, 2]


def test_line_that_is_no_field_is_said() -> None:
    with pytest.raises(ValueError, match="mine/msg/Bad has a line that is none: what"):
        parse("mine/msg/Bad", "uint8 a\nwhat?")


def test_every_primitive_has_its_code() -> None:
    assert {CODES[kind] for kind in RANGES} == {f"{s}{n}" for s in "iu" for n in (1, 2, 4, 8)}
