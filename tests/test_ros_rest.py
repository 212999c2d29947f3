"""Calls of rclpy that the scripts of the other tests do not make; no bridge is needed for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from aam_edge.ros.messages import message, service
from aam_edge.ros.rclpy.clock import Clock
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.duration import Duration
from aam_edge.ros.rclpy.exceptions import (
    NotCovered,
    ParameterImmutableException,
    ParameterNotDeclaredException,
)
from aam_edge.ros.rclpy.logging import LoggingSeverity, get_logger, set_logger_level
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.parameter import Parameter
from aam_edge.ros.rclpy.qos import QoSPresetProfiles, qos_profile_sensor_data

NOBODY = "ws://127.0.0.1:1"
"""Where no bridge listens."""


@pytest.fixture
def node() -> Iterator[Node]:
    with Context(NOBODY) as context:
        context.init([])
        yield Node("talker", context=context)


def test_parameter_is_described_and_forgotten(node: Node) -> None:
    node.declare_parameter("gain", 2.5)
    node.declare_parameter("name", "left")
    assert [p.value for p in node.get_parameters(["name", "gain"])] == ["left", 2.5]
    assert node.describe_parameter("gain").type == int(Parameter.Type.DOUBLE)
    node.undeclare_parameter("gain")
    assert not node.has_parameter("gain")
    for call in (node.describe_parameter, node.undeclare_parameter, node.get_parameter):
        with pytest.raises(ParameterNotDeclaredException):
            call("gain")


def test_parameter_that_is_read_only_cannot_be_forgotten(node: Node) -> None:
    fixed = message("rcl_interfaces/msg/ParameterDescriptor")(read_only=True)
    node.declare_parameter("gain", 2.5, fixed)
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter("gain")
    assert node.get_parameter("gain").value == 2.5


def test_change_of_a_parameter_passes_those_before_and_reaches_those_after(node: Node) -> None:
    node.declare_parameter("gain", 2.5)
    told: list[Any] = []
    node.add_pre_set_parameters_callback(
        lambda wanted: [Parameter(p.name, value=min(p.value, 10.0)) for p in wanted]
    )
    node.add_post_set_parameters_callback(lambda done: told.extend(p.value for p in done))
    (result,) = node.set_parameters([Parameter("gain", value=99.0)])
    assert result.successful
    assert (node.get_parameter("gain").value, told) == (10.0, [10.0])


def test_type_of_a_parameter_is_that_of_its_value() -> None:
    assert Parameter.Type.from_parameter_value(True) is Parameter.Type.BOOL
    assert Parameter.Type.from_parameter_value([1.0]) is Parameter.Type.DOUBLE_ARRAY
    with pytest.raises(TypeError):
        Parameter.Type.from_parameter_value(object())


def test_rate_keeps_its_pace_until_it_is_destroyed(node: Node) -> None:
    rate = node.create_rate(200.0)
    began_s = time.monotonic()
    for _ in range(4):
        rate.sleep()
    assert time.monotonic() - began_s >= 3 / 200
    slow = node.create_rate(0.001)
    assert node.destroy_rate(slow) is True
    slow.sleep()  # else it would take a quarter of an hour
    with pytest.raises(ValueError, match="frequency must be > 0"):
        node.create_rate(0.0)


def test_clock_sleeps_until_a_time_that_may_have_passed() -> None:
    clock = Clock()
    until = clock.now() + Duration(nanoseconds=5_000_000)
    assert clock.sleep_until(until) is True
    assert clock.now().nanoseconds >= until.nanoseconds - 1_000_000
    assert clock.sleep_until(until) is True


def test_timer_knows_how_long_ago_it_ticked(node: Node) -> None:
    timer = node.create_timer(100.0, lambda: None)
    first, then = timer.time_since_last_call(), timer.time_since_last_call()
    assert 0 <= first <= then < 100e9


def test_names_of_levels_profiles_and_services(node: Node) -> None:
    set_logger_level("aam.rest", LoggingSeverity.ERROR)
    assert get_logger("aam.rest").get_effective_level() == LoggingSeverity.ERROR
    assert QoSPresetProfiles.get_from_short_key("sensor_data") == qos_profile_sensor_data
    trigger = service("std_srvs/srv/Trigger")
    assert node.create_client(trigger, "go").service_name == "/go"
    assert (
        node.create_service(trigger, "stop", lambda asked, answer: answer).service_name == "/stop"
    )
    with pytest.raises(NotCovered, match="liveliness"):
        node.create_publisher(message("std_msgs/msg/String"), "words", 1).assert_liveliness()


def test_duration_is_a_span_that_is_compared_and_sent() -> None:
    short, long = Duration(seconds=1.5), Duration(seconds=2, nanoseconds=5)
    assert short.nanoseconds == 1_500_000_000
    assert short < long
    assert long >= short
    assert Duration(nanoseconds=1_500_000_000) == short
    assert len({short, Duration(nanoseconds=1_500_000_000)}) == 1
    sent = long.to_msg()
    assert (sent.sec, sent.nanosec) == (2, 5)
    assert Duration.from_msg(sent) == long
    assert repr(short) == "Duration(nanoseconds=1500000000)"
    with pytest.raises(TypeError):
        _ = short < 2
