"""Messages of the facade, and their JSON for a bridge on ROS 1 and on ROS 2."""

from __future__ import annotations

import array
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.errors import UsageError
from aam_edge.ros.dialect import Dialect, decode, encode, encode_tree, fill
from aam_edge.ros.messages import message, service
from aam_edge.ros_definitions import DEFINITIONS, full_definition
from tests.ros_types import ROS_1, ROS_2

MESSAGES = [name for name in DEFINITIONS if "/msg/" in name]
SECONDS = st.integers(0, 2**31 - 1)
NANOSECONDS = st.integers(0, 10**9 - 1)

Image = message("sensor_msgs/msg/Image")
Header = message("std_msgs/msg/Header")
Time = message("builtin_interfaces/msg/Time")
CameraInfo = message("sensor_msgs/msg/CameraInfo")
DetectionArray = message("vision_msgs/msg/Detection2DArray")
Detection = message("vision_msgs/msg/Detection2D")
Hypothesis = message("vision_msgs/msg/ObjectHypothesisWithPose")


def detections() -> Any:
    result = Hypothesis()
    result.hypothesis.score = 0.5
    found = Detection(id="7", results=[result])
    found.bbox.center.position.x = 12.5
    found.bbox.center.theta = 0.25
    return DetectionArray(detections=[found])


def test_message_has_the_manners_of_a_generated_one() -> None:
    image = Image(height=2, encoding="mono8", data=b"ab")
    assert image.data == array.array("B", [97, 98])
    assert image.get_fields_and_field_types()["data"] == "sequence<uint8>"
    assert image.get_fields_and_field_types()["header"] == "std_msgs/Header"
    assert repr(Time(sec=3)) == "builtin_interfaces.msg.Time(sec=3, nanosec=0)"
    assert image == Image(height=2, encoding="mono8", data=[97, 98])
    assert image != Image(height=2, encoding="mono8", data=[97])
    assert message("geometry_msgs/msg/Quaternion")().w == 1.0


def test_numbers_in_a_row_are_held_as_rclpy_holds_them() -> None:
    info = CameraInfo(d=[0.1, 0.2])
    assert info.d.typecode == "d"
    assert isinstance(info.k, np.ndarray)
    assert info.k.shape == (9,)
    assert message("diagnostic_msgs/msg/DiagnosticStatus").WARN == b"\x01"
    with pytest.raises(AssertionError, match="k has 9 numbers"):
        CameraInfo(k=[1.0])


def test_unknown_field_and_unknown_type_are_refused() -> None:
    with pytest.raises(AssertionError, match="passed to constructor: heigth"):
        Image(heigth=2)
    with pytest.raises(UsageError, match=r"does not know this ROS type \(nav_msgs/msg/Path\)"):
        message("nav_msgs/Path")
    with pytest.raises(UsageError, match="does not know this ROS type"):
        service("std_msgs/String")


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("dialect", Dialect)
def test_every_message_survives_the_bridge(name: str, dialect: Dialect) -> None:
    fresh = message(name)()
    if name == Hypothesis.NAME:
        fresh.hypothesis.class_id = "0"  # ROS 1 has a number there, and no way to say none
    assert decode(name, json.loads(json.dumps(encode(fresh, dialect)))) == fresh


@pytest.mark.parametrize("dialect", Dialect)
def test_detections_survive_the_bridge_with_all_that_their_ros_has(dialect: Dialect) -> None:
    sent = encode(detections(), dialect)
    found = sent["detections"][0]
    if dialect is Dialect.ROS_1:
        assert found["results"][0]["id"] == 7
        assert found["results"][0]["score"] == 0.5
        assert found["bbox"]["center"] == {"x": 12.5, "y": 0.0, "theta": 0.25}
        assert "id" not in found
    else:
        assert decode(DetectionArray.NAME, sent) == detections()


@pytest.mark.parametrize(("dialect", "types"), [(Dialect.ROS_1, ROS_1), (Dialect.ROS_2, ROS_2)])
def test_only_fields_that_their_ros_knows_are_sent(
    dialect: Dialect, types: dict[str, dict[str, str]]
) -> None:
    for name in MESSAGES:
        short = name.replace("/msg/", "/")
        if short in types:
            assert set(encode(message(name)(), dialect)) <= set(types[short]), name


