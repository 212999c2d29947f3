"""The connection to rosbridge through its losses: each known trap has a test."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aam_edge.errors import UsageError
from aam_edge.ros import rosapi
from aam_edge.ros.bridge import Bridge
from aam_edge.ros.dialect import Dialect, encode
from aam_edge.ros.messages import message
from tests.program import free_endpoint
from tests.ros_fit import Tree
from tests.rosbridge import DEADLINE_S, RosBridge

String = message("std_msgs/msg/String")
Stamped = message("geometry_msgs/msg/PointStamped")
STRING, ARRAY = "std_msgs/msg/String", "vision_msgs/msg/Detection2DArray"


@contextmanager
def connected(server: RosBridge | str, **how: Any) -> Iterator[Bridge]:
    url = server if isinstance(server, str) else server.url
    bridge = Bridge(url, **{"first_retry_s": 0.05, "retry_max_s": 0.2} | how)
    try:
        yield bridge
    finally:
        bridge.close()


def wait_for(is_so: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> None:
    """For what no event tells of: looks until it is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.002)


def say(bridge: Bridge, words: str, topic: str = "/words") -> bool:
    return bridge.publish(topic, lambda dialect: encode(String(data=words), dialect))


def heard(server: RosBridge, topic: str = "/words") -> list[str]:
    return [tree["data"] for tree in server.messages[topic]]


def test_messages_topics_and_services_go_both_ways() -> None:
    with RosBridge() as server, connected(server) as bridge:
        inbox: queue.Queue[Tree] = queue.Queue()
        bridge.advertise("/words", STRING)
        bridge.subscribe("/orders", STRING, inbox.put)
        bridge.advertise_service("/go", "std_srvs/srv/Trigger", lambda _, respond: respond({}))
        server.wait(lambda: bridge.is_ready and server.has_service("/go"), "connection")
        assert say(bridge, "hello")
        server.wait(lambda: heard(server) == ["hello"], "message")
        server.publish("/orders", "std_msgs/String", {"data": "stop"})
        assert inbox.get(timeout=DEADLINE_S) == {"data": "stop"}
        assert server.call("/go") == {}
        assert server.log == []


def test_topic_and_service_of_one_name_do_not_mix() -> None:
    with RosBridge() as server, connected(server) as bridge:
        inbox: queue.Queue[Any] = queue.Queue()
        bridge.subscribe("/reset", STRING, inbox.put)
        bridge.advertise_service("/reset", "std_srvs/srv/Trigger", lambda _, respond: respond({}))
        server.wait(
            lambda: server.has_subscriber("/reset") and server.has_service("/reset"), "both"
        )
        assert server.call("/reset") == {}
        server.publish("/reset", "std_msgs/String", {"data": "x"})
        assert inbox.get(timeout=DEADLINE_S) == {"data": "x"}
        assert inbox.empty()


def test_what_is_published_without_a_bridge_is_dropped_and_never_sent_later() -> None:
    server = RosBridge()
    url = free_endpoint().replace("tcp", "ws")
    with connected(url) as bridge:
        bridge.advertise("/words", STRING)
        assert not any(say(bridge, f"old {n}") for n in range(200))
        assert bridge.dropped == 200
        assert bridge.state() == f"no ROS bridge answers at {url}"
        server.port = int(url.rpartition(":")[2])
        with server:
            wait_for(lambda: bridge.is_ready, "connection")
            assert say(bridge, "new")
            server.wait(lambda: "new" in heard(server), "message")
            assert heard(server) == ["new"]


def test_after_an_outage_topics_are_announced_before_anything_is_published() -> None:
    with RosBridge() as server, connected(server) as bridge:
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.is_ready, "connection")
        server.stop()
        wait_for(lambda: not bridge.is_ready, "loss")
        assert not say(bridge, "lost")
        server.operations.clear()
        server.start()
        wait_for(lambda: say(bridge, "found"), "connection")
        server.wait(lambda: heard(server) == ["found"], "message")
        operations = [o["op"] for o in server.operations if o["op"] != "call_service"]
        assert operations[:2] == ["advertise", "publish"]
        assert server.log == []


def test_wait_between_two_tries_stays_short_however_long_the_outage() -> None:
    with RosBridge() as server:
        server.refuses = True
        with connected(server) as bridge:
            # Without a bound the eighth would come after half a minute.
            server.wait(lambda: server.attempts >= 8, "eight tries")
            server.refuses = False
            start = time.monotonic()
            wait_for(lambda: bridge.is_ready, "connection")
            assert time.monotonic() - start < 2.0


@pytest.mark.parametrize(("ros", "dialect"), [(1, Dialect.ROS_1), (2, Dialect.ROS_2)])
def test_bridge_is_asked_which_ros_it_is_and_stamps_arrive(ros: int, dialect: Dialect) -> None:
    with RosBridge(ros) as server, connected(server) as bridge:
        bridge.advertise("/point", Stamped.NAME)
        wait_for(lambda: bridge.is_ready, "connection")
        assert bridge.dialect is dialect
        point = Stamped()
        point.header.stamp.sec, point.header.stamp.nanosec = 1_700_000_000, 5
        assert bridge.publish("/point", lambda dialect: encode(point, dialect))
        server.wait(lambda: server.messages["/point"], "point")
        header = server.messages["/point"][0]["header"]
        assert header["stamp"] == {"sec": 1_700_000_000, "nanosec": 5}


