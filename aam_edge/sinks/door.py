"""A ZeroMQ socket that others connect to, and who may.

On loopback everybody may, as this machine's users are trusted with each other. On any other
address, and wherever `net.keys` names a folder, a client must show a key of the allow list (CURVE):
without one its handshake fails, nothing is sent to it and nothing of it is read. The list is read
anew at each handshake. Connections that stand are looked at once a second: where a key is gone, or
the server's is another, the socket is closed and opened again; who still may comes back by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from aam_edge.config import NetConfig
from aam_edge.errors import AamEdgeError, SinkError, UsageError
from aam_edge.keys import KeyFolder, KeyPair, default_folder
from aam_edge.sinks.address import is_loopback
from aam_edge.sinks.seldom import Seldom

logger = logging.getLogger(__name__)

DOMAIN = "aam-edge"
HANDSHAKE_MS = 3000
"""A connection that has not shown its key by then is closed."""
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen, and what the user calls it."""

    endpoint: str
    key: str
    """Of the settings."""
    option: str

    @property
    def transport(self) -> str:
        """tcp, ipc or inproc; raises UsageError for anything else."""
        transport, is_endpoint, _ = self.endpoint.partition("://")
        if not is_endpoint or transport not in ("tcp", "ipc", "inproc"):
            todo = f"give {self.option} tcp://127.0.0.1:PORT or none"
            raise UsageError("endpoint is wrong", self.endpoint, todo)
        return transport

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        host = self.endpoint.partition("://")[2].rpartition(":")[0]
        return self.transport == "tcp" and not is_loopback(host)


class Door:
    """A bound socket. Opened by any thread, then used and closed by one alone."""

    def __init__(
        self, kind: int, place: Place, net: NetConfig, options: Mapping[int, int] | None = None
    ) -> None:
        """Opens it.

        Args:
            kind: zmq.PUB or zmq.REP.
            place: where.
            net: whether keys are asked for, and which.
            options: of the socket.

        Raises:
            UsageError: not an endpoint, or keys that cannot be used.
            SinkError: taken, or reachable from outside without keys.
        """
        self._kind, self._place, self._options = kind, place, dict(options or {})
        self._folder = find_keys(place, net)
        self._list = None if self._folder is None else AllowList(self._folder)
        self._looked_s = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._porter: ThreadAuthenticator | None = None
        self.endpoint = place.endpoint
        self.trouble = ""
        """What keeps clients out, empty where nothing does."""
        self._open()
        if self._list is not None:
            count = len(self._list.allowed)
            words = "%s asks for a key (clients allowed: %d, keys in %s)"
            logger.info(words, place.key, count, self._list.folder.path)

    def _open(self) -> None:
        keys = None if self._list is None else self._list.load()
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(self._kind)
        try:
            self.socket.setsockopt(zmq.LINGER, 0)
            self.socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            for option, value in self._options.items():
                self.socket.setsockopt(option, value)
            if keys is not None:
                self._ask_for_keys(keys)
            self.endpoint = _bind(self.socket, self.endpoint, self._place.option)
        except BaseException:
            self.close()
            raise

    def _ask_for_keys(self, keys: KeyPair) -> None:
        # Before the first handshake, and where it should fail: without it nobody is let in.
        self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        self.socket.setsockopt(zmq.CURVE_SERVER, 1)
        self.socket.setsockopt_string(zmq.CURVE_PUBLICKEY, keys.public)
        self.socket.setsockopt_string(zmq.CURVE_SECRETKEY, keys.secret)
        self._porter = ThreadAuthenticator(self._context, log=logging.getLogger("zmq.auth"))
        self._porter.configure_curve_callback(domain=DOMAIN, credentials_provider=self._list)
        self._porter.start()
        self._porter.thread.name = f"aam-keys-{self._place.key}"

    @property
    def is_shut(self) -> bool:
        """True while it could not be opened again; `look_after` tries once a second."""
        return self._context is None

    def look_after(self) -> None:
        """Sees, once a second, that nobody is connected who may not be; never raises."""
        now_s = time.monotonic()
        if self._list is None or now_s < self._looked_s + LOOK_S:
            return
        self._looked_s = now_s
        try:
            if self.is_shut or self._list.has_lost() or not self._has_porter():
                logger.info("%s: keys have changed, all clients connect anew", self._place.key)
                self.close()
                self._open()
            self._say("")
        except AamEdgeError as problem:
            self._say(str(problem))

    def _has_porter(self) -> bool:
        return self._porter is not None and self._porter.is_alive()

    def _say(self, trouble: str) -> None:
        """Once when it begins, once when it ends."""
        if trouble and trouble != self.trouble:
            logger.warning("%s lets nobody new in: %s", self._place.key, trouble)
        elif self.trouble and not trouble:
            logger.info("%s lets clients in again", self._place.key)
        self.trouble = trouble

    def close(self) -> None:
        """Frees the port before it returns; twice is fine."""
        if self._porter is not None:
            self._porter.stop()
            self._porter = None
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None


class AllowList:
    """What the porter asks at each handshake, in its own thread."""

    def __init__(self, folder: KeyFolder) -> None:
        self.folder = folder
        self.allowed: set[str] = set()
        """As last read; `callback` reads it anew."""
        self._pair: KeyPair | None = None
        self._lock = threading.Lock()
        self._entered: set[str] = set()
        self._refused = Seldom(logger)

    def load(self) -> KeyPair:
        """The server's keys, for a socket that nobody has entered yet; raises UsageError."""
        self._pair = self.folder.server()
        self.allowed = set(self.folder.clients().values())
        with self._lock:
            self._entered.clear()
        return self._pair

    def has_lost(self) -> bool:
        """Whether somebody is in who may not be any more; raises UsageError."""
        if self.folder.server() != self._pair:
            return True
        self.allowed = set(self.folder.clients().values())
        with self._lock:
            return not self._entered <= self.allowed

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client's public key may enter; the name is that of pyzmq."""
        shown = key.decode()
        try:
            may = shown in self.folder.clients().values()
        except UsageError as problem:
            logger.debug("keys cannot be read: %s", problem)  # `look_after` says it
            may = False
        if may:
            with self._lock:
                self._entered.add(shown)
        else:
            self._refused.warn(f"a client with the unknown key {shown}")
        return may


def find_keys(place: Place, net: NetConfig) -> KeyFolder | None:
    """The keys that a socket asks for, None if it asks for none.

    Raises:
        UsageError: not an endpoint.
        SinkError: other machines reach it, and there are no keys.
    """
    is_open = place.is_open
    if net.keys is not None:
        return None if place.transport == "inproc" else KeyFolder(Path(net.keys).expanduser())
    if not is_open:
        return None
    if net.insecure:
        logger.warning("%s is open to everybody who reaches %s", place.key, place.endpoint)
        return None
    folder = KeyFolder(default_folder())
    if not folder.is_there:
        todo = (
            "make keys with aam-edge keys new, bind 127.0.0.1, or open it to everybody with "
            "--set net.insecure=true"
        )
        raise SinkError("address can be reached from other machines", place.endpoint, todo)
    return folder


def _bind(socket: zmq.Socket[Any], endpoint: str, option: str) -> str:
    """Binds and says where; SinkError where that is not possible."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as problem:
        if problem.errno == zmq.EADDRINUSE:
            todo = f"stop the other program or choose another with {option}"
            raise SinkError("port is in use", endpoint, todo) from problem
        todo = f"give {option} tcp://127.0.0.1:PORT"
        raise SinkError("cannot listen", f"{endpoint}: {problem.strerror}", todo) from problem
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)
