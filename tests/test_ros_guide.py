"""The listeners of the ROS guide, each run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program
from tests.ros_fit import Tree
from tests.rosbridge import DEADLINE_S, RosBridge

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guides" / "ros.md").read_text()
EXAMPLE = ROOT / "examples" / "ros2_listener.py"
STAMP = {"sec": 1_700_000_000, "nanosec": 0}
GAZE: Tree = {
    "header": {"stamp": STAMP, "frame_id": "camera_0_optical_frame"},
    "point": {"x": 320.4, "y": 239.6, "z": 5.0},
}


def block(heading: str) -> str:
    """The first Python of a part of the guide."""
    part = GUIDE.split(f"### {heading}\n")[1]
    found = re.search(r"```python\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


def test_ros_2_listener_of_the_guide_is_the_example() -> None:
    _, _, code = EXAMPLE.read_text().partition('"""\n\n')
    assert code == block("ROS 2")


@pytest.mark.parametrize("ros", [1, 2])
def test_ros_2_listener_hears_through_the_facade(ros: int) -> None:
    with RosBridge(ros) as server:
        command = [sys.executable, "-m", "aam_edge.ros", "--url", server.url, str(EXAMPLE)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            server.wait(lambda: server.has_subscriber("/aam/gaze"), "subscription")
            server.publish("/aam/gaze", "geometry_msgs/PointStamped", GAZE)
            assert process.stderr is not None
            line = process.stderr.readline()
            assert re.search(r"\[INFO\] \[.*\] \[listener\]: 320, 240, \d+ ms ago\n", line), line
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.communicate()


def test_ros_1_listener_is_called_with_what_it_expects() -> None:
    said: list[str] = []
    subscribed: list[tuple[str, Callable[[Any], None]]] = []
    rospy: Any = types.ModuleType("rospy")

    class Time(float):
        now = classmethod(lambda cls: cls(10.5))

        def __sub__(self, other: float) -> Any:
            return types.SimpleNamespace(to_sec=lambda: float(self) - float(other))

    rospy.Time = Time
    rospy.init_node = rospy.spin = lambda *_: None
    rospy.loginfo = lambda words, *values: said.append(words % values)

    def subscribe(topic: str, kind: object, callback: Callable[[Any], None], **how: int) -> None:
        assert how == {"queue_size": 1}
        subscribed.append((topic, callback))

    rospy.Subscriber = subscribe
    messages: Any = types.ModuleType("geometry_msgs.msg")
    messages.PointStamped = object
    with pytest.MonkeyPatch.context() as patch:
        for module in (rospy, types.ModuleType("geometry_msgs"), messages):
            patch.setitem(sys.modules, module.__name__, module)
        exec(block("ROS 1"), {})
    ((topic, callback),) = subscribed
    assert topic == "/aam/gaze"
    header = types.SimpleNamespace(stamp=Time(10.0))
    callback(types.SimpleNamespace(header=header, point=types.SimpleNamespace(x=1.0, y=2.0)))
    assert said == ["1, 2, 500 ms ago"]


def test_plain_listener_hears_a_running_stream() -> None:
    with Program("--camera", "synthetic") as program:
        code = block("Plain Python, no bridge").replace("tcp://127.0.0.1:5560", program.pub)
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert re.fullmatch(r"\d+, \d+, \d+ ms ago\n", process.stdout.readline())
        finally:
            process.kill()
            process.communicate()
        program.stop()
