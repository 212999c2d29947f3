"""How far a long command has come: a bar in a terminal, else a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_EACH_S = 5.0


class Progress:
    """Counts files and maps, on standard error.

    Args:
        files: how many there are.
        is_quiet: only `say` speaks.
    """

    def __init__(self, files: int, *, is_quiet: bool = False) -> None:
        self._files, self._files_done, self._maps = files, 0, 0
        self.is_quiet = is_quiet
        self._started_s = self._line_s = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty() and not is_quiet:
            self._bar = Bar(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("files, maps: {task.fields[maps]} ({task.fields[rate]:.1f} maps/s)"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=files, maps=0, rate=0.0)

    @property
    def maps(self) -> int:
        """Maps made so far."""
        return self._maps

    @property
    def rate_hz(self) -> float:
        """Maps a second since the beginning."""
        return self._maps / max(1e-9, time.monotonic() - self._started_s)

    def add_map(self) -> None:
        """One map is written."""
        self._maps += 1
        self._show()

    def add_file(self) -> None:
        """One file is done with, well or not."""
        self._files_done += 1
        self._show()

    def say(self, line: str) -> None:
        """Writes a line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self._files_done, maps=self._maps, rate=self.rate_hz
            )
            return
        now_s = time.monotonic()
        if not self.is_quiet and now_s - self._line_s >= LINE_EACH_S:
            self._line_s = now_s
            counts = f"files: {self._files_done} of {self._files}, maps: {self._maps}"
            self.say(f"{counts} ({self.rate_hz:.1f} maps/s)")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
