"""The facade against the real rclpy: one script under both, and what only the facade must do.

The golden tables were written by rclpy 9.1.2 (ROS 2 Kilted):
    python tests/rclpy_behaviour.py SIGINT --ros-args ... > tests/golden/rclpy_SIGINT.json
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from aam_edge.ros.install import install, uninstall
from aam_edge.ros.messages import message, service
from aam_edge.ros.rclpy.arguments import parse
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.exceptions import NotCovered
from aam_edge.ros.rclpy.executors import SingleThreadedExecutor
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.qos import DurabilityPolicy, QoSProfile
from tests.rosbridge import DEADLINE_S, RosBridge
from tests.test_ros_bridge import wait_for

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "rclpy_behaviour.py"
GOLDEN = ROOT / "tests" / "golden"
ROS_ARGUMENTS = ["--ros-args", "-r", "__ns:=/robot", "-r", "old:=/new", "-p", "gain:=2.5"]
NOBODY = 1
"""A port on which no bridge listens."""
SIGNALS = ["SIGINT", "SIGTERM"]

String, Trigger = message("std_msgs/msg/String"), service("std_srvs/srv/Trigger")


def run(*command: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def node_of(server: RosBridge, *arguments: str, name: str = "talker") -> Iterator[Node]:
    with Context(server.url, retry_max_s=0.2) as context:
        context.init(["--ros-args", *arguments])
        node = Node(name, context=context)
        if server.port != NOBODY:
            wait_for(lambda: context.bridge.is_ready, "connection")
        yield node


def spin_until(node: Node, is_so: Any, what: str) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        executor.spin_once(0.05)
    executor.remove_node(node)


@pytest.mark.parametrize("signal", SIGNALS)
def test_facade_does_what_rclpy_does(signal: str) -> None:
    with RosBridge() as server:
        facade = [sys.executable, "-W", "error", "-m", "aam_edge.ros", "--url", server.url]
        table = run(*facade, SCRIPT, signal, *ROS_ARGUMENTS)
    golden = json.loads((GOLDEN / f"rclpy_{signal}.json").read_text())
    assert table.keys() == golden.keys()
    for name, expected in golden.items():
        assert table[name] == expected, name


@pytest.mark.ros
@pytest.mark.parametrize("signal", SIGNALS)
def test_golden_table_is_what_the_real_rclpy_says(signal: str) -> None:
    python = os.environ.get("RCLPY_PYTHON")
    if python is None:
        pytest.skip("needs the real rclpy: set RCLPY_PYTHON to a Python that has it")
    golden = json.loads((GOLDEN / f"rclpy_{signal}.json").read_text())
    assert run(python, SCRIPT, signal, *ROS_ARGUMENTS) == golden


ECHO = """
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import String
from std_srvs.srv import SetBool

class Echo(Node):
    def __init__(self):
        super().__init__("echo")
        self.declare_parameter("suffix", "!")
        self.publisher = self.create_publisher(String, "out", 10)
        self.create_subscription(String, "in", self.heard, qos_profile_sensor_data)
        self.create_service(SetBool, "~/loud", self.loud)
        self.is_loud = False

    def heard(self, message):
        text = message.data + self.get_parameter("suffix").value
        self.publisher.publish(String(data=text.upper() if self.is_loud else text))

    def loud(self, request, response):
        self.is_loud = request.data
        response.success, response.message = True, self.get_fully_qualified_name()
        return response

def main():
    try:
        with rclpy.init():
            rclpy.spin(Echo())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass

