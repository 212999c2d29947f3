"""What the viewers, Foxglove and rerun, have in common: a slot a camera, a thread, a pace.

The loop leaves the newest picture of each camera with its maps and goes on; the thread makes
messages of it, at most `view.fps` a second for each camera. What is overtaken is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aam_edge.errors import SinkError
from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import Attention, Frame, Health
from aam_edge.sinks.address import is_loopback

logger = logging.getLogger(__name__)

CLOSE_S = 0.8

Lens = Callable[[str, tuple[int, int]], Intrinsics | None]
"""Camera and size (W, H) of its pictures to its calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture and its maps."""

    frame: Frame
    attentions: tuple[Attention, ...]


class Viewer(Protocol):
    """A viewer's door. All calls come from one thread."""

    def show(self, seen: Seen) -> None:
        """A picture and its maps."""

    def report(self, health: Health) -> None:
        """Once a second."""

    def close(self) -> None:
        """Lets go of everything."""


class ViewerSink:
    """A viewer as a sink."""

    def __init__(self, name: str, viewer: Viewer, fps: float) -> None:
        """Takes the viewer over: its own thread alone uses and closes it."""
        self.name = name
        self.dropped = 0
        self._viewer, self._period_s = viewer, 1 / fps
        self._slots: dict[str, Seen] = {}
        self._due_s: dict[str, float] = {}
        self._health: Health | None = None
        self._changed = threading.Condition()
        self._is_closed = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"aam-{name}", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Leaves the picture for the viewer, over an older one, when its time has come."""
        now_s = time.monotonic()
        if now_s < self._due_s.get(frame.camera, 0.0):
            return
        self._due_s[frame.camera] = now_s + self._period_s
        with self._changed:
            self.dropped += frame.camera in self._slots
            self._slots[frame.camera] = Seen(frame, tuple(attentions))
            self._changed.notify()

    def offer_health(self, health: Health) -> None:
        """Shown too."""
        with self._changed:
            self._health = health
            self._changed.notify()

    def state(self) -> str:
        """`ok`, or what is wrong."""
        return self._trouble or "ok"

    def close(self) -> None:
        """Ends the thread; twice is fine."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        """The thread's body."""
        try:
            while self._step():
                pass
        except Exception as problem:  # the top of a thread
            self._trouble = f"stopped: {problem}"
            logger.exception("%s stopped", self.name)
        finally:
            self._viewer.close()

    def _step(self) -> bool:
        """Shows what there is; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._health or self._is_closed)
            slots, self._slots = self._slots, {}
            health, self._health = self._health, None
            if self._is_closed:
                return False
        for seen in slots.values():
            self._viewer.show(seen)
        if health is not None:
            self._viewer.report(health)
        return True


def check_address(host: str, place: str, *, insecure: bool) -> None:
    """SinkError for an address that other machines reach, unless that is asked for."""
    if is_loopback(host):
        return
    if not insecure:
        todo = "take 127.0.0.1, or open it to everybody with --set net.insecure=true"
        raise SinkError("viewer would be open to the network", place, todo)
    logger.warning("viewer is open to everybody who reaches %s", place)
