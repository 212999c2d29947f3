"""Recordings made for tests by the real loop, and what is read from them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.cameras import SourceMaker
from aam_edge.config import load_config
from aam_edge.messages import Attention, Frame, Health
from aam_edge.recording.published import published
from aam_edge.recording.reader import Recording
from aam_edge.runtime import Runtime
from aam_edge.sources.catalog import make_source

QUIET = {"page.listen": "none", "zmq.pub": "none", "zmq.control": "none", "model.engine": "onnx"}


class Kept:
    """A sink that keeps what was published."""

    name = "kept"
    dropped = 0

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.attentions: list[Attention] = []
        self.health: list[Health] = []

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        self.frames.append(frame)
        self.attentions.extend(attentions)

    def offer_health(self, health: Health) -> None:
        self.health.append(health)

    def state(self) -> str:
        return "ok"

    def close(self) -> None:
        pass


def stream(
    camera: str, settings: Mapping[str, Any] | None = None, maker: SourceMaker = make_source
) -> tuple[Kept, Runtime]:
    """Runs the loop to its end; `settings` by dotted key."""
    options = QUIET | {"source.cameras": (camera,), "source.pace": "every"}
    kept = Kept()
    runtime = Runtime(load_config(options=options | dict(settings or {})), [kept], maker)
    runtime.run(threading.Event())
    return kept, runtime


def maps_of(path: Path) -> list[Attention]:
    """All maps of a recording."""
    with Recording(path) as recording:
        return [message for _, message in published(recording) if isinstance(message, Attention)]


def densities(attentions: Sequence[Attention]) -> list[bytes]:
    """Their bits."""
    return [attention.density.tobytes() for attention in attentions]


def messages_of(path: Path, ending: str) -> list[dict[str, Any]]:
    """All messages of the topics that end so."""
    with Recording(path) as recording:
        return [recording.decode(item) for item in recording.items() if item.topic.endswith(ending)]


def sound_of(path: Path) -> tuple[NDArray[np.int16], list[int]]:
    """All samples, and the start of each block."""
    blocks = messages_of(path, "/audio")
    starts = [b["timestamp"]["sec"] * 10**9 + b["timestamp"]["nanosec"] for b in blocks]
    samples = [np.frombuffer(block["data"], "<i2") for block in blocks]
    return np.concatenate(samples), starts
