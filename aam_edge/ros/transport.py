"""The one place that meets roslibpy: its asyncio transport, with its waits made short.

A process has one transport of roslibpy: autobahn below it binds one framework for good. Ours is
asyncio; whoever has used the other one in this process before us is told so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from aam_edge.errors import SinkError, UsageError

DEFAULT_URL = "ws://127.0.0.1:9090"
PING_S, PONG_S = 2.0, 5.0
"""A bridge whose cable was pulled is noticed after so long."""
HANDSHAKE_S = 5.0
OLDEST = (2, 1)


def open_ros(
    url: str,
    first_retry_s: float,
    retry_max_s: float,
    opened: Callable[[Any], None],
    closed: Callable[[Any], None],
) -> Any:
    """A `roslibpy.Ros` that connects in the background from its `start` on.

    Args:
        url: ws://host:port.
        first_retry_s: wait after the first failed try; it grows from try to try.
        retry_max_s: its bound. roslibpy's own grows to an hour.
        opened: called with the protocol on each connection, in roslibpy's thread.
        closed: the same at its end.
    """
    roslibpy = _import()
    # Its lines tell of each try and print traces; the bridge tells what matters in its own words.
    logging.getLogger("roslibpy").setLevel(logging.CRITICAL)
    logging.getLogger("autobahn").setLevel(logging.CRITICAL)

    class Ros(roslibpy.Ros):  # type: ignore[misc, name-defined]
        """Sets what must stand before the first try, and makes it when it is told to."""

        def connect(self) -> None:  # the constructor's
            factory = self.factory
            factory.initialDelay, factory.maxDelay = first_retry_s, retry_max_s
            factory.setProtocolOptions(
                autoPingInterval=PING_S,
                autoPingTimeout=PONG_S,
                openHandshakeTimeout=HANDSHAKE_S,
                closeHandshakeTimeout=0.5,
                tcpNoDelay=True,
            )
            factory.on("ready", opened)
            factory.on("close", closed)

        def start(self) -> None:
            super().connect()

    try:
        return Ros(url, transport="asyncio")
    except RuntimeError as problem:
        todo = "call roslibpy.set_default_transport('asyncio') before its first use"
        raise SinkError("roslibpy already runs on Twisted", "one transport a process", todo) from (
            problem
        )


def check_url(url: str) -> str:
    """The address of a bridge; UsageError if it is none."""
    parts = urlsplit(url)
    try:
        is_address = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError("not the address of a ROS bridge", url, f"give --ros {DEFAULT_URL}")
    return url


def _import() -> Any:
    try:
        import roslibpy
    except ImportError as problem:
        todo = "pip install aam-edge[ros]"
        raise SinkError("ROS needs a library", f"roslibpy: {problem}", todo) from problem
    version = tuple(int(part) for part in roslibpy.__version__.split(".")[:2])
    if version < OLDEST:
        todo = "pip install aam-edge[ros]"
        raise SinkError("roslibpy is too old", roslibpy.__version__, todo)
    return roslibpy
