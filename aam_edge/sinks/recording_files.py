"""The files of one recording: the next one when it is time, and what to do when a disk fails."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import yaml

from aam_edge.config import RecordConfig
from aam_edge.errors import SinkError
from aam_edge.recording import topics
from aam_edge.recording.writer import RecordingFile
from aam_edge.sinks.recording_steps import Item, Plan, Step, StepWriter

logger = logging.getLogger(__name__)


class RecordingFiles:
    """Owns the file that is written; all but the properties is for the writer's thread.

    The first file is made in the constructor, which raises SinkError if it cannot be.
    """

    def __init__(self, path: Path, config: RecordConfig):
        self._wanted, self._config = path, config
        self._run: dict[str, Any] = {}
        self._plan: Plan | None = None
        self._file: RecordingFile | None
        try:
            self._file = RecordingFile(free_path(path))
        except OSError as problem:
            why = f"{path}: {problem.strerror}"
            raise SinkError("recording cannot be written", why, "choose another --record") from None
        self.path = self._file.path
        """The file that is written, or was last."""
        self._steps: StepWriter | None = None
        self.lost = 0
        """Steps that could not be written, those of a chunk that never reached the disk too."""
        self.trouble = ""
        """What is wrong, empty if nothing is."""
        self._lost_before = 0
        self._in_memory = 0
        """Steps of the chunk that is not written yet."""
        self._chunks = 0
        self._retry_at_s = 0.0
        self._begun_s = time.monotonic()

    @property
    def wants_new(self) -> bool:
        """Whether the next step should bring the state that a new file begins with."""
        file, config = self._file, self._config
        if file is None:
            return time.monotonic() >= self._retry_at_s
        age_s = time.monotonic() - self._begun_s
        is_large = config.max_mb is not None and file.size_bytes >= config.max_mb << 20
        return is_large or (config.max_s is not None and age_s >= config.max_s)

    def begin(self, run: dict[str, Any], plan: Plan) -> None:
        """From now on steps can be written."""
        self._run, self._plan = {"schema": topics.SCHEMA} | run, plan
        logger.info("recording to %s", self.path)
        try:
            self._begin_file()
        except OSError as problem:
            self._fail(problem)

    def write(self, item: Item) -> None:
        """Writes an item, first into a new file where it is time for one; a failure is counted."""
        is_step = isinstance(item, Step)
        try:
            if isinstance(item, Step) and item.state is not None and self.wants_new:
                self._next_file()
            if self._steps is not None:
                self._steps.write(item)  # a state ends the chunk before it
                self._see_chunks()
                self._in_memory += is_step
                return
        except OSError as problem:
            self._fail(problem)
        self.lost += is_step

    def tick(self) -> None:
        """Puts on the disk what has been in memory for long enough."""
        if self._file is not None:
            try:
                self._file.tick()
                self._see_chunks()
            except OSError as problem:
                self._fail(problem)

    def close(self) -> None:
        """Ends the file; twice is fine."""
        self._retry_at_s = float("inf")
        if self._file is not None:
            try:
                self._file.close()
            except OSError as problem:
                count = self._lose_memory()
                what = f"its index and {count} steps" if count else "its index"
                logger.error("recording %s lacks %s: %s", self.path, what, problem.strerror)
        elif self.lost > self._lost_before:
            logger.warning("recording has ended, steps lost: %d", self.lost - self._lost_before)
            self._lost_before = self.lost
        self._file = self._steps = None

    def discard(self) -> None:
        """Takes the first file away again, in which nothing is yet."""
        is_open = self._file is not None
        self.close()
        if is_open:
            self.path.unlink(missing_ok=True)

    def _begin_file(self) -> None:
        assert self._file is not None, "a file is open"
        assert self._plan is not None, "begin comes first"
        text = yaml.safe_dump(self._run, sort_keys=False, allow_unicode=True).encode()
        self._file.attach(topics.RUN, "application/yaml", text, time.time_ns())
        self._steps = StepWriter(self._file, self._plan)
        self._begun_s = time.monotonic()

    def _next_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = RecordingFile(free_path(self._wanted))
        self.path = self._file.path
        self._in_memory = self._chunks = 0
        self._begin_file()
        logger.info("recording goes on in %s", self.path)
        if self.trouble:
            logger.warning("recording is back, steps lost: %d", self.lost - self._lost_before)
        self.trouble, self._lost_before = "", self.lost

    def _see_chunks(self) -> None:
        """Steps whose chunk has been written are safe."""
        if self._file is not None and self._file.chunks != self._chunks:
            self._chunks, self._in_memory = self._file.chunks, 0

    def _lose_memory(self) -> int:
        """Counts the steps that were in memory alone when a file failed."""
        self._see_chunks()
        count, self._in_memory = self._in_memory, 0
        self.lost += count
        return count

    def _fail(self, problem: OSError) -> None:
        """Gives the file up; it is whole up to its last record."""
        self._retry_at_s = time.monotonic() + self._config.retry_s
        if not self.trouble:
            self.trouble = f"cannot write: {problem.strerror}"
            logger.error(
                "recording stops (%s: %s): the stream goes on; make room",
                self.path,
                problem.strerror,
            )
        self._lose_memory()
        if self._file is not None:
            self._file.abandon()
        self._file = self._steps = None


def free_path(wanted: Path) -> Path:
    """The path, with a number where a file of that name is there: a.mcap, a-2.mcap, a-3.mcap."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path
