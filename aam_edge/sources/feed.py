"""A source's thread: reads it, hands on what comes, and opens it again when it is lost.

States: opening -> live -> ended for a file; live <-> lost for a camera, until it is stopped. A
camera that is lost is opened again after 0.25 s, 0.5 s, 1 s ... up to `retry_max_s`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

from aam_edge.config import SourceConfig
from aam_edge.errors import AamEdgeError, SourceError
from aam_edge.messages import Frame, Image, Sound
from aam_edge.recording.pcm import as_recorded
from aam_edge.sources.mailbox import Ended, Mailbox
from aam_edge.sources.sound_ring import SoundRing
from aam_edge.sources.source import Source

logger = logging.getLogger(__name__)
FIRST_RETRY_S = 0.25
OPEN_WITHIN_S = 30.0
STOP_WITHIN_S = 0.5
LATE_S = 1.0
"""Of several sources, the others' time once one is open."""
OPEN_POLL_S = 0.02


class SourceState(str, Enum):
    """What health says of a source."""

    OPENING = "opening"
    LIVE = "live"
    LOST = "lost"
    ENDED = "ended"


class Feed:
    """Owns a source and its thread; frames go to the mailbox, sound to the ring.

    `start`, `check` and `stop` are for the loop's thread. The counters may be read by any.
    """

    def __init__(
        self,
        source: Source,
        mailbox: Mailbox[Frame],
        ring: SoundRing | None = None,
        config: SourceConfig | None = None,
        shrink: Callable[[Image], Image] | None = None,
    ):
        """`shrink` makes the network's picture of a frame's: here, while the loop is at others."""
        config = config or SourceConfig()
        self.camera = source.camera
        self.state = SourceState.OPENING
        self.error = ""
        """What went wrong last, one line; empty once it goes well again."""
        self.failure: Exception | None = None
        """Why it was given up, if it was: the mailbox has ended then."""
        self.opened = self.lost = self.gap = 0
        self._source, self._mailbox, self._ring = source, mailbox, ring
        self._shrink = shrink
        self._stall_ns = round(config.stall_s * 1e9)
        self._retry_max_s = config.retry_max_s
        self._ready, self._stopped = threading.Event(), threading.Event()
        self._is_late = False
        self._heard = self._seen = 0
        self._seen_ns: int | None = None
        self._thread = threading.Thread(target=_run, args=(self,), daemon=True)
        self._thread.name = f"aam-source-{source.camera}"

    def start(self, timeout_s: float = OPEN_WITHIN_S) -> None:
        """Starts the thread and waits until the source is open; raises why it could not be."""
        start_all([self], timeout_s)

    @property
    def is_live(self) -> bool:
        """Whether the source shows what is now, as a camera does."""
        return self._source.is_live

    def check(self, now_ns: int) -> None:
        """Notices a live source that is silent; to be called a few times a second.

        Args:
            now_ns: any clock that runs on evenly, the same one in each call.
        """
        if self._heard != self._seen or self._seen_ns is None:
            self._seen, self._seen_ns = self._heard, now_ns
            return
        silent_ns = now_ns - self._seen_ns
        if self._source.is_live and self.state is SourceState.LIVE and silent_ns > self._stall_ns:
            self._lose(f"{self.camera} is silent for {silent_ns / 1e9:.1f} s")

    def stop(self) -> None:
        """Ends the thread; one that is stuck in a driver is left behind. Twice is fine."""
        self._stopped.set()
        self._source.interrupt()
        self._mailbox.end()
        if not self._thread.is_alive():
            return
        self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            logger.warning("source %s does not let go: left to itself", self.camera)

    def _lose(self, why: str) -> None:
        self.error = why
        if self.state is not SourceState.LOST:
            self.lost += 1
            self.state = SourceState.LOST
            if self.opened or self._is_late:  # else `start` raises it
                logger.warning("source %s is lost: %s", self.camera, why)

    def _live(self) -> None:
        if self.state is SourceState.LOST:
            logger.info("source %s is back", self.camera)
        self.state, self.error = SourceState.LIVE, ""

    def _with_small(self, frame: Frame) -> Frame:
        is_there = frame.recorded is not None and frame.recorded.image is not None
        # While one waits, the loop is slower than the source, and most would be made in vain.
        if self._shrink is None or is_there or not self._mailbox.keeps_next:
            return frame
        return replace(frame, small=self._shrink(frame.image))

    def _deliver(self, item: Frame | Sound) -> None:
        self._heard += 1
        if self.state is not SourceState.LIVE:
            self._live()
        if isinstance(item, Frame):
            self.gap += item.gap
            self._mailbox.put(self._with_small(item))
        elif self._ring is not None:
            self._ring.add(as_recorded(item))


