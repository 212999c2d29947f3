"""For tests: the rigged program, and what it says of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
import zmq

from tests.program import Program, listening

Message = dict[str, Any]
FEW = 6
FEW_KILLS = 2
"""More are in tests/test_record_killed.py."""
MANY = 100


class Rigged(Program):
    """The program with dials (see `rigged.py`), with the stand-in camera unless told otherwise."""

    entry = (str(Path(__file__).with_name("rigged.py")),)

    def __init__(self, *arguments: str, camera: str = "0", page: str = "none", **popen: Any):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        given = ("--camera", camera, "--engine", "onnx", *arguments)
        super().__init__(*given, page=page, **pipes, **popen)

    def turn(self, dial: str) -> None:
        """Turns a dial and waits until that is done."""
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{dial}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    def __enter__(self) -> Rigged:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, problem, trace)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Ear:
    """Hears a running program's messages, in their order."""

    def __init__(self, subscriber: zmq.Socket[bytes]) -> None:
        self._subscriber = subscriber

    def next(self, topic: str) -> Message:
        """The next message of a topic; others are passed over."""
        while True:
            name, body = self._subscriber.recv().split(b"\0", 1)
            if name.decode().startswith(topic):
                return dict(msgpack.unpackb(body))

    def wait_for(self, topic: str, is_it: Callable[[Message], bool]) -> Message:
        """The next message that is what is waited for."""
        while True:
            message = self.next(topic)
            if is_it(message):
                return message

    def health(self, words: str) -> Message:
        """The next health whose `maps` has these words."""
        return self.wait_for("health", lambda health: words in health["maps"])

    def maps(self, count: int) -> list[Message]:
        """The next so many maps."""
        return [self.next("attention/") for _ in range(count)]


@contextmanager
def hearing(program: Program) -> Iterator[Ear]:
    """An ear for maps and health."""
    with listening(program.pub, b"") as subscriber:
        yield Ear(subscriber)