main()
"""


@pytest.mark.parametrize("ros", [1, 2])
def test_node_written_for_rclpy_runs_unchanged(ros: int, tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(ECHO)
    with RosBridge(ros) as server:
        command = [sys.executable, "-m", "aam_edge.ros", "--url", server.url, str(script)]
        arguments = ["--ros-args", "-r", "__ns:=/a", "-r", "out:=/said", "-p", "suffix:='?'"]
        process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        try:
            server.wait(lambda: server.has_service("/a/echo/loud"), "service")
            server.wait(lambda: server.has_subscriber("/a/in"), "subscription")
            answer = server.call("/a/echo/loud", {"data": True})
            assert answer == {"success": True, "message": "/a/echo"}
            server.publish("/a/in", "std_msgs/String", {"data": "hello"})
            server.wait(lambda: server.messages["/said"], "echo")
            assert server.messages["/said"] == [{"data": "HELLO?"}]
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            _, words = process.communicate()
        assert words == ""
        assert server.log == []


def test_several_publishers_of_one_topic_stay_announced_until_the_last_goes() -> None:
    with RosBridge() as server, node_of(server) as node:
        first, second = (node.create_publisher(String, "out", 1) for _ in range(2))
        wait_for(lambda: node.context.bridge.is_ready, "connection")
        node.destroy_publisher(first)
        second.publish(String(data="still"))
        server.wait(lambda: server.messages["/out"], "message")
        node.destroy_publisher(second)
        server.wait(lambda: "/out" not in server.topics, "farewell")
        assert server.log == []


def test_depth_says_how_many_messages_wait_and_the_oldest_goes() -> None:
    with RosBridge() as server, node_of(server) as node:
        heard: list[str] = []
        listener = node.create_subscription(String, "in", lambda m: heard.append(m.data), 2)
        server.wait(lambda: server.has_subscriber("/in"), "subscription")
        for number in range(5):
            server.publish("/in", "std_msgs/String", {"data": str(number)})
        wait_for(lambda: listener.dropped == 3, "overwriting")
        spin_until(node, lambda: len(heard) == 2, "messages")
        assert heard == ["3", "4"]


def test_latched_topic_and_its_depth_are_asked_of_the_bridge() -> None:
    with RosBridge() as server, node_of(server) as node:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_publisher(String, "map", latched)
        node.create_publisher(String, "words", 7)
        server.wait(lambda: "/words" in server.topics, "topics")
        asked = {o["topic"]: o for o in server.operations if o["op"] == "advertise"}
        assert (asked["/map"]["latch"], asked["/map"]["queue_size"]) == (True, 1)
        assert (asked["/words"]["latch"], asked["/words"]["queue_size"]) == (False, 7)


def test_wrong_message_on_a_topic_is_said_once_and_the_next_one_heard(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RosBridge() as server, node_of(server) as node:
        heard: list[str] = []
        node.create_subscription(String, "in", lambda m: heard.append(m.data), 10)
        server.wait(lambda: server.has_subscriber("/in"), "subscription")
        for data in (5, None, "well"):
            server.publish("/in", "std_msgs/String", {"data": data})
        spin_until(node, lambda: heard, "message")
        assert heard == ["well"]
        assert capsys.readouterr().err.count("not a std_msgs/msg/String") == 1


def test_service_whose_callback_fails_tells_who_calls_and_who_spins() -> None:
    with RosBridge() as server, node_of(server) as node:

        def fail(request: Any, response: Any) -> Any:
            raise KeyError("broken")

        node.create_service(Trigger, "work", fail)
        server.wait(lambda: server.has_service("/work"), "service")
        answers: queue.Queue[str] = queue.Queue()

        def call() -> None:
            try:
                server.call("/work")
            except Exception as problem:  # noqa: BLE001  whatever comes is the answer
                answers.put(str(problem))

        caller = threading.Thread(target=call)
        caller.start()
        with pytest.raises(KeyError, match="broken"):
            spin_until(node, lambda: False, "failure")
        assert answers.get(timeout=DEADLINE_S) == "/work failed"
        caller.join()


def test_call_waits_for_the_answer_of_another_node() -> None:
    with RosBridge() as server, node_of(server) as worker, node_of(server, name="boss") as boss:

        def work(request: Any, response: Any) -> Any:
            response.success, response.message = True, "done"
            return response

        client = boss.create_client(Trigger, "work")
        worker.create_service(Trigger, "work", work)
        is_over = threading.Event()
        spinning = threading.Thread(target=spin_until, args=(worker, is_over.is_set, "the end"))
        spinning.start()
        try:
            assert client.wait_for_service(timeout_sec=DEADLINE_S)
            answer = client.call(Trigger.Request(), timeout_sec=DEADLINE_S)
            assert (answer.success, answer.message) == (True, "done")
            with pytest.raises(TypeError, match="Expected"):
                client.call("now")
        finally:
            is_over.set()
            spinning.join()
        with pytest.raises(TimeoutError):  # nobody spins there any more
            client.call(Trigger.Request(), timeout_sec=0.05)


def test_client_without_a_bridge_says_so() -> None:
    server = RosBridge()
    server.port = NOBODY
    with node_of(server) as node:
        client = node.create_client(Trigger, "work")
        future = client.call_async(Trigger.Request())
        spin_until(node, future.done, "answer")
        with pytest.raises(RuntimeError, match="no ROS bridge answers"):
            future.result()
        assert not client.wait_for_service(timeout_sec=0.0)


def test_graph_is_asked_of_rosapi() -> None:
    with RosBridge() as server, node_of(server) as node:
        publisher = node.create_publisher(String, "out", 1)
        node.create_subscription(String, "in", lambda _: None, 1)
        server.wait(lambda: server.has_subscriber("/in"), "subscription")
        assert ("/out", ["std_msgs/msg/String"]) in node.get_topic_names_and_types()
        assert publisher.get_subscription_count() == 0
        assert node.count_subscribers("in") == 1
        assert node.count_publishers("out") == 1


def test_what_is_not_covered_says_so_by_name() -> None:
    async def coroutine(text: Any) -> None: ...

    with RosBridge() as server, node_of(server) as node:
        attempts: list[tuple[Callable[[], Any], str]] = [
            (lambda: node.create_subscription(String, "x", cast(Any, coroutine), 1), "coroutines"),
            (lambda: node.create_timer(1.0, cast(Any, len)), "0 arguments"),
            (lambda: node.create_subscription(String, "x", print, 1, raw=True), "raw"),
            (lambda: node.create_publisher(String, "x", 1).publish(b"x"), "serialized"),
            (lambda: node.get_node_names(), "Node.get_node_names"),
            (lambda: node.create_publisher(int, "x", 1), "message class"),
            (lambda: parse(["--ros-args", "--enclave", "/x"]), "--enclave"),
        ]
        for attempt, name in attempts:
            with pytest.raises(NotCovered, match="run this node with the real rclpy") as caught:
                attempt()
            assert name in str(caught.value)
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = node.nonsense


def test_modules_that_the_facade_lacks_say_so() -> None:
    install()
    try:
        with pytest.raises(ModuleNotFoundError, match=r"facade has no rclpy\.action"):
            __import__("rclpy.action")
        with pytest.raises(ImportError, match="cannot import name 'Joy'"):
            exec("from sensor_msgs.msg import Joy")
    finally:
        uninstall()
    assert "rclpy" not in sys.modules


def test_parameter_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**: {ros__parameters: {rate: 5.0}}\n"
        "talker: {ros__parameters: {words: [a, b], pid: {p: 2}}}\n"
        "other: {ros__parameters: {rate: 9.0}}\n"
    )
    with RosBridge() as server, node_of(server, "--params-file", str(file)) as node:
        assert node.declare_parameter("rate", 1.0).value == 5.0
        assert node.declare_parameter("words", ["c"]).value == ["a", "b"]
        assert node.declare_parameter("pid.p", 1.0).value == 2.0


@pytest.mark.parametrize("words", [["-r"], ["-r", "nonsense"], ["-p", "x"]])
def test_wrong_argument_is_a_value_error(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"needs a value|not a rule"):
        parse(["--ros-args", *words])