@pytest.mark.parametrize("ros", [1, 2])
def test_bridge_without_rosapi_gets_stamps_that_both_take(
    ros: int, caplog: pytest.LogCaptureFixture
) -> None:
    with RosBridge(ros, rosapi=False) as server, connected(server) as bridge:
        bridge.advertise("/point", Stamped.NAME)
        wait_for(lambda: bridge.is_ready, "connection")
        assert bridge.dialect is Dialect.UNKNOWN
        wait_for(lambda: "has no rosapi" in caplog.text, "line")
        point = Stamped()
        point.header.stamp.sec = 1_700_000_000
        bridge.publish("/point", lambda dialect: encode(point, dialect))
        server.wait(lambda: server.messages["/point"], "point")
        assert server.messages["/point"][0]["header"]["stamp"]["sec"] == 1_700_000_000


def test_type_that_the_bridge_lacks_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with RosBridge(without=("vision_msgs",)) as server, connected(server) as bridge:
        bridge.advertise("/targets", ARRAY)
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.troubles, "trouble")
        assert bridge.state() == (
            "the ROS bridge does not take /targets (vision_msgs/Detection2DArray): "
            "install vision_msgs where the bridge runs"
        )
        wait_for(lambda: "install vision_msgs" in caplog.text, "line in the log")
        assert caplog.text.count("install vision_msgs") == 1
        assert server.has_rosapi, "rosapi was asked for a type that it does not know"


def test_topic_that_has_another_type_is_said() -> None:
    with RosBridge() as server, connected(server) as bridge:
        server.publish("/words", "std_msgs/Int32", {"data": 1})
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.troubles, "trouble")
        assert bridge.state() == (
            "/words has another type in ROS (std_msgs/Int32, not std_msgs/String): rename one"
        )


def test_type_that_has_other_fields_is_said() -> None:
    with RosBridge() as server, connected(server) as bridge:
        # As in ROS 2 Foxy.
        server.types["vision_msgs/ObjectHypothesisWithPose"] = {
            "id": "string",
            "score": "float64",
            "pose": "geometry_msgs/PoseWithCovariance",
        }
        bridge.advertise("/targets", ARRAY)
        wait_for(lambda: bridge.troubles, "trouble")
        assert bridge.state() == (
            "the ROS bridge does not take /targets: vision_msgs/Detection2DArray has other fields "
            "there (no vision_msgs/ObjectHypothesisWithPose.hypothesis)"
        )


def test_service_that_the_bridge_does_not_offer_is_said() -> None:
    with RosBridge(without=("std_srvs",)) as server, connected(server) as bridge:
        bridge.advertise_service("/go", "std_srvs/srv/Trigger", lambda _, respond: respond({}))
        wait_for(lambda: bridge.troubles, "trouble")
        assert bridge.state() == "the ROS bridge does not offer the service /go (std_srvs/Trigger)"


def test_bridge_that_stops_reading_gets_no_more_and_later_only_what_is_new() -> None:
    with RosBridge() as server, connected(server) as bridge:
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.is_ready, "connection")
        server.reads = False
        wait_for(lambda: not say(bridge, "while it does not read"), "refusal")
        assert bridge.state() == "the ROS bridge is slow: messages are dropped"
        before = bridge.dropped
        assert not any(say(bridge, "dropped") for _ in range(1000))
        assert bridge.dropped == before + 1000
        server.reads = True
        wait_for(lambda: say(bridge, "new"), "recovery")
        server.wait(lambda: "new" in heard(server), "message")
        assert "dropped" not in heard(server)
        assert bridge.connections == 1


def test_megabytes_do_not_pile_up_before_a_bridge_that_does_not_read() -> None:
    with RosBridge() as server, connected(server) as bridge:
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.is_ready, "connection")
        server.reads = False
        sent = sum(say(bridge, "x" * 1_000_000) for _ in range(200))
        wait_for(lambda: not say(bridge, "x" * 1_000_000), "refusal")
        # What the system's own buffers take, and what was handed over in the moment before.
        assert sent < 200
        server.reads = True


def test_bridge_that_dies_in_the_middle_of_a_message_is_found_again() -> None:
    with RosBridge() as server, connected(server) as bridge:
        inbox: queue.Queue[Tree] = queue.Queue()
        bridge.subscribe("/orders", STRING, inbox.put)
        server.wait(lambda: server.has_subscriber("/orders"), "subscription")
        server.drop(half_a_message=True)
        server.wait(
            lambda: server.connections == 2 and server.has_subscriber("/orders"), "subscription"
        )
        server.publish("/orders", "std_msgs/String", {"data": "go on"})
        assert inbox.get(timeout=DEADLINE_S) == {"data": "go on"}


