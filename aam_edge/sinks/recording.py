"""The recording: everything that is seen, heard and published, into MCAP files (CONTRACT 4).

The loop hands over references and goes on. A thread of its own makes JPEGs and messages and writes
them. Between the two is a queue with room for `record.queue_mb`; what does not fit is refused and
counted. A disk that is full or gone is said once, what comes is counted as dropped, and every few
seconds a new file is tried.

So that a re-run gives the same maps bit for bit, the file holds what the network took in: its
picture exactly, its sound in 16 bit (as which it is heard already), and its state at the start, at
every command that changes it, behind every hole, and each `record.state_s`. A new file begins at
such a state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aam_edge.config import RecordConfig
from aam_edge.messages import Attention, Frame, Health, Observation
from aam_edge.sinks.recording_files import RecordingFiles
from aam_edge.sinks.recording_steps import Item, Plan, Reported, Step, Turned

logger = logging.getLogger(__name__)

CLOSE_S = 0.6
"""What is still in the queue after so long at the end is given up."""
TICK_S = 0.1
"""Longest wait for an item before chunks that are old enough are written."""

State = dict[str, Any]


class Waiting:
    """The queue: bounded by bytes, first in first out."""

    def __init__(self, room_bytes: int, *, waits: bool):
        """With `waits` a full queue makes the giver wait: for files of which every frame counts."""
        self._items: deque[Item] = deque()
        self._room, self._waits = room_bytes, waits
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Whether there was room."""
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: self._fits(item) or self._ended)
            if self._ended or not self._fits(item):
                return False
            self._items.append(item)
            self._bytes += item.size_bytes
            self._changed.notify_all()
            return True

    def _fits(self, item: Item) -> bool:
        # One alone always fits, however large its picture.
        return not self._items or self._bytes + item.size_bytes <= self._room

    def take(self, timeout_s: float) -> Item | None:
        """The next item, None if none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item.size_bytes
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Nothing more is taken in; what is inside can still be taken out."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def has_ended(self) -> bool:
        """Whether it is empty for good."""
        with self._changed:
            return self._ended and not self._items

    def __len__(self) -> int:
        return len(self._items)


class RecordingSink:
    """The recording as a sink; the file is made in the constructor, which raises SinkError."""

    name = "record"

    def __init__(self, config: RecordConfig, *, waits: bool = False):
        """`waits`: the loop waits for the writer instead of losing frames (`--pace every`)."""
        assert config.file is not None, "a recording needs a file"
        self._config = config
        self._files = RecordingFiles(Path(config.file), config)
        self._queue = Waiting(config.queue_mb << 20, waits=waits)
        self._refused = 0
        self._wants_state = True
        self._state_due_s = 0.0
        self._changes = -1
        self._state: State | None = None
        self._give_up = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, run: dict[str, Any], plan: Plan) -> None:
        """Starts to write, now that it is known what runs; `run` becomes run.yaml in the file."""
        arguments = (self._queue, self._files, run, plan, self._give_up)
        self._thread = threading.Thread(
            target=_write, args=arguments, name="aam-record", daemon=True
        )
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._files.path

    @property
    def waiting(self) -> int:
        """Steps and reports that are not written yet, but for the one under way."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Frames that are not in the recording: refused by the full queue, or lost with a disk."""
        return self._refused + self._files.lost

    def before_step(self, take_state: Callable[[], State], changes: int) -> None:
        """Keeps the state that the next step begins with, where it is needed.

        Args:
            take_state: gives a copy of the stream's state.
            changes: commands so far that changed it.
        """
        now_s = time.monotonic()
        is_due = now_s >= self._state_due_s or changes != self._changes
        if self._wants_state or is_due or self._files.wants_new:
            self._state = take_state()
            self._state_due_s = now_s + self._config.state_s
            self._changes = changes

    def offer_step(
        self,
        observation: Observation,
        attentions: Sequence[Attention],
        *,
        together: bool = False,
    ) -> None:
        """What the network took in, beside others or not, and what was published of it."""
        step = Step(observation, tuple(attentions), self._state, together)
        self._state = None
        if not self._queue.put(step):
            # Behind a hole the state is another than a re-run has.
            self._wants_state = True
            self._refused += 1
        elif step.state is not None:
            self._wants_state = False

    def offer_gyro(self, samples: Sequence[tuple[int, tuple[float, float, float]]]) -> None:
        """What the gyro said since the last call: UNIX nanoseconds, and rad/s."""
        if samples:
            self._queue.put(Turned(list(samples), time.time_ns()))

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Nothing: a recording needs the whole observation, see `offer_step`."""

    def offer_health(self, health: Health) -> None:
        """Recorded too."""
        self._queue.put(Reported(health, time.time_ns()))

    def state(self) -> str:
        """`ok`, or what is wrong."""
        if self._files.trouble:
            return self._files.trouble
        return "slow: frames are refused" if self._wants_state and self._refused else "ok"

    def close(self) -> None:
        """Writes what waits and the file's index; twice is fine."""
        self._queue.end()
        if self._thread is None:
            self._files.discard()
            return
        self._thread.join(CLOSE_S)
        self._give_up.set()
        self._thread.join(1.0 - CLOSE_S)
        if self._thread.is_alive():
            logger.warning("recording %s is not closed in time", self.path)


def _write(
    queue: Waiting,
    files: RecordingFiles,
    run: dict[str, Any],
    plan: Plan,
    give_up: threading.Event,
) -> None:
    """The thread's body: writes until the queue ends."""
    try:
        files.begin(run, plan)
        while not (queue.has_ended or give_up.is_set()):
            item = queue.take(TICK_S)
            if item is not None:
                files.write(item)
            files.tick()
        files.lost += len(queue)
        if len(queue):
            logger.warning("recording: %d steps are given up at the end", len(queue))
    except Exception:  # the top of a thread: the stream goes on, health tells
        logger.exception("recording failed")
        files.trouble = "stopped by a defect, see the log"
        queue.end()
    finally:
        files.close()
