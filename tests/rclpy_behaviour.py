"""What rclpy does, as a table on stdout: run with the real one, or with the facade, and compare.

python tests/rclpy_behaviour.py SIGINT --ros-args -r __ns:=/robot -r old:=/new -p gain:=2.5
python -m aam_edge.ros --url ws://... tests/rclpy_behaviour.py SIGINT --ros-args ...
"""

# mypy: ignore-errors
# ruff: noqa: BLE001, T201
from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import rclpy
import rclpy.duration
import rclpy.exceptions
from builtin_interfaces.msg import Time as TimeMsg
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped, Quaternion
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import (
    HistoryPolicy,
    QoSDurabilityPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

TABLE = {}


def entry(function):
    """Keeps what a function returns, or the name of what it raises."""
    try:
        TABLE[function.__name__] = function()
    except Exception as problem:
        TABLE[function.__name__] = type(problem).__name__


def sentence(function, *arguments):
    try:
        return function(*arguments)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}".splitlines()[0]


@entry
def node_before_init():
    return Node("early")


@entry
def init_twice():
    rclpy.init()
    return sentence(rclpy.init)


node = Node("table")


@entry
def names():
    return [node.get_name(), node.get_namespace(), node.get_fully_qualified_name()]


@entry
def resolved():
    topics = ["out", "/out", "~/out", "old", "a/b"]
    return [node.resolve_topic_name(topic) for topic in topics]


@entry
def wrong_names():
    wrong = ["1a", "a b", "a//b", "a/", "", "a~"]
    return [type_of(lambda t=t: node.create_publisher(String, t, 1)) for t in wrong] + [
        type_of(lambda: Node("a b")),
        type_of(lambda: Node("a", namespace="1x")),
    ]


def type_of(function):
    try:
        return type(function()).__name__
    except Exception as problem:
        return type(problem).__name__


@entry
def quality():
    return [
        sentence(QoSProfile),
        sentence(lambda: QoSProfile(history=HistoryPolicy.KEEP_LAST)),
        QoSProfile(depth=3).reliability.name,
        QoSProfile(depth=3).durability.name,
        type_of(lambda: node.create_publisher(String, "q", -1)),
        type_of(lambda: node.create_publisher(String, "q", "many")),
        qos_profile_sensor_data.depth,
        qos_profile_sensor_data.reliability.name,
        [policy.value for policy in QoSReliabilityPolicy][:4],
        QoSDurabilityPolicy.TRANSIENT_LOCAL.value,
        QoSProfile(depth=2) == QoSProfile(depth=2),
    ]


@entry
def parameters():
    node.declare_parameter("name", "a")
    node.declare_parameter("typed", Parameter.Type.STRING)
    return [
        node.declare_parameter("gain", 1.0).value,
        node.get_parameter("name").value,
        node.get_parameter("name").type_.name,
        type_of(lambda: node.declare_parameter("name", "b")),
        type_of(lambda: node.get_parameter("none")),
        type_of(lambda: node.get_parameter("typed")),
        node.has_parameter("use_sim_time"),
        node.get_parameter_or("none", Parameter("none", Parameter.Type.INTEGER, 3)).value,
    ]


@entry
def setting_parameters():
    results = node.set_parameters(
        [Parameter("gain", Parameter.Type.INTEGER, 2), Parameter("name", value="b")]
    )
    return [[r.successful, r.reason] for r in results] + [node.get_parameter("name").value]


@entry
def refusing_parameters():
    from rcl_interfaces.msg import SetParametersResult

    def refuse(changes):
        return SetParametersResult(successful=False, reason="no")

    node.add_on_set_parameters_callback(refuse)
    result = node.set_parameters([Parameter("name", value="c")])[0]
    node.remove_on_set_parameters_callback(refuse)
    return [result.successful, result.reason, node.get_parameter("name").value]


@entry
def prefixes():
    node.declare_parameters("pid", [("p", 1.0), ("i", 2.0)])
    return sorted((k, p.value) for k, p in node.get_parameters_by_prefix("pid").items())


@entry
def messages():
    image = Image(height=2, encoding="mono8", data=b"ab")
    return [
        repr(String(data="a")),
        repr(Header(stamp=TimeMsg(sec=1))),
        type(image.data).__name__,
        image.data.typecode,
        CompressedImage(data=[1, 2]).data.tolist(),
        type(CameraInfo().k).__name__,
        len(CameraInfo().p),
        Image.get_fields_and_field_types(),
        CameraInfo.get_fields_and_field_types(),
        DiagnosticStatus.get_fields_and_field_types(),
        PointStamped.get_fields_and_field_types(),
        list(DiagnosticStatus.ERROR),
        list(DiagnosticStatus().level),
        Quaternion().w,
        String(data="a") == String(data="a"),
        String(data="a") == String(data="b"),
        String(data="a") == 1,
        repr(Trigger.Response(success=True)),
    ]


@entry
def times():
    point = Time(seconds=1, nanoseconds=500)
    later = point + rclpy.duration.Duration(seconds=2)
    return [
        point.nanoseconds,
        list(point.seconds_nanoseconds()),
        repr(point.to_msg()),
        (later - point).nanoseconds,
        Time.from_msg(point.to_msg()).nanoseconds,
        point < later,
        type_of(lambda: point < Time(clock_type=ClockType.STEADY_TIME)),
        type_of(lambda: Time(seconds=-1)),
        Clock(clock_type=ClockType.STEADY_TIME).clock_type.name,
        node.get_clock().clock_type.name,
        abs(node.get_clock().now().nanoseconds - time.time_ns()) < 10**9,
    ]


