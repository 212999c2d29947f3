"""ZeroMQ: maps and health on a PUB socket, commands on a REP socket (CONTRACT 2).

PUB is sent in the loop, since it never blocks: a slow subscriber loses old maps and sees by `seq`
what it lost. REP has a thread of its own, which hands commands to the loop and waits for the
answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import zmq

from aam_edge import wire
from aam_edge.commands import Commands, refusal
from aam_edge.config import NetConfig, ZmqConfig
from aam_edge.crops import Crops
from aam_edge.errors import SinkError, UsageError
from aam_edge.messages import Attention, Frame, Health
from aam_edge.sinks.address import is_loopback

logger = logging.getLogger(__name__)

NONE = "none"
POLL_MS = 100
LARGEST_COMMAND_BYTES = 16 << 20
"""A snapshot that comes back fits; more closes the connection."""


class ZmqPublisher:
    """The PUB socket. The loop sends maps; health may come from another thread."""

    name = "zmq"

    def __init__(self, config: ZmqConfig, net: NetConfig):
        self.dropped = 0
        self.dtype = config.map_dtype
        self._turn = threading.Lock()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, config.hwm)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self.endpoint = bind(self._socket, config.pub, net, "zmq.pub", "--pub")
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Sends one message a prompt."""
        for attention in attentions:
            self.send(attention.topic, attention.to_bytes(self.dtype))

    def offer_crops(self, crops: Crops) -> None:
        """Sends them under `crops/<camera>`."""
        self.send(crops.topic, crops.to_bytes())

    def offer_health(self, health: Health) -> None:
        """Sends it under `health`."""
        self.send("health", health.to_bytes())

    def state(self) -> str:
        """A bound PUB socket has no way to fail."""
        return "ok"

    def close(self) -> None:
        """Frees the port."""
        with self._turn:
            self._context.destroy(linger=0)

    def send(self, topic: str, body: bytes) -> None:
        """Sends one message; counted as dropped where even the socket has no room."""
        message = wire.join(topic, body)
        with self._turn:  # a socket takes one thread at a time
            try:
                self._socket.send(message, zmq.DONTWAIT)
            except zmq.Again:
                self.dropped += 1


class ControlSocket:
    """The REP socket and its thread."""

    def __init__(self, config: ZmqConfig, net: NetConfig, commands: Commands):
        self._context = zmq.Context()
        socket = self._context.socket(zmq.REP)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_COMMAND_BYTES)
        try:
            self.endpoint = bind(socket, config.control, net, "zmq.control", "--control")
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._stop = threading.Event()
        arguments = (socket, commands, self._stop)
        # The socket goes over to the thread, which alone uses and closes it.
        self._thread = threading.Thread(target=_serve, args=arguments, name="aam-control")
        self._thread.daemon = True  # a stop between this line and its `close` must not wait for it
        self._thread.start()

    def close(self) -> None:
        """Frees the port; a command under way is answered first."""
        self._stop.set()
        self._thread.join(1.0)
        self._context.destroy(linger=0)


def _serve(socket: zmq.Socket[bytes], commands: Commands, stop: threading.Event) -> None:
    """Answers one command after the other until told to stop."""
    with socket:
        while not stop.is_set():
            if socket.poll(POLL_MS):
                socket.send(answer(socket.recv(), commands))


def answer(request: bytes, commands: Commands) -> bytes:
    """The answer to one message, whatever it holds."""
    try:
        command = wire.unpack(request)
    except ValueError as problem:
        return wire.pack(refusal(str(problem)))
    return wire.pack(commands.submit(command))


def bind(socket: zmq.Socket[Any], endpoint: str, net: NetConfig, key: str, option: str) -> str:
    """Binds and says where; refuses addresses that others can reach unless that is asked for.

    Raises:
        UsageError: not an endpoint.
        SinkError: taken, or reachable from outside.
    """
    transport, is_endpoint, address = endpoint.partition("://")
    if not is_endpoint or transport not in ("tcp", "ipc", "inproc"):
        raise UsageError(
            "endpoint is wrong", endpoint, f"give {option} tcp://127.0.0.1:PORT or none"
        )
    if transport == "tcp" and not is_loopback(address.rpartition(":")[0]):
        if not net.insecure:
            todo = "bind 127.0.0.1, or open it to everybody with --set net.insecure=true"
            raise SinkError("address can be reached from other machines", endpoint, todo)
        logger.warning("%s is open to everybody who reaches %s", key, endpoint)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as problem:
        if problem.errno == zmq.EADDRINUSE:
            todo = f"stop the other program or choose another with {option}"
            raise SinkError("port is in use", endpoint, todo) from problem
        todo = f"give {option} tcp://127.0.0.1:PORT"
        raise SinkError("cannot listen", f"{endpoint}: {problem.strerror}", todo) from problem
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)
