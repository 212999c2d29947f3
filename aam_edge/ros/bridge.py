"""One connection to rosbridge, and what must hold over its losses.

roslibpy brings the websocket, its reconnecting and the matching of answers. What it does not do
well is done here: registrations are sent again on each connection, before anything is published;
a message that cannot leave now is dropped and counted, never stored; the wait between two tries
stays short; a bridge that is dead or behind is noticed.

On each connection: ask `/rosapi/get_time` (the names of its fields tell ROS 1 from ROS 2), then
advertise and subscribe, then messages may leave. The same question goes out each half second: its
answer comes after all that was sent before, so its age is the age of what the bridge has read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aam_edge.ros.dialect import Dialect
from aam_edge.ros.fragments import Fragments
from aam_edge.ros.session import GET_TIME, Answered, Session, Tree, dialect_of
from aam_edge.ros.transport import DEFAULT_URL, check_url, open_ros
from aam_edge.ros.typecheck import TypeCheck
from aam_edge.ros_definitions import short_name

logger = logging.getLogger(__name__)

Respond = Callable[[Tree | None], None]
"""Sends a service's answer; None says that it failed."""

ANSWER_S = 2.0
"""A bridge that does not answer for so long has no rosapi."""
BEAT_S = 0.5


@dataclass(frozen=True)
class Registration:
    """What is sent again on each connection."""

    message: Tree
    undo: Tree


