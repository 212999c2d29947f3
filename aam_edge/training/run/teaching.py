"""An item of any data set as a photo that teaches, with the checks that packing makes too."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from aam_edge.errors import DataError
from aam_edge.messages import Image
from aam_edge.training.corpus.check import check_aspect
from aam_edge.training.corpus.item import Item, Moment
from aam_edge.training.corpus.stored import Stored, VideoFrame, content_of, read_grey, read_image
from aam_edge.training.data import Photo
from aam_edge.training.prompts import COCO_NAMES, KEPT_OUT
from aam_edge.training.sample import Heat, Sample, boxes_heat
from aam_edge.training.search_data import LONGEST_SIDE, with_general

LONGEST_MAP = 128
"""Cells that are kept of a published map."""
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def has_people(item: Item) -> bool:
    """Somebody looked at it, as far as its lists say."""
    return any(m.saliency_map is not None or m.fixations is not None for m in item.moments)


def sample_of(item: Item) -> tuple[Sample, list[tuple[str, str]]]:
    """A photo read, and what of it was left out (name and why).

    Raises:
        DataError: picture or map is broken, they do not belong together, or it teaches nothing.
    """
    moment, lost = item.moments[0], list[tuple[str, str]]()
    image = read_image(moment.stimulus)
    sample = Sample(_small(image))
    sample.things, sample.absent, sample.somewhere = _things_of(item)
    if moment.saliency_map is not None:
        drawn = read_grey(moment.saliency_map)
        check_aspect(drawn.shape, image.shape[:2], f"{moment.saliency_map}")
        if drawn.any():
            sample.maps.append((item.prompt, _shrunk(drawn), 1.0))
    elif item.sigma is not None:
        points = item.points()
        inside = ((points >= 0) & (points <= 1)).all(axis=1)
        if not inside.all():
            lost += [(str(item), "fixation is outside")] * int((~inside).sum())
        if inside.any():
            size = (image.shape[1], image.shape[0])
            photo = Photo(
                item.gaze_set, item.name, Path(str(moment.stimulus)), points[inside], size,
                item.sigma,
            )  # fmt: skip
            sample.gaze.append((item.prompt, photo))
    if not (sample.has_people or sample.things or sample.somewhere):
        raise DataError("nobody looked at the photo", item, "take it out of the list")
    return sample, lost


def _small(image: Image) -> Image:
    part = LONGEST_SIDE / max(image.shape[:2])
    if part >= 1:
        return image
    small = cv2.resize(image, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _shrunk(drawn: Image) -> Image:
    part = LONGEST_MAP / max(drawn.shape)
    if part >= 1:
        return drawn
    small = cv2.resize(drawn, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _things_of(item: Item) -> tuple[dict[str, Heat], frozenset[str], frozenset[str]]:
    """Heat by name, names that are absent, names that are somewhere."""
    boxes: dict[str, list[list[float]]] = {}
    somewhere = set()
    for thing in item.things:
        name = KEPT_OUT.get(thing.name, thing.name)
        if thing.box is None:
            somewhere.add(name)
        else:
            boxes.setdefault(name, []).append(list(thing.box))
    # COCO boxes all things of its names, others only some.
    absent = set(COCO_NAMES) - set(boxes) if item.gaze_set == "COCO" else set[str]()
    things, surely_absent = with_general({n: boxes_heat(b) for n, b in boxes.items()}, absent)
    return things, surely_absent, frozenset(somewhere)


def size_of(item: Item) -> tuple[int, int]:
    """Width and height of its first picture, from the head of the file where that tells."""
    return picture_size(item.moments[0])


def picture_size(moment: Moment) -> tuple[int, int]:
    """Width and height of a frame."""
    stimulus = moment.stimulus
    if isinstance(stimulus, VideoFrame):
        image = read_image(stimulus)
        stimulus.video.close()  # a worker process that is made of this one opens it for itself
        return image.shape[1], image.shape[0]
    head = _head(stimulus)
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        return struct.unpack(">II", head[16:24])
    for marker, at in _segments(head):
        if marker in _START_OF_FRAME and at + 9 <= len(head):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            if width and height:
                return width, height
    image = read_image(stimulus)
    return image.shape[1], image.shape[0]


def _head(stored: Stored) -> bytes:
    if not isinstance(stored, Path):
        return stored.content
    try:
        with stored.open("rb") as file:
            return file.read(65536)
    except OSError:
        return content_of(stored)  # raises what is wrong in our words


def _segments(head: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment of a JPEG, up to the end of what was read."""
    at = 2
    while head.startswith(b"\xff\xd8") and at + 4 <= len(head) and head[at] == 0xFF:
        yield head[at + 1], at
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
