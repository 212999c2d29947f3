"""A recording with sound to the signals that `sync` compares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.calibrate.sync import PictureSignals
from aam_edge.errors import DataError
from aam_edge.messages import SOUND_RATE_HZ, Image
from aam_edge.sources.container import Block, Container, Picture
from aam_edge.sources.media import check_file

SMALL = (64, 48)
LONGEST_S = 600.0
"""More is not read: claps take seconds."""
Samples = NDArray[np.float32]


def read_signals(path: Path) -> tuple[PictureSignals, Samples]:
    """Picture signals and sound from time 0; SourceError or DataError if it has not both."""
    check_file(path)
    container = Container(str(path), shown=str(path), with_sound=True, timeout_s=None)
    try:
        if not container.has_sound:
            raise DataError("recording has no sound", path, "record with the microphone on")
        return _collect(container)
    finally:
        container.close()


def _collect(container: Container) -> tuple[PictureSignals, Samples]:
    times: list[float] = []
    light: list[float] = []
    motion: list[float] = []
    blocks: list[Block] = []
    last: NDArray[np.float32] | None = None
    for item in container.items():
        if item.time_ns > LONGEST_S * 1e9:
            break
        if isinstance(item, Block):
            blocks.append(item)
            continue
        grey = _small_grey(item)
        times.append(item.time_ns / 1e9)
        light.append(float(grey.mean()))
        motion.append(0.0 if last is None else float(np.abs(grey - last).mean()))
        last = grey
    return PictureSignals(np.array(times), np.array(light), np.array(motion)), joined(blocks)


def joined(blocks: list[Block]) -> Samples:
    """The blocks at their own times from time 0 on; what lies between is silence."""
    starts = [round(block.time_ns * SOUND_RATE_HZ / 1e9) for block in blocks]
    ends = [start + len(block.samples) for start, block in zip(starts, blocks, strict=True)]
    whole = np.zeros(max([0, *ends]), np.float32)
    for start, end, block in zip(starts, ends, blocks, strict=True):
        if end > 0:
            whole[max(0, start) : end] = block.samples[max(0, -start) :]
    return whole


def _small_grey(picture: Picture) -> NDArray[np.float32]:
    image: Image = picture.image()
    small = cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY) / 255, np.float32)