def test_binary_frame_costs_the_connection_and_not_the_bridge() -> None:
    with RosBridge() as server, connected(server) as bridge:
        wait_for(lambda: bridge.is_ready, "connection")
        server.send_raw(b"\xff\x00")
        wait_for(lambda: bridge.connections == 2 and bridge.is_ready, "new connection")


def test_nonsense_from_the_bridge_is_passed_over() -> None:
    with RosBridge() as server, connected(server) as bridge:
        inbox: queue.Queue[Tree] = queue.Queue()
        bridge.subscribe("/orders", STRING, inbox.put)
        server.wait(lambda: server.has_subscriber("/orders"), "subscription")
        for nonsense in ("{", "[]", "null", "{}", '{"op": "fragment"}', '{"op": "publish"}'):
            server.send_raw(nonsense)
        server.publish("/orders", "std_msgs/String", {"data": "go on"})
        assert inbox.get(timeout=DEADLINE_S) == {"data": "go on"}
        assert bridge.connections == 1


def test_status_of_a_bridge_is_told_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    with RosBridge(1) as server, connected(server) as bridge:
        wait_for(lambda: bridge.is_ready, "connection")
        server.send_raw('{"op": "status", "level": "error", "msg": "no such\\ntopic"}')
        wait_for(lambda: "ROS bridge: no such topic" in caplog.text, "line")
        assert all(record.exc_info is None for record in caplog.records)


def test_message_in_fragments_is_put_together() -> None:
    with RosBridge() as server, connected(server) as bridge:
        inbox: queue.Queue[Tree] = queue.Queue()
        bridge.subscribe("/orders", STRING, inbox.put)
        server.wait(lambda: server.has_subscriber("/orders"), "subscription")
        server.fragment_size = 7
        server.publish("/orders", "std_msgs/String", {"data": "a rather long order"})
        assert inbox.get(timeout=DEADLINE_S) == {"data": "a rather long order"}


def test_message_larger_than_a_bridge_takes_is_refused_and_the_connection_kept() -> None:
    with RosBridge() as server, connected(server) as bridge:
        bridge.advertise("/words", STRING)
        wait_for(lambda: bridge.is_ready, "connection")
        assert not say(bridge, "x" * 10_500_000)
        assert "/words: a message is larger than a ROS bridge takes" in bridge.state()
        assert say(bridge, "small")
        server.wait(lambda: heard(server) == ["small"], "message")
        assert bridge.connections == 1


def test_call_that_loses_its_bridge_is_answered() -> None:
    with RosBridge() as server, connected(server) as bridge:
        wait_for(lambda: bridge.is_ready, "connection")
        server.reads = False
        answers: queue.Queue[tuple[Any, str]] = queue.Queue()
        bridge.call("/slow", {}, lambda values, why: answers.put((values, why)))
        server.drop()
        assert answers.get(timeout=DEADLINE_S) == (None, "the ROS bridge has gone")
        server.reads = True


def test_call_of_a_service_that_is_not_there_says_so() -> None:
    with RosBridge() as server, connected(server) as bridge:
        wait_for(lambda: bridge.is_ready, "connection")
        with pytest.raises(RuntimeError, match="Service /nothing does not exist"):
            rosapi.ask(bridge, "/nothing", {})


def test_close_ends_all_tries_and_twice_is_fine() -> None:
    with RosBridge() as server:
        bridge = Bridge(server.url, first_retry_s=0.05, retry_max_s=0.1)
        wait_for(lambda: bridge.is_ready, "connection")
        bridge.close()
        bridge.close()
        wait_for(lambda: not server._clients, "farewell")
        assert not say(bridge, "too late")
        server.stop()
        server.start()
        with connected(server) as other:  # as long as a new one needs, the old one had too
            wait_for(lambda: other.is_ready, "connection")
            assert server.connections == 2


@pytest.mark.parametrize("url", ["localhost:9090", "http://robot:9090", "ws://", "ws://a:b", ""])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(UsageError, match="not the address of a ROS bridge"):
        Bridge(url)


def test_other_transport_in_the_same_process_is_said_in_one_line() -> None:
    script = """
from roslibpy.comm import select_factory
select_factory("twisted")
from aam_edge.errors import SinkError
from aam_edge.ros.bridge import Bridge
try:
    Bridge("ws://127.0.0.1:1")
except SinkError as problem:
    print(problem)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == (
        "roslibpy already runs on Twisted (one transport a process): "
        "call roslibpy.set_default_transport('asyncio') before its first use\n"
    ), done.stderr


def test_library_that_is_missing_is_said_in_one_line() -> None:
    script = """
import sys
sys.modules["roslibpy"] = None
from aam_edge.cli.main import main
arguments = ["--camera", "synthetic", "--page", "none", "--pub", "none", "--control", "none"]
print(main([*arguments, "--ros", "ws://127.0.0.1:9090"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "5\n", done.stderr
    assert "aam-edge: ROS needs a library (roslibpy: " in done.stderr
    assert done.stderr.endswith("pip install aam-edge[ros]\n")
