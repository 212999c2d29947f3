"""What `train fit` says while it runs, and how it is stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("lightning_fabric", reason="needs the extra [train]")

from aam_edge.cli.train_watcher import TrainWatcher
from aam_edge.training.run.trainer import Told

STEP = Told(epoch=0, steps=1, total=8, loss=0.5, pictures=12)


def test_plain_lines_tell_loss_rate_and_time_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainWatcher() as watcher:
        watcher.step(STEP)
        watcher.step(replace(STEP, steps=2))  # too soon for another line
        watcher.say("epoch 1: CC 0.8")
    first, second = capsys.readouterr().err.splitlines()
    wanted = r"epoch 1, step 1 of 8, loss 0\.500, [0-9.]+ images/s, ETA [0-9:]+"
    assert re.fullmatch(wanted, first)
    assert second == "epoch 1: CC 0.8"


def test_quiet_run_tells_what_is_amiss_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainWatcher(is_quiet=True) as watcher:
        watcher.step(STEP)
        watcher.say("epoch 1: CC 0.8")
        watcher.say("aam-edge: checkpoint cannot be written")
    assert capsys.readouterr().err == "aam-edge: checkpoint cannot be written\n"


def test_processes_beside_the_first_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with TrainWatcher() as watcher:
        watcher.step(STEP)
    assert capsys.readouterr().err == ""


TWICE = """
import signal, sys
from aam_edge.cli.train_watcher import TrainWatcher
number = signal.Signals(int(sys.argv[1]))
before = signal.getsignal(number)
with TrainWatcher(is_quiet=True) as watcher:
    signal.raise_signal(number)
    assert watcher.wants_stop
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        print("stopped at once")
assert signal.getsignal(number) == before
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_stops_after_the_step_and_a_second_at_once(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(int(number))],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.stdout == "stopped at once\n", done.stderr
