"""One life of the connection to a bridge: what leaves, what is asked, and how far behind it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aam_edge.ros.dialect import Dialect

BEHIND_S = 1.0
"""A bridge that has not read for so long gets nothing more until it has."""
WRITE_BUFFER_BYTES = 1 << 20
MESSAGE_BYTES = 10_000_000
"""rosbridge closes the connection at more."""
GET_TIME = "/rosapi/get_time"

Tree = dict[str, Any]
Answered = Callable[[Tree | None, str], None]
"""Gets the values, or None and why there are none; called in the bridge's thread."""

_numbers = count(1)


@dataclass(eq=False)
class Session:
    """Made when the connection opens; of no use after its end."""

    proto: Any
    """roslibpy's protocol: `send_message` and `send_ros_service_request`, for any thread."""
    dialect: Dialect | None = None
    """None until the bridge has said, or failed to say, what it is."""
    has_rosapi: bool = False
    beat_s: float = 0.0
    """When our side of the connection last had its turn."""
    _asked_s: float | None = None
    _waiting: dict[str, Answered] = field(default_factory=dict)

    def send(self, tree: Tree) -> bool:
        """Sends one operation; False if no bridge would take so much."""
        text = json.dumps(tree, separators=(",", ":")).encode()
        if len(text) <= MESSAGE_BYTES:
            self.proto.send_message(text)
        return len(text) <= MESSAGE_BYTES

    def call(self, service: str, arguments: Tree, answered: Answered) -> str:
        """Calls a service; `answered` is called once, at the latest by `fail`."""
        call_id = f"call_service:{service}:{next(_numbers)}"
        request = {"op": "call_service", "id": call_id, "service": service, "args": arguments}
        self._waiting[call_id] = answered

        def done(values: Any, problem: str) -> None:
            waiting = self._waiting.pop(call_id, None)
            if waiting is not None:
                waiting(None if values is None else dict(values), problem)

        self.proto.send_ros_service_request(
            request, lambda values: done(values, ""), lambda problem: done(None, str(problem))
        )
        return call_id

    def forget(self, call_id: str) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(call_id, None)

    def fail(self, why: str) -> None:
        """Answers all calls that are open: the connection has ended."""
        while self._waiting:
            try:
                _, answered = self._waiting.popitem()
            except KeyError:  # answered meanwhile
                return
            answered(None, why)

    def beat(self) -> None:
        """Asks how far the bridge has read, unless a question is still open."""
        self.beat_s = time.monotonic()
        if self._asked_s is None:
            self._asked_s = self.beat_s
            self.call(GET_TIME, {}, self._heard)

    def _heard(self, values: Tree | None, problem: str) -> None:
        self._asked_s = None

    def is_behind(self) -> bool:
        """Whether more would only lengthen a queue: of the bridge, the system, or our thread."""
        if self.has_rosapi:
            oldest_s = self.beat_s if self._asked_s is None else self._asked_s
            if time.monotonic() - oldest_s > BEHIND_S:
                return True
        transport = getattr(self.proto, "transport", None)
        return bool(getattr(transport, "get_write_buffer_size", int)() > WRITE_BUFFER_BYTES)


def dialect_of(time_answer: Tree | None) -> Dialect:
    """Which ROS answers /rosapi/get_time in this way."""
    stamp = (time_answer or {}).get("time")
    names = stamp.keys() if isinstance(stamp, dict) else ()
    if "nanosec" in names:
        return Dialect.ROS_2
    return Dialect.ROS_1 if "nsecs" in names else Dialect.UNKNOWN
