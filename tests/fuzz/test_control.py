"""Strangers at the control socket: whatever comes, there is an answer and the stream goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import strategies as st

import aam_edge
from aam_edge import wire
from aam_edge.commands import Answer, Command, Commands
from aam_edge.messages import Frame, Health
from aam_edge.model_api import Stream
from aam_edge.sinks.zmq import answer
from aam_edge.steering import Steering
from tests.conftest import START_NS, scene
from tests.fuzz.attack import MANY, attack, corpus, replayed, stands, times
from tests.fuzz.mutation import bytes_like, tree_like
from tests.program import Program

HEALTH = Health(
    rate_hz=30.0, latency_ms={}, stages_ms={}, dropped={}, source_state={}, sinks={},
    engine="", device="", rss_bytes=0, uptime_s=0.0,
)  # fmt: skip
STEP_NS = 33_333_333


class Direct(Commands):
    """Commands without a loop between: executed by whoever submits them."""

    def __init__(self, stream: Stream):
        super().__init__()
        self._steering = Steering(stream, lambda: HEALTH, ["test"])

    def submit(self, command: Command, timeout_s: float = 5.0) -> Answer:
        return self._steering.execute(command)


class Control:
    """A stream of small pictures behind the control socket's door."""

    def __init__(self) -> None:
        self.stream = aam_edge.load("nano", engine="onnx").stream(["free viewing", "cup"])
        self.stream.step(self.frame(0))
        self.stream.step(self.frame(1))
        self.snapshot = wire.unpack(self.ask(wire.pack({"cmd": "snapshot"})))["snapshot"]
        self._number = 1

    def frame(self, number: int) -> Frame:
        return Frame(scene(number, 128, 96), START_NS + number * STEP_NS, "test", number)

    def ask(self, message: bytes) -> bytes:
        return answer(message, Direct(self.stream))

    def door(self, message: bytes) -> None:
        """Answered, one line in it where it is refused, and the next picture still has a map."""
        answered = wire.unpack(self.ask(message))
        assert answered["ok"] in (True, False)
        if not answered["ok"]:
            line = answered["error"]
            assert line.isprintable(), f"not one clean line: {line!r}"
            assert len(line) < 1000, f"{len(line)} characters"
        self._number += 1
        for attention in self.stream.step(self.frame(self._number)):
            assert abs(float(attention.density.sum()) - 1) < 1e-3
            attention.to_bytes()

    def messages(self) -> st.SearchStrategy[bytes]:
        """Commands with strange values, snapshots with strange parts, and broken msgpack."""
        plain: list[dict[str, Any]] = [
            {"cmd": "status"},
            {"cmd": "status", "camera": "test"},
            {"cmd": "set_prompt", "prompt": "cup", "index": 1},
            {"cmd": "set_prompt", "prompt": "dog", "camera": "test"},
            {"cmd": "pause", "camera": "test"},
            {"cmd": "resume"},
            {"cmd": "reset", "camera": "test"},
            {"cmd": "restore", "snapshot": b""},
        ]
        whole = wire.pack({"cmd": "restore", "snapshot": self.snapshot})
        commands = tree_like(plain, [b"x" * 1000, ["test"], {"test": 1}]).map(packed)
        snapshots = tree_like([wire.unpack(self.snapshot)], [b"", b"x" * 8]).map(
            lambda tree: packed({"cmd": "restore", "snapshot": packed(tree)})
        )
        return st.one_of(commands, snapshots, bytes_like([*map(wire.pack, plain), whole]))


def packed(tree: Any) -> bytes:
    """msgpack, strange integers as what it can hold, halves of characters as they are."""
    return bytes(msgpack.packb(tree, default=str, unicode_errors="surrogatepass"))


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    made = Control()
    yield made
    made.stream.close()


@times()
def test_no_message_breaks_the_control_socket(cases: int, control: Control) -> None:
    attack(control.door, control.messages(), cases)


@replayed("control")
def test_messages_that_broke_the_control_socket_once(case: Path, control: Control) -> None:
    stands(control.door, case.read_bytes())


def test_running_program_answers_every_stranger_and_goes_on(control: Control) -> None:
    with Program("--camera", "synthetic", "--prompt", "cup", "--prompt", "dog") as program:
        program.wait_for("publishing")

        def door(message: bytes) -> None:
            assert wire.unpack(program.ask_bytes(message))["ok"] in (True, False)

        ask: Callable[[bytes], None] = door
        for case in corpus("control"):
            ask(case.read_bytes())
        attack(ask, control.messages(), MANY // 10)
        assert program.ask({"cmd": "status"})["ok"]
        program.stop()
        assert program.process.returncode == 0
    assert not any("Traceback" in line for line in program.lines)