@given(SECONDS, NANOSECONDS)
def test_stamps_have_the_names_of_their_ros_and_never_a_seq(sec: int, nanosec: int) -> None:
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="camera")
    new = encode(header, Dialect.ROS_2)
    assert new == {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": "camera"}
    for dialect in (Dialect.ROS_1, Dialect.UNKNOWN):
        old = encode(header, dialect)
        assert old == {"stamp": {"secs": sec, "nsecs": nanosec}, "frame_id": "camera"}
        assert decode(Header.NAME, old | {"seq": 5}) == header


def test_camera_info_is_upper_case_in_ros_1() -> None:
    assert "K" in encode(CameraInfo(), Dialect.ROS_1)
    assert "k" in encode(CameraInfo(), Dialect.ROS_2)
    assert decode(CameraInfo.NAME, {"K": [2.0] * 9}).k.tolist() == [2.0] * 9


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("std_msgs/String", "data", 5),
        ("std_msgs/Int32", "data", 3.0),
        ("std_msgs/Int32", "data", True),
        ("std_msgs/UInt8", "data", 300),
        ("std_msgs/Bool", "data", 1),
        ("std_msgs/Float64", "data", "1"),
        ("std_msgs/Header", "stamp", 5),
        ("diagnostic_msgs/DiagnosticStatus", "level", "OK"),
    ],
)
def test_what_a_bridge_would_drop_without_a_word_is_refused_here(
    name: str, field: str, value: object
) -> None:
    wrong = message(name)(**{field: value})
    with pytest.raises(TypeError, match=f"{field} is "):
        encode(wrong, Dialect.ROS_2)


def test_numpy_numbers_are_taken_as_numbers() -> None:
    point = message("geometry_msgs/Point")(x=np.float32(0.5), y=np.int64(2))
    assert json.dumps(encode(point, Dialect.ROS_2)) == '{"x": 0.5, "y": 2.0, "z": 0.0}'


def test_null_that_stands_for_nan_is_read_as_nan() -> None:
    assert math.isnan(decode("std_msgs/Float64", {"data": None}).data)


@pytest.mark.parametrize(
    "tree",
    [[], {"data": 5}, {"data": [1]}, {"data": None}, "text"],
)
def test_what_is_no_message_is_a_value_error(tree: Any) -> None:
    with pytest.raises(ValueError, match="std_msgs/msg/String"):
        fill(message("std_msgs/String"), tree)


@pytest.mark.parametrize("data", ["=", "a", [256], [-1], ["a"], {"a": 1}])
def test_bytes_that_are_none_are_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError, match="sensor_msgs/msg/Image"):
        decode("sensor_msgs/Image", {"data": data})


@pytest.mark.parametrize("dialect", Dialect)
def test_a_partial_tree_is_sent_in_the_words_of_its_ros(dialect: Dialect) -> None:
    head = {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "f"}
    result = {"hypothesis": {"class_id": "a", "score": 0.5}}
    place = {"center": {"position": {"x": 1.0, "y": 2.0}}, "size_x": 3.0, "size_y": 3.0}
    found = {"header": head, "id": "9", "results": [result], "bbox": place}
    tree = {"header": head, "detections": [found]}
    sent = encode_tree(DetectionArray, tree, dialect)
    whole = decode(DetectionArray.NAME, sent)
    assert whole.header.stamp == Time(sec=1, nanosec=2)
    assert whole.detections[0].bbox.center.position.y == 2.0
    assert whole.detections[0].results[0].hypothesis.score == 0.5


@pytest.mark.parametrize("name", MESSAGES)
def test_schema_text_holds_all_types_that_it_names(name: str) -> None:
    text = full_definition(name)
    assert text.startswith(DEFINITIONS[name])
    for line in text.replace("MSG: ", "").splitlines():
        kind = line.partition(" ")[0].partition("[")[0]
        if "/" in kind:
            assert f"MSG: {kind}\n" in text or line == kind
