"""What systemd hears of a stream: new maps alone count as life."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aam_edge.messages import Attention, Frame
from aam_edge.pulse import PAUSED
from aam_edge.watchdog import Watchdog, find_watchdog
from tests.test_ros_sink import HEALTH, attention, frame_of

DEADLINE_S = 30.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(DEADLINE_S)
        yield listener


def said(systemd: socket.socket) -> list[str]:
    systemd.setblocking(False)
    words = []
    try:
        while True:
            words.append(systemd.recv(4096).decode())
    except BlockingIOError:
        return words


def shown(number: int) -> tuple[Frame, list[Attention]]:
    one = replace(attention(number), capture_ns=number)
    return frame_of(one), [one]


def test_first_map_is_ready_and_each_new_one_is_life(systemd: socket.socket) -> None:
    watchdog = Watchdog(systemd.getsockname(), 0.0)
    assert said(systemd) == []
    watchdog.offer(*shown(1))
    watchdog.offer(*shown(2))
    watchdog.close()
    watchdog.close()
    assert said(systemd) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_the_same_frame_again_and_frames_without_maps_are_no_life(systemd: socket.socket) -> None:
    watchdog = Watchdog(systemd.getsockname(), 0.0)
    frame, maps = shown(1)
    watchdog.offer(frame, [])
    assert said(systemd) == []
    watchdog.offer(frame, maps)
    assert said(systemd) == ["READY=1", "WATCHDOG=1"]
    watchdog.offer(frame, maps)
    watchdog.offer_health(HEALTH)
    assert said(systemd) == ["STATUS=30.0 maps/s, ok"]
    watchdog.close()


def test_loop_that_turns_without_maps_is_not_fed_and_a_paused_one_is(
    systemd: socket.socket,
) -> None:
    watchdog = Watchdog(systemd.getsockname(), 0.0)
    watchdog.offer(*shown(1))
    said(systemd)
    watchdog.offer_health(replace(HEALTH, warnings=("camera\nis lost",)))
    assert said(systemd) == ["STATUS=30.0 maps/s, camera is lost"]
    watchdog.offer_health(replace(HEALTH, maps=PAUSED))
    assert said(systemd) == ["WATCHDOG=1", f"STATUS=30.0 maps/s, no fresh maps: {PAUSED}"]
    watchdog.close()


def test_many_maps_are_told_a_few_times_only(systemd: socket.socket) -> None:
    watchdog = Watchdog(systemd.getsockname(), 3600.0)
    for number in range(100):
        watchdog.offer(*shown(number))
    assert said(systemd) == ["READY=1", "WATCHDOG=1"]
    watchdog.close()


def test_systemd_that_does_not_listen_is_said_in_the_state(tmp_path: Path) -> None:
    watchdog = Watchdog(str(tmp_path / "nobody"), 1.0)
    watchdog.offer(*shown(1))
    assert "systemd cannot be told" in watchdog.state()
    watchdog.close()


def test_watchdog_is_there_only_where_systemd_asks_for_it() -> None:
    assert find_watchdog({}, 5) is None
    assert find_watchdog({"NOTIFY_SOCKET": "nonsense"}, 5) is None
    environment = {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": "5"}
    for process_id, interval_s in ((5, 2.0), (6, None)):
        watchdog = find_watchdog(environment, process_id)
        assert watchdog is not None
        assert watchdog._interval_s == interval_s
        watchdog.close()


def test_a_running_stream_tells_systemd_and_says_good_bye(systemd: socket.socket) -> None:
    command = [sys.executable, "-m", "aam_edge.cli.main", "--camera", "synthetic"]
    sockets = ["--pub", "none", "--control", "none", "--page", "none"]
    environment = os.environ | {
        "NOTIFY_SOCKET": systemd.getsockname(),
        "WATCHDOG_USEC": "400000",
    }
    process = subprocess.Popen([*command, *sockets, "--quiet"], env=environment)
    try:
        opening = systemd.recv(4096)
        while opening != b"READY=1":
            assert opening.startswith(b"STATUS=0.0 maps/s")
            opening = systemd.recv(4096)
        heard = {systemd.recv(4096).decode().partition("=")[0] for _ in range(12)}
        assert heard == {"WATCHDOG", "STATUS"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert said(systemd)[-1] == "STOPPING=1"
    finally:
        process.kill()
        process.wait()


def test_frames_of_two_cameras_do_not_hide_each_other(systemd: socket.socket) -> None:
    watchdog = Watchdog(systemd.getsockname(), 0.0)
    image = np.zeros((4, 4, 3), np.uint8)
    for camera in ("left", "right"):
        watchdog.offer(Frame(image.copy(), 1, camera, 1), [attention()])
    assert said(systemd) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    watchdog.close()
