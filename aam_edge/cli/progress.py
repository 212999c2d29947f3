"""How far a long command has come: a bar in a terminal, else a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

LINE_EACH_S = 5.0
Shown = TypeVar("Shown", bound="BarOrLines")


class BarOrLines:
    """A bar where standard error is a terminal, else lines; used with `with`."""

    def __init__(self, *columns: ProgressColumn, is_quiet: bool, stays: bool, **fields: Any):
        """What is shown.

        Args:
            columns: of the bar.
            is_quiet: no bar, and no lines but those of `say`.
            stays: the bar is left standing when it ends.
            **fields: what `rich` is told of the task, such as its total.
        """
        self.is_quiet = is_quiet
        self._began_s = self._line_s = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty() and not is_quiet:
            self._bar = Bar(*columns, console=Console(stderr=True), transient=not stays)
            self._task = self._bar.add_task("", **fields)

    def say(self, line: str) -> None:
        """Writes a line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _show(self, line: Callable[[], str], *, is_first: bool = False, **fields: Any) -> None:
        """Moves the bar; without one, writes the line if its time has come."""
        now_s = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, **fields)
        elif not self.is_quiet and (is_first or now_s - self._line_s >= LINE_EACH_S):
            self._line_s = now_s
            self.say(line())

    def __enter__(self: Shown) -> Shown:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class Progress(BarOrLines):
    """Counts files and maps, on standard error.

    Args:
        files: how many there are.
        is_quiet: only `say` speaks.
    """

    def __init__(self, files: int, *, is_quiet: bool = False) -> None:
        super().__init__(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, maps: {task.fields[maps]} ({task.fields[rate]:.1f} maps/s)"),
            TimeRemainingColumn(),
            is_quiet=is_quiet,
            stays=False,
            total=files,
            maps=0,
            rate=0.0,
        )
        self._files, self._files_done, self._maps = files, 0, 0

    @property
    def maps(self) -> int:
        """Maps made so far."""
        return self._maps

    @property
    def rate_hz(self) -> float:
        """Maps a second since the beginning."""
        return self._maps / max(1e-9, time.monotonic() - self._began_s)

    def add_map(self) -> None:
        """One map is written."""
        self._maps += 1
        self._count()

    def add_file(self) -> None:
        """One file is done with, well or not."""
        self._files_done += 1
        self._count()

    def _count(self) -> None:
        self._show(self._line, completed=self._files_done, maps=self._maps, rate=self.rate_hz)

    def _line(self) -> str:
        counts = f"files: {self._files_done} of {self._files}, maps: {self._maps}"
        return f"{counts} ({self.rate_hz:.1f} maps/s)"