@entry
def logging():
    logger = node.get_logger()
    said = [logger.info("once", once=True) for _ in range(2)]
    skipped = [logger.info("later", skip_first=True) for _ in range(2)]
    rare = [logger.info("rare", throttle_duration_sec=60.0) for _ in range(2)]
    return [
        said,
        skipped,
        rare,
        logger.debug("nothing"),
        type_of(lambda: logger.info("a %s", "b")),
        type_of(lambda: logger.info(5)),
        logger.name,
        logger.get_child("inner").name,
    ]


@entry
def wrong_calls():
    return [
        type_of(lambda: node.create_subscription(String, "x", None, 1)),
        type_of(lambda: node.create_publisher(String, "x", 1).publish(Header())),
        type_of(lambda: node.create_publisher(String, "x", 1).publish("text")),
    ]


@entry
def publish_and_subscribe():
    heard = []
    listener = node.create_subscription(String, "talk", lambda m: heard.append(m.data), 10)
    talker = node.create_publisher(String, "talk", 10)
    deadline = time.monotonic() + 10
    while not heard and time.monotonic() < deadline:
        talker.publish(String(data="a"))
        rclpy.spin_once(node, timeout_sec=0.05)
    found = [heard[:1], listener.topic_name, talker.topic_name]
    node.destroy_subscription(listener)
    node.destroy_publisher(talker)
    return [*found, type_of(lambda: talker.publish(String()))]


@entry
def idle_spin():
    start = time.monotonic()
    rclpy.spin_once(node, timeout_sec=0.0)
    short = time.monotonic() - start < 0.05
    rclpy.spin_once(node, timeout_sec=0.1)
    return [short, time.monotonic() - start >= 0.09]


@entry
def one_callback_each_spin():
    calls = []
    timers = [node.create_timer(0.01, lambda: calls.append(1)) for _ in range(3)]
    time.sleep(0.05)
    counts = []
    for _ in range(3):
        rclpy.spin_once(node, timeout_sec=0.0)
        counts.append(len(calls))
    for timer in timers:
        node.destroy_timer(timer)
    return counts


@entry
def missed_ticks_are_one():
    calls = []
    timer = node.create_timer(0.1, lambda: calls.append(time.monotonic()))
    time.sleep(0.45)
    start = time.monotonic()
    while time.monotonic() - start < 0.02:
        rclpy.spin_once(node, timeout_sec=0.0)
    at_once = len(calls)
    timer.cancel()
    found = [at_once, timer.is_canceled(), timer.timer_period_ns]
    timer.reset()
    found += [timer.is_canceled(), 0 < timer.time_until_next_call() <= 100_000_000]
    node.destroy_timer(timer)
    return found


@entry
def failure_in_a_callback():
    def fail():
        raise KeyError("x")

    timer = node.create_timer(0.0, fail)
    result = type_of(lambda: rclpy.spin_once(node, timeout_sec=1.0))
    node.destroy_timer(timer)
    return result


@entry
def service():
    def answer(request, response):
        response.success, response.message = True, "done"
        return response

    server = Node("server")
    server.create_service(Trigger, "work", answer)
    client = node.create_client(Trigger, "work")
    executor = SingleThreadedExecutor()
    executor.add_node(server)
    thread = threading.Thread(target=spin_quietly, args=(executor,), daemon=True)
    thread.start()
    there = client.wait_for_service(timeout_sec=10.0)
    future = client.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=10.0)
    found = [there, future.done(), repr(future.result()), type_of(lambda: client.call_async(1))]
    executor.shutdown()
    thread.join(5)
    server.destroy_node()
    nobody = node.create_client(Trigger, "nobody")
    return [*found, nobody.wait_for_service(timeout_sec=0.2)]


def spin_quietly(executor):
    try:
        executor.spin()
    except Exception:
        return


@entry
def threads():
    group = ReentrantCallbackGroup()
    both = threading.Barrier(2)
    met = []

    def meet():
        both.wait(5)
        met.append(1)
        for timer in timers:
            timer.cancel()

    timers = [node.create_timer(0.01, meet, callback_group=group) for _ in range(2)]
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    deadline = time.monotonic() + 5
    while len(met) < 2 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    executor.remove_node(node)
    executor.shutdown()
    for timer in timers:
        node.destroy_timer(timer)
    return len(met)


@entry
def executor_nodes():
    executor = SingleThreadedExecutor()
    return [executor.add_node(node), executor.add_node(node), len(executor.get_nodes())]


@entry
def guard_condition():
    calls = []
    guard = node.create_guard_condition(lambda: calls.append(1))
    guard.trigger()
    guard.trigger()
    rclpy.spin_once(node, timeout_sec=1.0)
    rclpy.spin_once(node, timeout_sec=0.0)
    return calls


@entry
def shutdown():
    threading.Timer(0.2, rclpy.shutdown).start()
    other = Node("last")
    ended = type_of(lambda: rclpy.spin(other))
    return [ended, rclpy.ok(), sentence(rclpy.shutdown), rclpy.try_shutdown()]


@entry
def publish_after_shutdown():
    with rclpy.init():
        again = Node("again")
        talker = again.create_publisher(String, "x", 1)
    return [rclpy.ok(), type_of(lambda: talker.publish(String()))]


@entry
def signalled():
    """One signal a process: the real rclpy hears no second one."""
    rclpy.init()
    threading.Timer(0.2, os.kill, [os.getpid(), signal.Signals[sys.argv[1]]]).start()
    try:
        rclpy.spin(Node("ends"))
    except (KeyboardInterrupt, ExternalShutdownException) as problem:
        return [type(problem).__name__, rclpy.ok()]
    return ["returned", rclpy.ok()]


print(json.dumps(TABLE, indent=1, default=str))
