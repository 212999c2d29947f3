"""The example that points a head: its moves, printed and as trajectories through a bridge."""

from __future__ import annotations

import math
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.config import Config
from aam_edge.settings import known_settings
from tests.program import Program
from tests.rosbridge import DEADLINE_S, RosBridge

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "pan_tilt.py"
HEAD: Any = runpy.run_path(str(EXAMPLE))["Head"]


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 1)), max_size=20))
def test_head_stays_within_its_limits_and_moves_when_it_stands(
    bearings: list[tuple[float, float, float]],
) -> None:
    head = HEAD()
    now_s = 0.0
    for yaw, pitch, pause_s in bearings:
        now_s += pause_s
        before, was_still = (head.pan, head.tilt), now_s >= head.still_at_s
        lasts_s = head.turn(now_s, now_s, yaw, pitch)
        assert abs(head.pan) <= head.most_pan
        assert abs(head.tilt) <= head.most_tilt
        if lasts_s is None:
            assert (head.pan, head.tilt) == before
        else:
            assert was_still
            assert lasts_s == pytest.approx(
                max(abs(head.pan - before[0]), abs(head.tilt - before[1])) / head.speed
            )


def test_picture_taken_during_a_move_says_nothing() -> None:
    head = HEAD()
    assert head.turn(0.0, 0.1, 0.5, 0.0) == pytest.approx(0.25)
    still_s = head.still_at_s
    assert head.turn(still_s - 0.01, still_s + 0.1, 0.5, 0.0) is None
    assert head.turn(still_s + 0.01, still_s + 0.1, 0.5, 0.0) is not None
    assert head.pan == pytest.approx(1.0)


@pytest.mark.parametrize("is_search", [False, True])
def test_moves_of_a_running_stream_are_printed(is_search: bool) -> None:
    calibration = str(ROOT / "calibration" / "example_pinhole.yaml")
    asked = ("--camera", "demo", "--engine", "onnx", "--calibration", calibration)
    with Program(*asked) as program:
        command = [sys.executable, str(EXAMPLE), "--endpoint", program.pub]
        command += ["--search", calibration] if is_search else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
        finally:
            process.kill()
            process.communicate()
    for line in lines:
        assert re.fullmatch(r"pan +-?\d+\.\d  tilt +-?\d+\.\d degrees in \d\.\d\d s\n", line), line
    assert lines[0] != lines[1]


def test_trajectories_go_through_a_bridge() -> None:
    with RosBridge(2) as server:
        command = [sys.executable, "-m", "aam_edge.ros", "--url", server.url, str(EXAMPLE), "--ros"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            server.wait(lambda: server.has_subscriber("/aam/gaze/bearing"), "subscription")
            angle = math.radians(20)
            vector = {"x": -math.sin(angle), "y": 0.0, "z": math.cos(angle)}
            header = {"stamp": {"sec": 1_900_000_000, "nanosec": 0}, "frame_id": "camera"}
            bearing = {"header": header, "vector": vector}
            server.publish("/aam/gaze/bearing", "geometry_msgs/Vector3Stamped", bearing)
            topic = "/pan_tilt_controller/joint_trajectory"
            server.wait(lambda: server.messages[topic], "trajectory")
            (sent,) = server.messages[topic]
            assert sent["joint_names"] == ["pan", "tilt"]
            (point,) = sent["points"]
            assert point["positions"] == pytest.approx([angle, 0.0], abs=1e-6)
            lasts_s = point["time_from_start"]["sec"] + point["time_from_start"]["nanosec"] / 1e9
            assert lasts_s == pytest.approx(angle / 2, abs=1e-6)
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.communicate()


def test_search_goes_out_through_a_bridge() -> None:
    calibration = str(ROOT / "calibration" / "example_pinhole.yaml")
    asked = ("--camera", "demo", "--engine", "onnx")
    topic = "/pan_tilt_controller/joint_trajectory"
    with RosBridge(2) as server, Program(*asked) as program:
        command = [sys.executable, "-m", "aam_edge.ros", "--url", server.url, str(EXAMPLE), "--ros"]
        command += ["--search", calibration, "--endpoint", program.pub]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            server.wait(lambda: server.messages[topic], "trajectory")
            (point,) = server.messages[topic][0]["points"]
            assert 0 < max(map(abs, point["positions"])) <= math.radians(90)
        finally:
            process.kill()
            process.communicate()


def test_guide_names_what_there_is() -> None:
    guide = (ROOT / "docs" / "guides" / "pan_tilt.md").read_text()
    for name in re.findall(r"`(gaze\.\w+|ego\.\w+)[`=]", guide):
        assert name in known_settings(Config) or name == "gaze.yaw", name
    assert "examples/pan_tilt.py" in guide
