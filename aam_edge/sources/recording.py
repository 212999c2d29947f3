"""A recording as a camera: pictures with the stamps, sound and motion that they had when live.

Seeking is by the file's index. What the network took in beyond the picture travels in
`Frame.recorded`, so that a re-run takes in the same. Bags that others made are played too, their
first topic with pictures; those come without sound.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.config import SourceConfig
from aam_edge.errors import DataError
from aam_edge.messages import Frame, Image, Recorded, Sound
from aam_edge.recording import topics
from aam_edge.recording.reader import Item, Recording
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.pacer import Pacer
from aam_edge.sources.sound_ring import SAMPLE_NS, SoundRing

logger = logging.getLogger(__name__)

RAW, COMPRESSED = "sensor_msgs/msg/Image", topics.COMPRESSED
ENCODINGS = {"bgr8": None, "rgb8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_GRAY2BGR}
"""Of raw pictures, with what makes them BGR."""
CHANNELS = {"bgr8": 3, "rgb8": 3, "mono8": 1}
WINDOW_S = 1.0
BROKEN = (ValueError, KeyError, TypeError, OverflowError, RecursionError, cv2.error)
"""What broken messages raise, and their pictures."""
LARGEST_SIDE = 1 << 16
MOST_DIGITS = 15
"""Of a frame's number and gap."""


class RecordingSource:
    """One camera of a recording; ends, or starts again, with the file."""

    is_live = False

    def __init__(self, path: Path, config: SourceConfig, camera: str, channel: str = ""):
        """`channel`: which of the recorded cameras, by its name or by its topic of pictures."""
        self.camera = camera
        self._path, self._config, self._channel = path, config, channel
        self._pacer = Pacer(config.pace)
        self._recording: Recording | None = None
        self._items: Iterator[Frame | Sound] = iter(())
        self._frame_id = -1
        self._looped_ns = 0

    def open(self) -> None:
        """Opens it and finds the pictures; raises DataError."""
        self.close()
        self._recording = Recording(self._path)
        index = self._recording.index
        if not index.is_whole:
            logger.warning("%s was not closed: playing what is whole of it", self._path)
        self._topic = picture_topic(self._recording, self._channel)
        self._items = self._play()
        self._pacer.start()

    def read(self) -> Frame | Sound:
        """The next picture or block of sound at its time; raises Ended after the last."""
        for item in self._items:
            return item
        raise Ended

    def interrupt(self) -> None:
        """Ends the wait for an item's time."""
        self._pacer.interrupt()

    def close(self) -> None:
        """Closes the file."""
        self._items = iter(())
        if self._recording is not None:
            self._recording.close()
            self._recording = None

    def _play(self) -> Iterator[Frame | Sound]:
        assert self._recording is not None, "opened"
        while True:
            count = 0
            for item in self._round(self._recording):
                count += 1
                yield item
            if not count:
                values = f"{self._path}: from {self._config.start_s:g} s on"
                raise DataError("recording has no pictures", values, "choose another start")
            if not self._config.loop:
                return

    def _round(self, recording: Recording) -> Iterator[Frame | Sound]:
        """Once through the file."""
        first_ns = recording.index.start_ns + round(self._config.start_s * 1e9)
        steps = Steps(recording, self._topic, self._config.mic in (None, "file"))
        for item in recording.items(first_ns):
            found = steps.add(item)
            if found is None:
                continue
            self._pacer.wait_for(self._looped_ns + item.log_ns - first_ns)
            if isinstance(found, Sound):
                yield found
                continue
            self._frame_id = found.frame_id if found.frame_id >= 0 else self._frame_id + 1
            yield found.frame(self.camera, self._frame_id)
        self._looped_ns += recording.index.end_ns - first_ns


class Found:
    """A picture, and what was recorded of its step before it."""

    def __init__(self, image: Image, jpeg: bytes | None, capture_ns: int, step: dict[str, Any]):
        self.image, self.jpeg, self.capture_ns = image, jpeg, capture_ns
        message = step.get("message", {})
        self.frame_id = _whole(message.get("frame_id"), -1)
        self._gap, self._step = _whole(message.get("gap"), 0), step

    def frame(self, camera: str, frame_id: int) -> Frame:
        """As it leaves the source."""
        step = self._step
        recorded = Recorded(
            given_ns=time.time_ns(),
            image=step.get("input"),
            hears=step["hears"],
            sound=step.get("sound"),
            ego=step.get("ego"),
            state=step.get("state"),
            camera=str(step.get("message", {}).get("camera", "")),
            together=step["message"].get("together", False) is True if "message" in step else None,
        )
        return Frame(self.image, self.capture_ns, camera, frame_id, self._gap, self.jpeg, recorded)


