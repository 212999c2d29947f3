"""The other end of the wire: messages of a running stream, in Python."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import zmq

from aam_edge import wire
from aam_edge.crops import Crops
from aam_edge.handshake import Handshake
from aam_edge.keys import ClientKey
from aam_edge.messages import Attention

logger = logging.getLogger(__name__)

RETRY_S = 2.0
"""Until a publisher that hung up on us is asked again: refused, ZeroMQ itself gives up."""
DEFAULT_ENDPOINT = "tcp://127.0.0.1:5560"


def subscribe(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    camera: str | None = None,
    prompt_index: int = 0,
    newest_only: bool = True,
    timeout_s: float | None = None,
    key: str | Path | None = None,
) -> Iterator[Attention]:
    """Iterates over a publisher's maps; ends when none came for `timeout_s`.

    Args:
        endpoint: of the publisher; it may start later.
        camera: its name, or None for all cameras and prompts.
        prompt_index: which of the camera's prompts.
        newest_only: a slow reader gets the newest map and loses older ones, with several cameras
            the newest of all; `seq` shows how many were lost.
        timeout_s: seconds without a map, None waits for ever.
        key: file that `aam-edge keys new NAME` has made, for a publisher that asks for keys. One
            that it does not know is said in the log; it is let in as soon as it is allowed.

    Raises:
        UsageError: the key cannot be used.
    """
    topic = b"attention/"
    if camera is not None:
        topic = wire.topic_bytes(f"attention/{camera}/{prompt_index}")
    for body in _bodies(endpoint, topic, newest_only=newest_only, timeout_s=timeout_s, key=key):
        yield Attention.from_bytes(body)


def subscribe_crops(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    camera: str | None = None,
    newest_only: bool = True,
    timeout_s: float | None = None,
    key: str | Path | None = None,
) -> Iterator[Crops]:
    """Iterates over a publisher's crops, which it makes with `--set gaze.crops=N`.

    Args:
        endpoint: of the publisher; it may start later.
        camera: its name, or None for all cameras.
        newest_only: a slow reader gets the newest crops and loses older ones.
        timeout_s: seconds without crops until it ends, None waits for ever.
        key: as in `subscribe`.
    """
    topic = b"crops/" if camera is None else wire.topic_bytes(f"crops/{camera}")
    for body in _bodies(endpoint, topic, newest_only=newest_only, timeout_s=timeout_s, key=key):
        yield Crops.from_bytes(body)


def _bodies(
    endpoint: str,
    topic: bytes,
    *,
    newest_only: bool,
    timeout_s: float | None,
    key: str | Path | None,
) -> Iterator[bytes]:
    known = None if key is None else ClientKey.read(Path(key).expanduser())
    with zmq.Context() as context, context.socket(zmq.SUB) as socket, Handshake(socket) as shake:
        socket.setsockopt(zmq.LINGER, 0)
        if newest_only:
            socket.setsockopt(zmq.CONFLATE, 1)
        if known is not None:
            known.put_on(socket)
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(endpoint)
        line = _Line(socket, shake, endpoint)
        while line.has_message(timeout_s):
            yield wire.split(socket.recv())[1]


class _Line:
    """A connected subscriber that says once when it is hung up on, and tries again."""

    def __init__(self, socket: zmq.Socket[bytes], shake: Handshake, endpoint: str) -> None:
        self._socket, self._shake, self._endpoint = socket, shake, endpoint
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(shake.monitor, zmq.POLLIN)
        self._retry_s = math.inf
        self._is_said = False

    def has_message(self, timeout_s: float | None) -> bool:
        """Whether one came in time; None waits for ever."""
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            due_s = min(deadline_s, self._retry_s)
            left_s = max(0.0, due_s - time.monotonic())
            ready = dict(self._poller.poll(None if due_s == math.inf else math.ceil(left_s * 1e3)))
            if self._socket in ready:
                self._is_said = False
                return True
            now_s = time.monotonic()
            if self._shake.has_failed():
                self._say()
                self._retry_s = now_s + RETRY_S
            elif now_s >= self._retry_s:
                self._connect_anew()
            elif now_s >= deadline_s:
                return False

    def _say(self) -> None:
        if not self._is_said:
            words = "%s hangs up: it asks for a key, or does not allow ours (aam-edge keys list)"
            logger.warning(words, self._endpoint)
        self._is_said = True

    def _connect_anew(self) -> None:
        self._retry_s = math.inf
        try:
            self._socket.disconnect(
                self._endpoint
            )  # or all came twice, if it had gone on by itself
        except zmq.ZMQError:
            logger.debug("%s was disconnected", self._endpoint)
        self._socket.connect(self._endpoint)
