"""Commands to a stream that ends: answered at once, so that nobody waits and nothing is held up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from aam_edge.commands import Answer, Command, Commands
from aam_edge.config import load_config
from aam_edge.errors import SourceError
from aam_edge.runtime import Runtime
from tests.recordings import QUIET, Kept
from tests.test_runtime import DEADLINE_S

STATUS: Command = {"cmd": "status"}
ENDS: Answer = {"ok": False, "error": "stream ends"}


class Asking(Kept):
    """A sink that asks something while it closes, as one does whose client asked just then."""

    name = "asking"

    def __init__(self) -> None:
        super().__init__()
        self.ask: Callable[[], Answer] | None = None
        self.answer: Answer | None = None

    def close(self) -> None:
        assert self.ask is not None
        self.answer = self.ask()


def run(sink: Asking, **options: object) -> None:
    runtime = Runtime(load_config(options=QUIET | options), [sink])
    sink.ask = lambda: runtime.commands.submit(STATUS, DEADLINE_S)
    runtime.run(Event())


def test_commands_that_wait_and_that_come_later_are_answered_when_the_stream_ends() -> None:
    commands = Commands()
    with ThreadPoolExecutor(3) as clients:
        # Whether one is handed over before the end or after it: it is answered.
        asked = [clients.submit(commands.submit, STATUS, DEADLINE_S) for _ in range(3)]
        commands.end()
        assert [its.result(DEADLINE_S) for its in asked] == [ENDS] * 3
    assert commands.submit(STATUS, DEADLINE_S) == ENDS


def test_command_that_ends_the_loop_is_answered_too() -> None:
    commands = Commands()

    def broken(command: Command) -> Answer:
        raise RuntimeError("a defect")

    def loop(asked: Future[Answer]) -> None:
        while not asked.done():
            commands.execute(broken)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(commands.submit, STATUS, DEADLINE_S)
        with pytest.raises(RuntimeError, match="a defect"):
            loop(asked)
        assert asked.result(DEADLINE_S) == ENDS


def test_sink_that_waits_for_an_answer_does_not_hold_up_the_end_of_a_stream() -> None:
    sink = Asking()
    run(sink, **{"source.cameras": ("synthetic",), "frames": 2})
    assert sink.answer == ENDS


def test_sink_that_waits_for_an_answer_does_not_hold_up_a_start_that_fails() -> None:
    sink = Asking()
    with pytest.raises(SourceError):
        run(sink, **{"source.cameras": ("no-such-file.mp4",)})
    assert sink.answer == ENDS
