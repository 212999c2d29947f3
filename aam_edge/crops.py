"""The best targets as pictures at full resolution, for detectors and vision-language models.

Published under `crops/<camera>` (CONTRACT 2) where `gaze.crops` asks for them. A crop is a part of
the source picture, pixel by pixel; nothing is scaled. At the border it is moved into the picture,
so that its size stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from aam_edge import wire
from aam_edge.messages import Attention, Frame, Image

Form = Literal["jpeg", "bgr8"]
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Crop:
    """One target's picture."""

    target_id: int
    prompt_index: int
    prompt: str
    score: float
    """Of the target."""
    box: tuple[int, int, int, int]
    """x, y of the top left pixel, width and height, source pixels."""
    form: Form
    data: bytes
    """A JPEG, or height x width x 3 bytes, BGR."""

    def image(self) -> Image:
        """(height, width, 3), BGR."""
        *_, width, height = self.box
        if self.form == "jpeg":
            return np.asarray(cv2.imdecode(np.frombuffer(self.data, np.uint8), 1), np.uint8)
        return np.frombuffer(self.data, np.uint8).reshape(height, width, 3)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Crops:
    """The crops of one frame."""

    camera: str
    frame_id: str
    capture_ns: int
    image: tuple[int, int]
    """(W, H) of the source picture."""
    crops: tuple[Crop, ...]
    """By prompt, best target first."""
    seq: int = 0
    publish_ns: int = 0

    @property
    def topic(self) -> str:
        """Where they are published."""
        return f"crops/{self.camera}"

    def published(self, seq: int, publish_ns: int) -> Crops:
        """The same with what only the publisher knows."""
        return replace(self, seq=seq, publish_ns=publish_ns)

    def to_bytes(self) -> bytes:
        """The msgpack map as it is published, without its topic."""
        crops = [wire.write_fields(crop) for crop in self.crops]
        return wire.pack({"schema": wire.SCHEMA} | wire.write_fields(self) | {"crops": crops})

    @classmethod
    def from_bytes(cls, body: bytes) -> Crops:
        """Reads what `to_bytes` wrote, later fields ignored; ValueError if it is something else."""
        message = wire.unpack(body)
        try:
            crops = tuple(wire.read_fields(Crop, crop) for crop in message["crops"])
            return wire.read_fields(cls, message, crops=crops)
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a crops message: {problem!r}") from problem


def crop_targets(
    frame: Frame,
    attentions: Sequence[Attention],
    *,
    count: int = 3,
    side_px: int = 256,
    form: Form = "jpeg",
) -> Crops:
    """The best targets of a frame as pictures.

    Args:
        frame: at full resolution.
        attentions: its maps, one a prompt.
        count: of targets, at most, for each prompt.
        side_px: width and height, source pixels; less where the picture is smaller.
        form: jpeg (quality 90), or bgr8 for the bare pixels.
    """
    crops = [
        _crop(frame.image, attention, k, side_px, form)
        for attention in attentions
        for k in range(min(count, len(attention.targets)))
    ]
    return Crops(
        camera=frame.camera,
        frame_id=str(frame.frame_id),
        capture_ns=frame.capture_ns,
        image=frame.size,
        crops=tuple(crops),
    )


def _crop(image: Image, attention: Attention, k: int, side_px: int, form: Form) -> Crop:
    target = attention.targets[k]
    height, width = image.shape[:2]
    x, wide = _span(target.x, side_px, width)
    y, high = _span(target.y, side_px, height)
    part = np.ascontiguousarray(image[y : y + high, x : x + wide])
    return Crop(
        target_id=target.id,
        prompt_index=attention.prompt_index,
        prompt=attention.prompt,
        score=target.score,
        box=(x, y, wide, high),
        form=form,
        data=to_jpeg(part) if form == "jpeg" else part.tobytes(),
    )


def _span(middle: float, side_px: int, room: int) -> tuple[int, int]:
    """First pixel and length of a side around `middle`, moved into 0..room."""
    length = min(side_px, room)
    return min(max(round(middle + 0.5 - length / 2), 0), room - length), length


def to_jpeg(image: Image) -> bytes:
    """A picture (h, w, 3), BGR, as JPEG."""
    is_done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert is_done, "any uint8 picture has a JPEG"
    return data.tobytes()
