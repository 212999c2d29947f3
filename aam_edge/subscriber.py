"""The other end of the wire: messages of a running stream, in Python."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from aam_edge import wire
from aam_edge.crops import Crops
from aam_edge.messages import Attention

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5560"


def subscribe(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    camera: str | None = None,
    prompt_index: int = 0,
    newest_only: bool = True,
    timeout_s: float | None = None,
) -> Iterator[Attention]:
    """Iterates over a publisher's maps; ends when none came for `timeout_s`.

    Args:
        endpoint: of the publisher; it may start later.
        camera: its name, or None for all cameras and prompts.
        prompt_index: which of the camera's prompts.
        newest_only: a slow reader gets the newest map and loses older ones, with several cameras
            the newest of all; `seq` shows how many were lost.
        timeout_s: seconds without a map, None waits for ever.
    """
    topic = b"attention/"
    if camera is not None:
        topic = wire.topic_bytes(f"attention/{camera}/{prompt_index}")
    for body in _bodies(endpoint, topic, newest_only=newest_only, timeout_s=timeout_s):
        yield Attention.from_bytes(body)


def subscribe_crops(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    camera: str | None = None,
    newest_only: bool = True,
    timeout_s: float | None = None,
) -> Iterator[Crops]:
    """Iterates over a publisher's crops, which it makes with `--set gaze.crops=N`.

    Args:
        endpoint: of the publisher; it may start later.
        camera: its name, or None for all cameras.
        newest_only: a slow reader gets the newest crops and loses older ones.
        timeout_s: seconds without crops until it ends, None waits for ever.
    """
    topic = b"crops/" if camera is None else wire.topic_bytes(f"crops/{camera}")
    for body in _bodies(endpoint, topic, newest_only=newest_only, timeout_s=timeout_s):
        yield Crops.from_bytes(body)


def _bodies(
    endpoint: str, topic: bytes, *, newest_only: bool, timeout_s: float | None
) -> Iterator[bytes]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        if newest_only:
            socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(endpoint)
        wait_ms = None if timeout_s is None else int(timeout_s * 1000)
        while socket.poll(wait_ms):
            yield wire.split(socket.recv())[1]
