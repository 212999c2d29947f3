"""The real command in a process of its own, for tests from the outside."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import zmq

from aam_edge import wire

DEADLINE_S = 90.0


def free_endpoint() -> str:
    """An address on loopback that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def run(*arguments: str, timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aam_edge.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Program:
    """A stream that runs until it is told to stop; its stderr is read line by line."""

    entry: tuple[str, ...] = ("-m", "aam_edge.cli.main")

    def __init__(self, *arguments: str, page: str = "none", **popen: Any):
        """`popen` goes to `subprocess.Popen`."""
        self.pub, self.control = free_endpoint(), free_endpoint()
        sockets = ["--pub", self.pub, "--control", self.control, "--page", page]
        command = [sys.executable, *self.entry, *arguments, *sockets]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, **popen
        )
        self.lines: list[str] = []
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._arrived.put(line)
        self._arrived.put(None)

    def wait_for(self, words: str, timeout_s: float = DEADLINE_S) -> str:
        """The next line with these words; fails when the program ends or the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no '{words}' in time, got: {self.lines}") from None
            if line is None:
                raise AssertionError(f"ended without '{words}', got: {self.lines}")
            self.lines.append(line)
            if words in line:
                return line

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """The answer of the control socket."""
        return wire.unpack(self.ask_bytes(wire.pack(command)))

    def ask_bytes(self, message: bytes) -> bytes:
        """The answer to raw bytes."""
        with zmq.Context() as context, context.socket(zmq.REQ) as request:
            request.setsockopt(zmq.LINGER, 0)
            request.connect(self.control)
            request.send(message)
            assert request.poll(int(DEADLINE_S * 1000)), "no answer"
            return request.recv()

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Sends a signal; returns the seconds until the process has ended."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(DEADLINE_S)
        return time.monotonic() - start

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def listening(endpoint: str, topic: bytes) -> Iterator[zmq.Socket[bytes]]:
    """A plain subscriber as any user writes it."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.setsockopt(zmq.LINGER, 0)
        subscriber.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        subscriber.setsockopt(zmq.SUBSCRIBE, topic)
        subscriber.connect(endpoint)
        yield subscriber