class Steps:
    """Puts together what belongs to one picture; the picture is the last of its step."""

    def __init__(self, recording: Recording, topic: str, hears: bool):
        self._recording, self._topic, self._hears = recording, topic, hears
        self._prefix = topic.removesuffix(topics.IMAGE)
        self._is_ours = topic.endswith(topics.IMAGE) and self._prefix + topics.MESSAGE in (
            recording.types
        )
        self._ring = SoundRing()
        self._step: dict[str, Any] = {"hears": hears and self._is_ours}

    def add(self, item: Item) -> Found | Sound | None:
        """A picture or sound, where the item completes one; what is broken is left out."""
        try:
            return self._add(item)
        except BROKEN as problem:
            logger.warning("%s: left out of the recording: %s", item.topic, problem)
            return None

    def _add(self, item: Item) -> Found | Sound | None:
        if item.name == topics.STATE and not item.topic:
            self._step["state"] = item.data
            return None
        if item.topic == self._topic:
            return self._found(self._recording.decode(item))
        name = item.topic.removeprefix(self._prefix)
        if not self._is_ours or name == item.topic:
            return None
        if name == topics.MESSAGE:
            self._step["message"] = dict(json.loads(self._recording.decode(item)["data"]))
        elif name == topics.EGO:
            self._step["ego"] = _ego(self._recording.decode(item))
        elif name == topics.INPUT:
            self._step["input"] = raw_picture(self._recording.decode(item))
        elif name == topics.AUDIO and self._hears:
            sound = topics.read_audio(self._recording.decode(item))
            # The ring counts whole sample periods; stamps that were moved lie between them.
            self._ring.add(Sound(sound.samples, sound.start_ns - sound.start_ns % SAMPLE_NS))
            return sound
        return None

    def _found(self, message: dict[str, Any]) -> Found:
        step, self._step = self._step, {"hears": self._hears and self._is_ours}
        heard_ns = step.get("message", {}).get("heard_ns")
        if isinstance(heard_ns, int):
            step["sound"] = self._heard(heard_ns)
        capture_ns = topics.unix_ns(message["header"]["stamp"])
        if "encoding" in message:
            return Found(raw_picture(message), None, capture_ns, step)
        image = cv2.imdecode(np.frombuffer(message["data"], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("picture is broken")
        is_jpeg = message["data"][:2] == b"\xff\xd8"
        jpeg = message["data"] if is_jpeg else None
        return Found(np.asarray(image, np.uint8), jpeg, capture_ns, step)

    def _heard(self, end_ns: int) -> Sound | None:
        """The window that ended there when it was live."""
        between_ns = end_ns % SAMPLE_NS
        window = self._ring.window(end_ns - between_ns, WINDOW_S)
        return None if window is None else Sound(window.samples, window.start_ns + between_ns)


def _whole(value: Any, default: int) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else default


def _ego(message: dict[str, Any]) -> NDArray[np.float32]:
    """The camera's motion, (3, 3); ValueError where it is none."""
    ego = topics.read_array(message)
    if ego.shape != (3, 3) or not np.isfinite(ego).all():
        raise ValueError(f"motion is {ego.shape}, or not finite")
    return ego


def raw_picture(message: dict[str, Any]) -> Image:
    """sensor_msgs/Image to (H, W, 3) BGR; ValueError for encodings that are no plain picture."""
    encoding = message["encoding"]
    if encoding not in ENCODINGS:
        raise ValueError(f"pictures are {encoding}, known {', '.join(ENCODINGS)}")
    height, width, step = message["height"], message["width"], message["step"]
    if not 0 < min(height, width) <= max(height, width) <= LARGEST_SIDE:
        raise ValueError(f"picture is {width}x{height}")
    rows: NDArray[np.uint8] = np.frombuffer(message["data"], np.uint8).reshape(height, step)
    plain = rows[:, : width * CHANNELS[encoding]].reshape(height, width, CHANNELS[encoding])
    code = ENCODINGS[encoding]
    return plain.copy() if code is None else np.asarray(cv2.cvtColor(plain, code), np.uint8)


def picture_topic(recording: Recording, channel: str = "") -> str:
    """The topic with the pictures: our own first, else the first of the file; raises DataError.

    `channel` is the name of a camera of ours, or a topic.
    """
    types = recording.types
    known = [topic for topic, kind in types.items() if kind in (COMPRESSED, RAW)]
    ours = [t for t in known if t.endswith(f"/{topics.IMAGE}")]
    others = [t for t in known if not t.endswith(("/attention/compressed", f"/{topics.INPUT}"))]
    found = ours or others
    if not found:
        shown = ", ".join(sorted(types)[:4]) or "no topics"
        todo = "give a recording with sensor_msgs pictures"
        raise DataError("recording has no pictures", f"{recording.path}: {shown}", todo)
    if channel:
        ending = f"/{topics.camera_prefix('', channel, is_alone=False).lstrip('/')}{topics.IMAGE}"
        named = [topic for topic in known if topic == channel or topic.endswith(ending)]
        if not named:
            values, todo = f"{recording.path}#{channel}", f"give one of {', '.join(found)}"
            raise DataError("recording has no such camera", values, todo)
        return named[0]
    if len(found) > 1:
        named_so = f"{recording.path}#{found[1]}"
        logger.warning("several cameras: taking %s; another is %s", found[0], named_so)
    return found[0]
