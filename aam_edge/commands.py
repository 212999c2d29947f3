"""What running streams can be told, from the control socket, the page or ROS: one door, one answer.

Any thread submits; the loop alone executes, between two frames, so that no command meets a
half-done step.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from aam_edge.errors import one_line

Command = dict[str, Any]
Answer = dict[str, Any]

WAITING_AT_MOST = 64
ENDS = "stream ends"


def refusal(error: str) -> Answer:
    """The answer to a command that changed nothing."""
    return {"ok": False, "error": one_line(error)}


class Commands:
    """Commands on their way to the loop."""

    def __init__(self) -> None:
        self.why_silent: Callable[[], str] = lambda: ""
        """What the loop is doing while it does not answer; may be asked by any thread."""
        self._waiting: queue.Queue[tuple[Command, Future[Answer]]] = queue.Queue(WAITING_AT_MOST)
        self._has_ended = False
        self._turn = threading.Lock()

    def submit(self, command: Command, timeout_s: float = 5.0) -> Answer:
        """Hands a command over and waits for the answer, `{"ok": ..., ...}`; never raises."""
        future: Future[Answer] = Future()
        with self._turn:  # so that none goes in behind the end, where nobody looks any more
            if self._has_ended:
                return refusal(ENDS)
            try:
                self._waiting.put_nowait((command, future))
            except queue.Full:
                return refusal("too many commands are waiting")
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            why = self.why_silent()
            return refusal(f"no answer within {timeout_s:g} s" + (f" ({why})" if why else ""))

    def execute(self, how: Callable[[Command], Answer]) -> None:
        """Runs all that wait, in the loop's thread."""
        while not self._waiting.empty():  # nobody else takes from it
            command, future = self._waiting.get_nowait()
            if future.set_running_or_notify_cancel():
                answer = refusal(ENDS)  # where `how` ends the loop instead
                try:
                    answer = how(command)
                finally:
                    future.set_result(answer)

    def end(self) -> None:
        """Answers what waits, and from now on what comes, at once: no loop looks after it."""
        with self._turn:
            self._has_ended = True
        self.execute(lambda command: refusal(ENDS))
