"""Whether the other end of a socket hangs up on us, as a stream does on an unknown key.

ZeroMQ tries again for ever and says nothing; its monitor does.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Handshake:
    """Watches the handshakes of one socket, from before it connects; belongs to its thread."""

    def __init__(self, socket: zmq.Socket[Any]) -> None:
        self._socket = socket
        self.monitor = socket.get_monitor_socket(FAILED)
        """Readable when one has failed."""

    def has_failed(self) -> bool:
        """Whether one has failed since the last call."""
        found = False
        while self.monitor.poll(0):
            recv_monitor_message(self.monitor)
            found = True
        return found

    def __enter__(self) -> Handshake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.disable_monitor()
        self.monitor.close(linger=0)
