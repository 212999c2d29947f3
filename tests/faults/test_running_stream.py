"""Fault after fault in the running program: maps go on, or stop, and come back; health says so."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import aam_edge
from aam_edge.recording.reader import Recording
from tests.faults.rig import Ear, Message, Rigged, hearing
from tests.program import Program, run
from tests.rosbridge import RosBridge

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]  # a busy machine is no defect
HOUR_S = 3600
DEADLINE_S = 55.0
STEPS_PER_S = os.sysconf("SC_CLK_TCK")


def lost(ear: Ear) -> Message:
    """The next health that says that the camera is lost."""
    return ear.wait_for("health", lambda health: health["source_state"] == {"0": "lost"})


def sink_says(ear: Ear, name: str, words: str) -> Message:
    """The next health in which an output's state is this."""
    return ear.wait_for("health", lambda health: health["sinks"].get(name) == words)


def cpu_s(program: Program) -> float:
    """Time on the processor so far."""
    fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / STEPS_PER_S


def test_camera_stalls_is_pulled_and_comes_back_with_another_size() -> None:
    quick = ("--set", "source.stall_s=0.5", "--set", "source.retry_max_s=0.3")
    with Rigged(*quick) as program, hearing(program) as ear:
        before = ear.maps(10)[-1]
        assert before["image"] == [640, 480]

        program.turn("stall")  # grab does not come back
        assert lost(ear)["warnings"][0].startswith("0: 0 is silent for ")
        program.turn("resume")
        after = ear.wait_for("attention/", lambda shown: shown["dt_s"] > 0.4)
        assert after["seq"] - before["seq"] < 30  # none was made of old pictures meanwhile

        program.turn("unplug")  # grab fails, and so does each opening
        lost(ear)
        start_s = cpu_s(program)
        lost(ear)
        assert cpu_s(program) - start_s < 0.5  # of about a second: no spinning
        program.turn("size 320x240")
        program.turn("plug_in")
        assert ear.wait_for("attention/", lambda shown: shown["image"] == [320, 240])
        ear.health("ok")

        program.turn("size 640x360")  # without being pulled
        shown = ear.wait_for("attention/", lambda shown: shown["image"] == [640, 360])
        assert abs(sum_of(shown) - 1) < 1e-3

        program.turn("stall")  # and never comes back
        lost(ear)
        assert program.stop(signal.SIGINT) < 3
        assert program.process.returncode == 0


def sum_of(shown: Message) -> float:
    data = shown["map"]
    return float(np.frombuffer(data["data"], data["dtype"]).astype(float).sum() * data["scale"])


def test_wrong_stamps_and_a_stepped_clock_leave_ages_true() -> None:
    with Rigged() as program, hearing(program) as ear:
        ear.maps(3)
        first = ear.maps(1)[0]
        for dial in (
            f"stamps {HOUR_S}",
            f"stamps -{HOUR_S}",
            "stamps 0",
            f"clock {HOUR_S}",
            f"clock -{HOUR_S}",
            "clock 0",
        ):
            program.turn(dial)
            ear.maps(5)  # those that were under way
            shown = ear.maps(5)[-1]
            assert 0 <= shown["publish_ns"] - shown["capture_ns"] < 2_000_000_000, dial
            assert 0 < shown["dt_s"] < 2, dial
            assert abs(sum_of(shown) - 1) < 1e-3
        health = ear.health("ok")
        assert health["source_state"] == {"0": "live"}
        assert shown["seq"] >= first["seq"] + 60


def test_disk_that_is_full_or_read_only_is_said_and_used_again(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    arguments = ("--record", str(path), "--set", "record.retry_s=0.2")
    with Rigged(*arguments) as program, hearing(program) as ear:
        ear.maps(20)
        for name in ("EROFS", "ENOSPC"):
            program.turn(f"disk {name}")
            trouble = f"cannot write: {os.strerror(getattr(errno, name))}"
            bad = sink_says(ear, "record", trouble)
            assert bad["maps"] == "ok"
            ear.maps(5)
            program.turn("disk ok")
            sink_says(ear, "record", "ok")
            ear.maps(10)
        assert program.stop() < 3
        assert program.process.returncode == 0
    files = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(files) >= 3
    for file in files:
        with Recording(file) as recording:
            assert recording.index.damaged == 0
            assert recording.index.counts
            assert recording.index.is_whole or file != files[-1]


def test_bridge_that_stops_reading_slows_nobody() -> None:
    with RosBridge() as server, Rigged("--ros", server.url) as program, hearing(program) as ear:
        ear.wait_for("health", lambda health: health["sinks"]["ros"] == "ok")
        server.wait(lambda: server.messages["/aam/gaze"], "gaze")
        server.reads = False
        slow = "the ROS bridge is slow: messages are dropped"
        bad = ear.wait_for("health", lambda health: health["sinks"]["ros"] == slow)
        assert bad["maps"] == "ok"
        ear.maps(5)
        server.reads = True
        ear.wait_for("health", lambda health: health["sinks"]["ros"] == "ok")


def test_neither_a_second_program_nor_a_slow_subscriber_hurts_the_stream() -> None:
    with Rigged() as program, hearing(program) as ear:
        ear.maps(1)
        quiet = ("--control", "none", "--page", "none")
        second = run("--camera", "synthetic", "--pub", program.pub, *quiet)
        assert second.returncode == 5
        assert second.stderr.count("\n") == 1
        assert f"port is in use ({program.pub})" in second.stderr

        pause, ages_s = threading.Event(), []
        for shown in aam_edge.subscribe(program.pub):
            ages_s.append((time.time_ns() - shown.capture_ns) / 1e9)
            pause.wait(0.2)  # the slow consumer itself
            if len(ages_s) == 20:
                break
        # In 4 s it reads one map of six; out of a queue the last would be 3 s older.
        assert max(ages_s[10:]) < max(ages_s[:10]) + 1
        ear.maps(30)


def test_first_start_without_network_and_with_an_empty_home_makes_maps(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to unshare the network")
    quiet = [
        "--pub",
        "none",
        "--control",
        "none",
        "--page",
        "none",
        "--frames",
        "5",
        "--engine",
        "onnx",
    ]
    command = [sys.executable, "-m", "aam_edge.cli.main", "--prompt", "search for cup", *quiet]
    empty = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        ["unshare", "-rn", *command],
        env=os.environ | empty,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "first map" in done.stderr
