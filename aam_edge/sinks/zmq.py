"""ZeroMQ: maps and health on a PUB socket, commands on a REP socket (CONTRACT 2).

PUB is sent in the loop, since it never blocks: a slow subscriber loses old maps and sees by `seq`
what it lost. REP has a thread of its own, which hands commands to the loop and waits for the
answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import zmq

from aam_edge import wire
from aam_edge.commands import Commands, refusal
from aam_edge.config import NetConfig, ZmqConfig
from aam_edge.crops import Crops
from aam_edge.messages import Attention, Frame, Health
from aam_edge.sinks.door import Door, Place

logger = logging.getLogger(__name__)

NONE = "none"
POLL_MS = 100
LARGEST_COMMAND_BYTES = 16 << 20
"""A snapshot that comes back fits; more closes the connection."""
LARGEST_SUBSCRIPTION_BYTES = 4096


class ZmqPublisher:
    """The PUB socket. The loop sends maps; health may come from another thread."""

    name = "zmq"

    def __init__(self, config: ZmqConfig, net: NetConfig):
        self.dropped = 0
        self.dtype = config.map_dtype
        self._turn = threading.Lock()
        place = Place(config.pub, "zmq.pub", "--pub")
        options: dict[int, int] = {
            zmq.SNDHWM: config.hwm,
            zmq.MAXMSGSIZE: LARGEST_SUBSCRIPTION_BYTES,
        }
        self._door = Door(zmq.PUB, place, net, options)
        self.endpoint = self._door.endpoint

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
        """`ok`, or what is wrong: a bound PUB socket cannot fail, but its keys can."""
        return self._door.trouble or "ok"

    def close(self) -> None:
        """Frees the port."""
        with self._turn:
            self._door.close()

    def send(self, topic: str, body: bytes) -> None:
        """Sends one message; counted as dropped where even the socket has no room."""
        message = wire.join(topic, body)
        with self._turn:  # a socket takes one thread at a time
            self._door.look_after()
            if self._door.is_shut:
                self.dropped += 1
                return
            try:
                self._door.socket.send(message, zmq.DONTWAIT)
            except zmq.Again:
                self.dropped += 1


class ControlSocket:
    """The REP socket and its thread."""

    def __init__(self, config: ZmqConfig, net: NetConfig, commands: Commands):
        place = Place(config.control, "zmq.control", "--control")
        # Few commands of one client wait: a flood of large ones must not fill the memory. Not 1:
        # with keys libzmq 4.3.5 then delivers nothing at all.
        options: dict[int, int] = {zmq.RCVHWM: 4, zmq.MAXMSGSIZE: LARGEST_COMMAND_BYTES}
        door = Door(zmq.REP, place, net, options)
        self.endpoint = door.endpoint
        self._stop = threading.Event()
        # The door goes over to the thread, which alone uses and closes it.
        arguments = (door, commands, self._stop)
        self._thread = threading.Thread(target=_serve, args=arguments, name="aam-control")
        self._thread.daemon = True  # a stop between this line and its `close` must not wait for it
        self._thread.start()

    def close(self) -> None:
        """Frees the port; a command under way is answered first."""
        self._stop.set()
        self._thread.join(1.0)


def _serve(door: Door, commands: Commands, stop: threading.Event) -> None:
    """Answers one command after the other until told to stop."""
    try:
        while not stop.is_set():
            door.look_after()
            if door.is_shut:
                stop.wait(POLL_MS / 1000)
            elif door.socket.poll(POLL_MS):
                door.socket.send(answer(door.socket.recv(), commands))
    finally:
        door.close()


def answer(request: bytes, commands: Commands) -> bytes:
    """The answer to one message, whatever it holds."""
    try:
        command = wire.unpack(request)
    except ValueError as problem:
        return wire.pack(refusal(str(problem)))
    return wire.pack(commands.submit(command))
