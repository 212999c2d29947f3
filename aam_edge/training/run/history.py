"""How a run went, line by line: `log.jsonl`, and event files for TensorBoard beside it.

A line is a step (`steps`, `epoch`, `loss`, `parts`, `rate`, `pictures_per_s`) or a validation
(`steps`, `epoch`, `val`). A run that goes on from a checkpoint takes the lines behind it back.
"""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

from aam_edge.errors import DataError
from aam_edge.training.run.settings import RunConfig

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class History:
    """Writes what happens; only the first process of a run does.

    Lines are kept until `flush`, so that a full disk is met where checkpoints are written.
    """

    def __init__(self, out: Path, config: RunConfig, *, is_first: bool):
        self.path, self._is_first = out / LOG, is_first
        self._wants_board = config.save.tensorboard
        self._board: Any = None
        self._waiting: list[str] = []
        self._clock_s = time.monotonic()

    def begin(self, steps: int) -> None:
        """Goes on behind a step; later lines go."""
        self._clock_s = time.monotonic()
        if not self._is_first:
            return
        kept = [line for line in self.lines() if line["steps"] <= steps]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        part.replace(self.path)
        if self._wants_board:
            self._board = _open_board(self.path.parent, steps)

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far; one that was cut off by a kill is no line."""
        if not self.path.exists():
            return []
        found = []
        for text in self.path.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:  # noqa: PERF203  # the last line at most
                break
        return found

    def step(
        self, epoch: int, steps: int, parts: dict[str, float], rate: float, pictures: int
    ) -> None:
        """A step is done; `pictures` in all processes."""
        now_s = time.monotonic()
        seconds, self._clock_s = now_s - self._clock_s, now_s
        loss, per_s = sum(parts.values()), pictures / max(seconds, 1e-9)
        self._add(
            {
                "steps": steps, "epoch": epoch, "loss": loss, "parts": parts, "rate": rate,
                "pictures_per_s": round(per_s, 2),
            }
        )  # fmt: skip
        if self._board is not None:
            self._board.add_scalar("loss/all", loss, steps)
            for name, part in parts.items():
                self._board.add_scalar(f"loss/{name}", part, steps)
            self._board.add_scalar("speed/pictures_per_s", per_s, steps)
            self._board.add_scalar("rate", rate, steps)

    def scores(self, scores: dict[str, Any]) -> None:
        """A validation."""
        self._add(scores)
        self._clock_s = time.monotonic()
        if self._board is not None:
            for name, row in scores["val"].items():
                for metric, value in row.items():
                    tag = re.sub(r"[^A-Za-z0-9_./-]", "_", f"{name}/{metric}")
                    self._board.add_scalar(tag, value, scores["steps"])

    def _add(self, line: dict[str, Any]) -> None:
        if self._is_first:
            self._waiting.append(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Writes what waits; DataError where the disk is full."""
        if not self._is_first:
            return
        try:
            with self.path.open("a") as file:
                file.writelines(self._waiting)
            self._waiting.clear()
            if self._board is not None:
                self._board.flush()
        except OSError as problem:
            raise DataError("log cannot be written", self.path, "make room") from problem

    def close(self) -> None:
        """Closes the event file; twice is fine."""
        if self._board is not None:
            self._board.close()
            self._board = None


def _open_board(folder: Path, steps: int) -> Any:
    """Event files for TensorBoard, or None where the library is missing."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        logger.info("no event files: tensorboardX is missing (pip install aam-edge[train])")
        return None
    return SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