class Bridge:
    """A connection to rosbridge that comes back by itself; its methods are for any thread.

    Callbacks run in roslibpy's thread and must only hand over.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        first_retry_s: float = 0.5,
        retry_max_s: float = 5.0,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        """Starts to connect, and goes on trying; `on_ready` is called on each connection.

        Raises:
            UsageError: `url` is no address of a bridge.
            SinkError: the extra is missing, or another transport of roslibpy is in use.
        """
        self.url = check_url(url)
        self.dropped = 0
        """Messages that could not leave when they were published."""
        self.connections = 0
        self.troubles: dict[str, str] = {}
        """By topic or service: what the bridge does not take, and why."""
        self._session: Session | None = None
        self._registrations: dict[str, Registration] = {}
        self._publishers: Counter[str] = Counter()
        self._listeners: dict[str, list[Callable[[Tree], None]]] = {}
        self._on_ready = on_ready
        self._is_closed = False
        self._lock = threading.RLock()
        self._check = TypeCheck(self)
        self._ros = open_ros(url, first_retry_s, retry_max_s, self._open, self._close)
        self._ros.start()

    @property
    def is_ready(self) -> bool:
        """Whether messages can leave: connected, and everything is advertised."""
        session = self._session
        return session is not None and session.dialect is not None

    @property
    def dialect(self) -> Dialect | None:
        """Which ROS it is; None while there is no connection."""
        session = self._session
        return None if session is None else session.dialect

    @property
    def registered(self) -> list[Tree]:
        """What is advertised, subscribed to and served, as it was sent."""
        with self._lock:
            return [registration.message for registration in self._registrations.values()]

    @property
    def has_rosapi(self) -> bool:
        """Whether the bridge answers questions about itself."""
        session = self._session
        return session is not None and session.has_rosapi

    def state(self) -> str:
        """`ok`, or what is wrong now."""
        session = self._session
        if session is None or session.dialect is None:
            return f"no ROS bridge answers at {self.url}"
        if session.is_behind():
            return "the ROS bridge is slow: messages are dropped"
        return next(iter(list(self.troubles.values())), "ok")

    def advertise(self, topic: str, kind: str, *, latch: bool = False, queue_size: int = 1) -> None:
        """Announces a topic, now and on each connection; the last announcement acts.

        `queue_size` 1: the bridge keeps what subscribers have not read for so many messages.
        """
        with self._lock:
            self._publishers[topic] += 1
        what = {"topic": topic, "type": short_name(kind), "latch": latch, "queue_size": queue_size}
        undo = {"op": "unadvertise", "topic": topic}
        self._register(f"publisher {topic}", {"op": "advertise"} | what, undo)

    def unadvertise(self, topic: str) -> None:
        """Takes one announcement back; the last one ends the topic."""
        with self._lock:
            self._publishers[topic] -= 1
            if self._publishers[topic] > 0:
                return
        self.troubles.pop(topic, None)
        self._unregister(f"publisher {topic}")

    def publish(self, topic: str, encode: Callable[[Dialect], Tree]) -> bool:
        """Sends a message now, or drops it.

        Args:
            topic: as advertised.
            encode: makes the message's tree for the ROS that is there.

        Returns:
            False if it was dropped: no bridge, or one that is behind.

        Raises:
            TypeError: from `encode`.
        """
        session = self._session
        if session is None or session.dialect is None or session.is_behind():
            self.dropped += 1
            return False
        is_sent = session.send({"op": "publish", "topic": topic, "msg": encode(session.dialect)})
        if not is_sent:
            self.dropped += 1
            self.troubles[topic] = f"{topic}: a message is larger than a ROS bridge takes"
        return is_sent

    def subscribe(self, topic: str, kind: str, callback: Callable[[Tree], None]) -> None:
        """Wants a topic, now and on each connection; the bridge keeps the newest message alone."""
        with self._lock:
            listeners = self._listeners.setdefault(topic, [])
            listeners.append(callback)
            is_first = len(listeners) == 1
        if not is_first:
            return
        self._ros.on(topic, partial(_hear, listeners))  # without our lock: it takes its own
        what = {"topic": topic, "type": short_name(kind), "queue_length": 1, "compression": "none"}
        undo = {"op": "unsubscribe", "topic": topic}
        self._register(f"subscription {topic}", {"op": "subscribe"} | what, undo)

    def unsubscribe(self, topic: str, callback: Callable[[Tree], None]) -> None:
        """Takes one wish back; the last one ends the subscription."""
        with self._lock:
            listeners = self._listeners.get(topic, [])
            if callback in listeners:
                listeners.remove(callback)
            if listeners or self._listeners.pop(topic, None) is None:
                return
        self._ros.off(topic)
        self._unregister(f"subscription {topic}")

    def advertise_service(
        self, name: str, kind: str, callback: Callable[[Tree, Respond], None]
    ) -> None:
        """Offers a service; `callback` gets the arguments and what sends the answer."""

        def asked(request: Any) -> None:
            session = self._session
            if session is None or isinstance(request, dict):  # a topic of the same name
                return
            callback(request.get("args") or {}, partial(_respond, session, name, request.get("id")))

        self._ros.on(name, asked)
        what = {"op": "advertise_service", "service": name, "type": short_name(kind)}
        undo = {"op": "unadvertise_service", "service": name}
        self._register(f"service {name}", what, undo)

    def unadvertise_service(self, name: str) -> None:
        """Takes a service back."""
        self._ros.off(name)
        self._unregister(f"service {name}")

    def call(self, service: str, arguments: Tree, answered: Answered) -> str | None:
        """Calls a service; `answered` is called once, at the latest when the connection ends.

        Returns:
            The call's id, None if there is no bridge, and then `answered` will not be called.
        """
        session = self._session
        return None if session is None else session.call(service, arguments, answered)

    def forget(self, call_id: str) -> None:
        """Nobody waits for this answer any more."""
        session = self._session
        if session is not None:
            session.forget(call_id)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Runs an action in the bridge's thread later, unless it is closed by then."""
        self._ros.call_later(seconds, lambda: None if self._is_closed else action())

    def close(self) -> None:
        """Ends the connection and all tries; twice is fine."""
        with self._lock:
            session, self._session = self._session, None
            self._is_closed = True
        self._ros.factory.maxRetries = 0
        if session is not None:
            session.proto.send_close()
            session.fail("closed")

    def _register(self, key: str, message: Tree, undo: Tree) -> None:
        with self._lock:
            self._registrations[key] = Registration(message, undo)
            session = self._session
            is_open = session is not None and session.dialect is not None
            if session is not None and is_open:
                session.send(message)
        if is_open:
            self._check.start()

    def _unregister(self, key: str) -> None:
        with self._lock:
            registration = self._registrations.pop(key, None)
            session = self._session
            if registration is not None and session is not None and session.dialect is not None:
                session.send(registration.undo)

    def _open(self, proto: Any) -> None:
        """A new connection, in roslibpy's thread."""
        if self._is_closed:
            proto.send_close()
            return
        fragments = Fragments()

        def collect(part: Any) -> None:
            whole = fragments.add(part)
            if whole is not None:
                proto.on_message(whole)

        proto.register_message_handlers("fragment", collect)
        handlers = getattr(proto, "_message_handlers", None)
        if isinstance(handlers, dict):  # roslibpy 2.1 raises at each status of a ROS 1 bridge
            handlers["status"] = _tell_status
        session = Session(proto)
        self._session = session
        self.connections += 1
        session.call(GET_TIME, {}, partial(self._begin, session))
        self.after(ANSWER_S, partial(self._begin, session, None, "no answer"))

    def _begin(self, session: Session, values: Tree | None, why: str) -> None:
        """The bridge has said what it is, or will not: everything is registered."""
        with self._lock:
            if session is not self._session or session.dialect is not None:
                return
            dialect = dialect_of(values)
            session.has_rosapi = values is not None
            for registration in self._registrations.values():
                session.send(registration.message)
            self.troubles.clear()
            session.beat_s = time.monotonic()
            session.dialect = dialect
        if session.has_rosapi:
            logger.info("ROS bridge at %s: %s", self.url, dialect.value)
            self._beat(session)
            self._check.start()
        else:
            words = "ROS bridge at %s has no rosapi (%s): types are not checked; start rosapi there"
            logger.warning(words, self.url, why)
        if self._on_ready is not None:
            self._on_ready()

    def _close(self, proto: Any) -> None:
        """A connection has ended, or a try has failed, in roslibpy's thread."""
        with self._lock:
            session = self._session
            if session is None or session.proto is not proto:
                return
            self._session = None
        logger.warning("ROS bridge at %s has gone: trying again", self.url)
        session.fail("the ROS bridge has gone")

    def _beat(self, session: Session) -> None:
        if session is self._session:
            session.beat()
            self.after(BEAT_S, partial(self._beat, session))


def _respond(session: Session, name: str, call_id: Any, values: Tree | None) -> None:
    answer = {"op": "service_response", "service": name, "result": values is not None}
    session.send(answer | {"values": values or {}} | ({} if call_id is None else {"id": call_id}))


def _hear(listeners: list[Callable[[Tree], None]], message: Any) -> None:
    if isinstance(message, dict):  # a call of a service of the same name is no plain dict
        for listener in tuple(listeners):
            listener(message)


def _tell_status(message: Any) -> None:
    """A bridge on ROS 1 says what it refused; one on ROS 2 is silent."""
    level = logging.WARNING if message.get("level") in ("error", "warning") else logging.DEBUG
    logger.log(level, "ROS bridge: %s", " ".join(str(message.get("msg")).split())[:300])
