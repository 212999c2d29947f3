"""What `train fit` shows: a bar in a terminal, else a plain line every few seconds."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from aam_edge.cli.progress import BarOrLines

if TYPE_CHECKING:
    from aam_edge.training.run.trainer import Told

SMOOTH_STEPS = 50
"""Over which loss and rate are told."""
STOPPING = (signal.SIGINT, signal.SIGTERM)


class TrainWatcher(BarOrLines):
    """Shows loss, pictures a second and time to go; a first signal stops the run after its step.

    Processes of a run beside the first say nothing.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        is_quiet = is_quiet or os.environ.get("LOCAL_RANK", "0") != "0"
        is_quiet |= os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")) != "0"
        super().__init__(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epoch {task.fields[epoch]}  loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} images/s  ETA"),
            TimeRemainingColumn(),
            is_quiet=is_quiet,
            stays=True,
            total=None,
            epoch=0,
            loss="-",
            rate="-",
        )
        self.wants_stop = False
        self._recent: deque[tuple[float, Told]] = deque(maxlen=SMOOTH_STEPS)
        self._handlers: dict[int, Any] = {}

    def step(self, told: Told) -> None:
        """A step is done."""
        self._recent.append((time.monotonic(), told))
        self._show(
            lambda: self._line(told),
            is_first=told.steps == 1,
            completed=told.steps,
            total=told.total,
            epoch=told.epoch + 1,
            loss=f"{self._loss:.3f}",
            rate=f"{self._rate_hz:.1f}",
        )

    def say(self, line: str) -> None:
        """Writes a line that stays; what is amiss, even quietly."""
        if not self.is_quiet or line.startswith("aam-edge: "):
            super().say(line)

    def _line(self, told: Told) -> str:
        to_go_s = (told.total - told.steps) * self._step_s
        return (
            f"epoch {told.epoch + 1}, step {told.steps} of {told.total}, loss {self._loss:.3f}, "
            f"{self._rate_hz:.1f} images/s, ETA {_clock(to_go_s)}"
        )

    @property
    def _loss(self) -> float:
        return sum(told.loss for _, told in self._recent) / len(self._recent)

    @property
    def _step_s(self) -> float:
        if len(self._recent) < 2:
            return time.monotonic() - self._began_s
        return (self._recent[-1][0] - self._recent[0][0]) / (len(self._recent) - 1)

    @property
    def _rate_hz(self) -> float:
        pictures = sum(told.pictures for _, told in self._recent) / len(self._recent)
        return pictures / max(1e-9, self._step_s)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.wants_stop:  # asked twice: at once
            raise KeyboardInterrupt
        self.wants_stop = True
        self.say("stops after this step")

    def __enter__(self) -> TrainWatcher:
        self._handlers = {number: signal.signal(number, self._stop) for number in STOPPING}
        super().__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        super().__exit__(*problem)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}"
