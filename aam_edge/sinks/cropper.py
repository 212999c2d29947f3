"""Makes crops beside the loop: a thread encodes, the loop hands out what is ready.

The loop leaves the newest frame of each camera, at most `gaze.crops_hz` times a second of its own
time, and takes what the thread has finished: some milliseconds later, with the next frame. Nobody
waits; a frame that came before the last one was done takes its place and is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from aam_edge.config import GazeConfig
from aam_edge.crops import Crops, crop_targets
from aam_edge.messages import Attention, Frame

logger = logging.getLogger(__name__)
CLOSE_S = 0.5


class Cropper:
    """Frames and maps in, crops out. All but the thread's own work belongs to the loop."""

    def __init__(self, config: GazeConfig) -> None:
        self.dropped = 0
        self._config = config
        self._period_ns = round(1e9 / config.crops_hz)
        self._next_ns: dict[str, int] = {}
        self._sequence: dict[str, int] = {}
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[Frame, tuple[Attention, ...]]] = {}
        self._done: list[Crops] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="aam-crops", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Takes a frame with its maps where the time of its camera has come."""
        due_ns = self._next_ns.get(frame.camera, 0)
        # Far before the time that was due: the camera's clock was set back.
        if due_ns - self._period_ns <= frame.capture_ns < due_ns:
            return
        self._next_ns[frame.camera] = frame.capture_ns + self._period_ns
        with self._changed:
            self.dropped += frame.camera in self._waiting
            self._waiting[frame.camera] = frame, tuple(attentions)
            self._changed.notify()

    def take(self) -> list[Crops]:
        """What has been finished since, numbered and stamped."""
        with self._changed:
            done, self._done = self._done, []
        return [self._numbered(crops) for crops in done]

    def close(self) -> None:
        """Ends the thread; twice is fine."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _numbered(self, crops: Crops) -> Crops:
        sequence = self._sequence.get(crops.camera, 0)
        self._sequence[crops.camera] = sequence + 1
        return crops.published(sequence, time.time_ns())

    def _work(self) -> None:
        """The thread."""
        try:
            while not self._is_closed:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._is_closed)
                    waiting, self._waiting = self._waiting, {}
                done = [self._made(*given) for given in waiting.values()]
                with self._changed:
                    self._done += done
        except Exception:  # the top of a thread
            logger.exception("crops stopped")

    def _made(self, frame: Frame, attentions: tuple[Attention, ...]) -> Crops:
        config = self._config
        return crop_targets(
            frame,
            attentions,
            count=config.crops,
            side_px=config.crop_px,
            form=config.crop_form,
        )
