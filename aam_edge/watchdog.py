"""Tells systemd that the stream lives (sd_notify): a datagram to the socket in NOTIFY_SOCKET.

    READY=1       everything is open and the first map is out
    WATCHDOG=1    a new frame has become a map since the last one
    STATUS=...    rate and warnings, for `systemctl status`
    STOPPING=1    at the end

Only what the robot needs counts as life: a loop that turns without new maps is not fed, and
systemd starts the program again. Pausing by command is no death.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence

from aam_edge.messages import Attention, Frame, Health
from aam_edge.pulse import PAUSED

logger = logging.getLogger(__name__)


class Watchdog:
    """A sink that feeds systemd's watchdog; datagrams do not block."""

    name = "watchdog"
    dropped = 0

    def __init__(self, address: str, interval_s: float | None) -> None:
        """`address` as in NOTIFY_SOCKET; feeds four times in `interval_s`, None: never."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._interval_s = None if interval_s is None else interval_s / 4
        self._last: dict[str, tuple[int, int]] = {}
        self._fed_s: float | None = None
        self._is_ready = self._is_closed = False
        self._trouble = ""

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Feeds if this is a map of a frame that was not there before."""
        frame_id, capture_ns = self._last.get(frame.camera, (None, None))
        if attentions and frame_id != frame.frame_id and capture_ns != frame.capture_ns:
            self._last[frame.camera] = (frame.frame_id, frame.capture_ns)
            self._feed(time.monotonic())

    def offer_health(self, health: Health) -> None:
        """Shows how it goes."""
        if health.maps == PAUSED:
            self._feed(time.monotonic())
        words = health.trouble or "ok"
        self._send(f"STATUS={health.rate_hz:.1f} maps/s, {' '.join(words.split())}")

    def state(self) -> str:
        """`ok`, or why systemd does not hear us."""
        return self._trouble or "ok"

    def close(self) -> None:
        """Says that the end is meant; twice is fine."""
        if not self._is_closed:
            self._send("STOPPING=1")
            self._is_closed = True
            self._socket.close()

    def _feed(self, now_s: float) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")
        if self._interval_s is None:
            return
        if self._fed_s is None or now_s - self._fed_s >= self._interval_s:
            self._fed_s = now_s
            self._send("WATCHDOG=1")

    def _send(self, words: str) -> None:
        try:
            self._socket.sendto(words.encode(), self._address)
        except OSError as problem:
            if not self._trouble:
                logger.warning("systemd cannot be told: %s", problem)
            self._trouble = f"systemd cannot be told: {problem.strerror}"
        else:
            self._trouble = ""


def find_watchdog(environment: Mapping[str, str], process_id: int) -> Watchdog | None:
    """The watchdog that systemd asks for in a process's environment; None if it does not."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    interval = environment.get("WATCHDOG_USEC", "")
    is_meant = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
    if interval.isdecimal() and int(interval) and is_meant:
        return Watchdog(address, int(interval) / 1e6)
    return Watchdog(address, None)
