"""SIGTERM and kill -9 at random moments of a program's life, its start and its end included."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgpack
import pytest
import zmq

from aam_edge.errors import DataError
from aam_edge.recording.reader import Recording
from tests.faults.rig import FEW, FEW_KILLS, MANY
from tests.program import Program, listening

pytestmark = pytest.mark.faults
STOP_S = 1.0
"""For half of the stops; a machine that has other things to do may take longer over some."""
RUNS_ON_S = 1.5
"""Moments reach so far behind the first map."""
RECORDS_S = 4.0
EARLY_EACH = 5
"""Of so many kills one falls before the first map."""


def forms(few: int) -> pytest.MarkDecorator:
    """A short form for every day and a long one; each moment is drawn from its own seed."""
    short = pytest.param(range(few), marks=pytest.mark.timeout(180), id="short")
    marks = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(7200)]
    long = pytest.param(range(MANY), marks=marks, id="long")
    return pytest.mark.parametrize("seeds", [short, long])


@pytest.fixture(scope="module")
def start_s() -> float:
    """How long this machine takes to the first map."""
    begin = time.monotonic()
    with Program("--camera", "synthetic", "--engine", "onnx") as program:
        program.wait_for("first map")
    return time.monotonic() - begin


def catches(process_id: int, number: int) -> bool:
    """Whether a process has its own handler of a signal, or ignores it; False once it is gone."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return False
    masks = re.findall(r"^Sig(?:Cgt|Ign):\t([0-9a-f]+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def is_free(endpoint: str) -> bool:
    """Whether a port can be bound again, at once."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", urlsplit(endpoint).port or 0))
        except OSError:
            return False
    return True


def stop_at(moment_s: float, folder: Path) -> tuple[bool, float]:
    """SIGTERM after so long; whether the program had its handlers by then, and how long it took."""
    path = folder / "run.mcap"
    arguments = ("--camera", "synthetic", "--engine", "onnx", "--record", str(path))
    with Program(*arguments, page="127.0.0.1:0", start_new_session=True) as program:
        process = program.process
        threading.Event().wait(moment_s)
        is_ours = catches(process.pid, signal.SIGTERM)
        took_s = program.stop()
        allowed = {0} if is_ours else {0, -signal.SIGTERM}
        assert process.returncode in allowed, (moment_s, process.returncode, program.lines)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert is_free(program.pub)
        assert is_free(program.control)
    for left in folder.iterdir():
        with Recording(left) as recording:
            assert recording.index.is_whole, (moment_s, left)
    return is_ours, took_s


@forms(FEW)
def test_sigterm_at_any_moment_ends_with_zero_and_leaves_nothing_behind(
    seeds: range, tmp_path: Path, start_s: float
) -> None:
    took, early = list[tuple[float, float]](), 0
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        moment_s = random.Random(seed).uniform(0, start_s + RUNS_ON_S)
        is_ours, took_s = stop_at(moment_s, folder)
        early += not is_ours
        took.append((took_s, moment_s))
    took.sort()
    told = ", ".join(f"{took[int(part * (len(took) - 1))][0]:.2f}" for part in (0.5, 0.9, 1.0))
    sys.stdout.write(
        f"{len(took)} stops, {early} before the handlers; median, p90, longest: {told} s\n"
    )
    assert took[len(took) // 2][0] < STOP_S, took[-5:]


def kill_at(moment_s: float, path: Path, *, is_early: bool) -> list[int]:
    """kill -9 so long after the start or the first map; when the maps heard had been sent."""
    arguments = ("--camera", "synthetic", "--engine", "onnx", "--record", str(path))
    with Program(*arguments) as program, listening(program.pub, b"attention/") as subscriber:
        if not is_early:
            program.wait_for("first map")
        end_s, sent = time.monotonic() + moment_s, list[int]()
        while (rest_s := end_s - time.monotonic()) > 0:
            if subscriber.poll(int(rest_s * 1e3), zmq.POLLIN):
                body = subscriber.recv().split(b"\0", 1)[1]
                sent.append(int(msgpack.unpackb(body)["publish_ns"]))
        program.stop(signal.SIGKILL)
    return sent


def recorded_until(path: Path) -> int:
    """Log time of the last message that can be read; 0 if there is none."""
    if not path.exists():
        return 0
    try:
        with Recording(path) as recording:
            assert recording.index.damaged == 0
            return max((item.log_ns for item in recording.items() if item.topic), default=0)
    except DataError:  # says that nothing is in it yet
        return 0


@forms(FEW_KILLS)
def test_recording_is_readable_up_to_its_last_second_whenever_the_power_goes(
    seeds: range, tmp_path: Path, start_s: float
) -> None:
    lost, empty = [], 0
    for seed in seeds:
        path = tmp_path / f"{seed}.mcap"
        moment_s, is_early = random.Random(seed).random(), not seed % EARLY_EACH
        moment_s *= start_s if is_early else RECORDS_S
        sent = kill_at(moment_s, path, is_early=is_early)
        until_ns = recorded_until(path)
        empty += not until_ns
        if sent:
            lost.append((sent[-1] - (until_ns or sent[0])) / 1e9)
    lost.sort()
    told = f"{len(seeds)} kills, {empty} before anything was written"
    sys.stdout.write(f"{told}, {len(lost)} while it recorded; lost at most: {lost[-1:]} s\n")
    assert not lost or lost[-1] < 1.0
