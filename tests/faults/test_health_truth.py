"""Health is bad soon after the last fresh map, whatever the reason, and says the reason."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aam_edge.commands import Commands
from aam_edge.recording.reader import Recording
from tests.faults.rig import Message, Rigged, hearing

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]  # a busy machine is no defect
SOON_S = 3.0
"""Two seconds, and one for a machine that has other things to do."""


def assert_bad(health: Message) -> None:
    assert health["map_age_s"] < SOON_S
    assert health["rate_hz"] < 30


FAULTS = (
    ("stall", "0: source gives no pictures for", "resume"),
    ("unplug", "0: source lost: ", "plug_in"),
    ("stick network", "network is stuck for", "free network"),
    ("stick page", "sink page is stuck for", "free page"),
)
"""What happens, what health says, and what ends it."""


def test_health_says_why_no_maps_leave_and_when_they_do_again() -> None:
    # So slow to notice a silent camera that health must see it by itself.
    rare = ("--set", "source.stall_s=30", "--set", "source.retry_max_s=0.3")
    with Rigged(*rare, page="127.0.0.1:0") as program, hearing(program) as ear:
        for fault, words, cure in FAULTS:
            good = ear.health("ok")
            assert good["cameras"]["0"]["maps"] == "ok"
            ear.maps(5)
            program.turn(fault)
            bad = ear.health(words)
            assert_bad(bad)
            assert words.removeprefix("0: ") in bad["cameras"]["0"]["maps"]
            program.turn(cure)
        ear.health("ok")
        program.ask({"cmd": "pause"})
        ear.health("paused by command")
        program.ask({"cmd": "resume"})
        ear.health("ok")


def test_opening_is_said_while_a_camera_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        with Rigged(camera=address) as program, hearing(program) as ear:
            assert ear.health("opening: cameras")["map_age_s"] is None
            assert program.stop() < SOON_S
            assert program.process.returncode == 0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30.0)
        yield listener


def next_words(systemd: socket.socket, start: str) -> str:
    while not (words := systemd.recv(4096).decode()).startswith(start):
        pass
    return words


def environment(systemd: socket.socket) -> dict[str, str]:
    return os.environ | {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"}


def test_watchdog_hungers_while_no_maps_leave_and_status_says_why(
    systemd: socket.socket,
) -> None:
    with Rigged("--frames", "90", env=environment(systemd)) as program:
        next_words(systemd, "WATCHDOG=1")
        program.turn("stick network")
        while "is stuck" not in next_words(systemd, "STATUS="):
            pass
        # It goes on to speak of itself, and nothing of that is food.
        heard = {systemd.recv(4096).decode().partition(",")[0] for _ in range(3)}
        assert heard == {"STATUS=0.0 maps/s"}
        program.turn("free network")
        next_words(systemd, "WATCHDOG=1")
        while not next_words(systemd, "STATUS=").endswith("no fresh maps: the frames are over"):
            pass
        next_words(systemd, "STOPPING=1")
        assert program.process.wait(30) == 0


def test_program_that_is_stuck_in_its_network_still_stops_and_its_recording_is_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stuck.mcap"
    with Rigged("--record", str(path)) as program, hearing(program) as ear:
        ear.maps(10)
        program.turn("stick network")
        ear.health("network is stuck")
        assert program.stop(signal.SIGTERM) < SOON_S
        assert program.process.returncode == 0
        program.wait_for("what runs does not come back")
    with Recording(path) as recording:
        assert recording.index.is_whole
        assert recording.index.counts


def test_command_that_the_loop_cannot_answer_is_told_why() -> None:
    commands = Commands()
    commands.why_silent = lambda: "network is stuck for 3.0 s"
    answer = commands.submit({"cmd": "status"}, timeout_s=0.01)
    assert answer == {"ok": False, "error": "no answer within 0.01 s (network is stuck for 3.0 s)"}
