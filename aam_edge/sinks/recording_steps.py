"""What of a step goes into a recording, and in which form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import Attention, Frame, Health, Image, Observation
from aam_edge.recording import topics
from aam_edge.recording.pcm import SoundTap
from aam_edge.recording.writer import RecordingFile


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What the network took in, what was published of it, and the state before, where kept."""

    observation: Observation
    attentions: tuple[Attention, ...]
    state: dict[str, Any] | None = None
    together: bool = False
    """Whether frames of other cameras were in the same pass of the network."""

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, nearly."""
        maps = sum(attention.density.nbytes for attention in self.attentions)
        return self.observation.frame.image.nbytes + maps


@dataclass(frozen=True, slots=True)
class Reported:
    """A health report and when it was made."""

    health: Health
    time_ns: int
    size_bytes: int = 4096


@dataclass(frozen=True, slots=True)
class Turned:
    """What the gyro said since the last time."""

    samples: list[tuple[int, tuple[float, float, float]]]
    """UNIX nanoseconds, and rad/s."""
    time_ns: int

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, nearly."""
        return 200 * len(self.samples)


def no_lens(camera: str, size: tuple[int, int]) -> Intrinsics | None:
    """No camera is calibrated."""
    return None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the writer must know of the stream; its functions are called in the writer's thread."""

    cameras: tuple[str, ...]
    shrink: Callable[[Image], Image]
    """The picture as the network takes it, (h, w, 3)."""
    pack_state: Callable[[dict[str, Any]], bytes]
    namespace: str = "/aam"
    quality: int = 90
    keeps_input: bool = True
    """Whether the network's own picture is kept beside a JPEG that was made by us."""
    lens: Callable[[str, tuple[int, int]], Intrinsics | None] = no_lens
    """Camera and size (W, H) of its pictures to its calibration."""


Item = Step | Reported | Turned
"""What waits to be written."""


class StepWriter:
    """Writes steps into one file; knows what this file has heard and been told already."""

    def __init__(self, file: RecordingFile, plan: Plan):
        self._file, self._plan = file, plan
        is_alone = len(plan.cameras) == 1
        self._prefixes = {
            camera: topics.camera_prefix(plan.namespace, camera, is_alone=is_alone)
            for camera in plan.cameras
        }
        self._base = topics.camera_prefix(plan.namespace, "", is_alone=True)
        self._taps = {camera: SoundTap() for camera in plan.cameras}
        self._prompts: dict[tuple[str, int], str] = {}
        self._informed: set[str] = set()

    def write(self, item: Item) -> None:
        """Adds all messages of an item; raises OSError."""
        if isinstance(item, Turned):
            for time_ns, rate in item.samples:
                topic, kind, message = topics.imu_entry(time_ns, rate)
                self._file.write(self._base + topic, kind, message, item.time_ns)
            return
        if isinstance(item, Reported):
            for topic, kind, message in topics.health_entries(item.health, item.time_ns):
                whole = topic if topic.startswith("/") else self._base + topic
                self._file.write(whole, kind, message, item.time_ns)
            return
        frame, time_ns = item.observation.frame, item.attentions[0].publish_ns
        if item.state is not None:
            state = self._plan.pack_state(item.state)
            self._file.attach(topics.STATE, "application/msgpack", state, time_ns)
        prefix = self._prefixes[frame.camera]
        for topic, kind, message in self._entries(item):
            self._file.write(prefix + topic, kind, message, time_ns)

    def _entries(self, step: Step) -> list[topics.Entry]:
        frame, sound = step.observation.frame, step.observation.sound
        entries = [*self._news(frame, step.attentions)]
        fresh = None if sound is None else self._taps[frame.camera].take(sound)
        if fresh is not None:
            entries.append(topics.audio_entry(fresh))
        if step.observation.ego is not None:
            ego = topics.array_message(step.observation.ego, ("row", "column"))
            entries.append((topics.EGO, topics.MULTI_ARRAY, ego))
        heard_ns = None if sound is None else sound.end_ns
        taken = {"heard_ns": heard_ns, "together": step.together}
        for attention in step.attentions:
            entries += topics.attention_entries(attention, taken)
        return entries + self._pictures(frame)

    def _news(self, frame: Frame, attentions: tuple[Attention, ...]) -> list[topics.Entry]:
        """What is said once, and when it changes."""
        entries: list[topics.Entry] = []
        lens = self._plan.lens(frame.camera, frame.size)
        if lens is not None and frame.camera not in self._informed:
            self._informed.add(frame.camera)
            info = topics.camera_info(lens)
            info |= {"header": topics.header(frame.capture_ns, frame.camera)}
            entries.append((topics.CAMERA_INFO, "sensor_msgs/msg/CameraInfo", info))
        for attention in attentions:
            key = frame.camera, attention.prompt_index
            if self._prompts.get(key) != attention.prompt:
                self._prompts[key] = attention.prompt
                before = f"prompt_{attention.prompt_index}/" if attention.prompt_index else ""
                data = {"data": attention.prompt}
                entries.append((before + topics.PROMPT, topics.STRING, data))
        return entries

    def _pictures(self, frame: Frame) -> list[topics.Entry]:
        """Last of a step, the JPEG last of all."""
        entries = []
        jpeg = frame.jpeg or to_jpeg(frame.image, self._plan.quality)
        taken = None if frame.recorded is None else frame.recorded.image
        if taken is None and frame.jpeg is None:
            taken = self._plan.shrink(frame.image) if frame.small is None else frame.small
        if taken is not None and self._plan.keeps_input:
            entries = [topics.image_entry(topics.INPUT, taken, frame.capture_ns, frame.camera)]
        return [*entries, topics.picture_entry(jpeg, frame.capture_ns, frame.camera)]


def to_jpeg(image: Image, quality: int) -> bytes:
    """A picture (H, W, 3), BGR, as JPEG."""
    is_done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_done, "any uint8 picture has a JPEG"
    return np.asarray(data, np.uint8).tobytes()