def start_all(feeds: Sequence[Feed], timeout_s: float = OPEN_WITHIN_S) -> None:
    """Starts the threads and waits until the sources are open; raises why one could not be.

    Once one is open, the others have a second more. Whoever is later is waited for no longer: it
    comes when it comes, and a camera that fails then is opened again as one that is lost.
    """
    for feed in feeds:
        feed._thread.start()
    now_s = time.monotonic()
    end_s = now_s + timeout_s
    while waiting := [feed for feed in feeds if not feed._ready.is_set()]:
        if len(waiting) < len(feeds):
            end_s = min(end_s, now_s + LATE_S)
        if now_s >= end_s:
            break
        waiting[0]._ready.wait(min(OPEN_POLL_S, end_s - now_s) if len(feeds) > 1 else timeout_s)
        now_s = time.monotonic()
    for feed in feeds:
        if feed.failure is not None and not feed.opened:
            raise feed.failure
    _let_be(waiting, all_late=len(waiting) == len(feeds), timeout_s=timeout_s)


def _let_be(late: Sequence[Feed], *, all_late: bool, timeout_s: float) -> None:
    """Goes on without those that are not open yet; SourceError where that is all."""
    if all_late and late:
        for feed in late:
            feed.stop()
        values = f"{late[0].camera}: no answer for {timeout_s:g} s"
        raise SourceError("source does not open", values, "check the device or address")
    for feed in late:
        feed._is_late = True
        feed.error = f"{feed.camera} is not open yet"
        logger.warning("source %s takes its time: going on without it", feed.camera)


def _run(feed: Feed) -> None:
    """The thread's body."""
    try:
        _read_on(feed)
        feed.state = SourceState.ENDED
    except AamEdgeError as problem:
        feed.failure = problem
        feed._lose(str(problem))
    except Exception as problem:  # the top of a thread: whatever it is, the loop must hear of it
        logger.exception("source %s failed", feed.camera)
        feed.failure = problem
        feed._lose(repr(problem))
    finally:
        feed._mailbox.end()
        feed._ready.set()


def _read_on(feed: Feed) -> None:
    """Reads until the end, through losses of a live source; raises SourceError if that is final."""
    retry_s = FIRST_RETRY_S
    while not feed._stopped.is_set():
        heard = feed._heard
        try:
            _read_to_end(feed)
            return
        except SourceError as problem:
            if not (feed.opened or feed._is_late) or not feed._source.is_live:
                raise
            feed._lose(str(problem))
        # It was back for a while, so this is a new loss.
        retry_s = FIRST_RETRY_S if feed._heard != heard else min(2 * retry_s, feed._retry_max_s)
        feed._stopped.wait(min(retry_s, feed._retry_max_s))


def _read_to_end(feed: Feed) -> None:
    """One life of the source, from open to close."""
    source = feed._source
    try:
        source.open()
        feed.opened += 1
        if not feed.lost:
            feed._live()
        feed._ready.set()
        while not feed._stopped.is_set():
            feed._deliver(source.read())
    except Ended:
        return
    finally:
        source.close()
