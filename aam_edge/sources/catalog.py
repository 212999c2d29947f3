"""From what the user writes after --camera to a source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError, UsageError
from aam_edge.messages import Frame
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.demo import demo_source
from aam_edge.sources.folder import FolderSource
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.media import MediaSource, is_address, shown
from aam_edge.sources.picture import is_picture
from aam_edge.sources.source import Source
from aam_edge.sources.synthetic import SyntheticSource
from aam_edge.sources.v4l2 import V4l2Device, is_camera

ROS = "ros:"
COMMON_PARTS = ("image", "image_raw", "image_color", "image_mono", "image_rect", "compressed")
FIRST_CAMERA = "/dev/video0"
KINDS = "0, /dev/video2, rtsp://..., ros:/topic, a file, a folder, a recording, synthetic, demo"


def make_source(
    spec: str, config: SourceConfig, camera: str | None = None, *, endless_demo: bool = True
) -> Source:
    """The source that a spec names, not yet opened; SourceError if it names none.

    Args:
        spec: as after --camera.
        config: settings of all sources.
        camera: name in topics; by default made from the spec.
        endless_demo: whether the demo starts again when it ends, though `config.loop` is off.
    """
    camera = camera or camera_name(spec)
    if spec == "demo":
        return demo_source(config, camera, endless=endless_demo)
    if spec == "synthetic":
        return SyntheticSource(config, camera)
    if device := device_path(spec):
        if config.mic == "file":
            raise UsageError("camera has no sound track", spec, "give --mic a device, or none")
        return CameraSource(V4l2Device(device), config, camera)
    if is_address(spec):
        return MediaSource(spec, config, camera)
    if spec.startswith(ROS):
        from aam_edge.sources.ros import RosSource  # with all that ROS needs

        return RosSource(spec.removeprefix(ROS), config, camera)
    path, channel = split_channel(spec)
    if not spec or not path.exists():
        raise SourceError("no such camera or file", shown(spec), f"give one of {KINDS}")
    if path.suffix.lower() == ".mcap" and not path.is_dir():
        from aam_edge.sources.recording import RecordingSource  # with the mcap library

        return RecordingSource(path, config, camera, channel)
    if path.is_dir() or is_picture(path):
        return FolderSource(path, config, camera)
    return MediaSource(spec, config, camera)


def split_channel(spec: str) -> tuple[Path, str]:
    """`run.mcap#head` to the file and which of its cameras is meant; empty where none is named."""
    name, is_named, channel = spec.rpartition("#")
    if is_named and name.lower().endswith(".mcap") and not Path(spec).exists():
        return Path(name), channel
    return Path(spec), ""


def device_path(spec: str) -> str | None:
    """`0` and `/dev/video0` to `/dev/video0`; None if it is no device."""
    if spec.isascii() and spec.isdigit():
        return f"/dev/video{int(spec)}"
    return spec if spec.startswith("/dev/") else None


def camera_name(spec: str) -> str:
    """A short name for topics, of letters, digits, _ and - alone."""
    if is_address(spec):
        name = urlsplit(spec).hostname or ""
    elif spec.startswith(ROS):
        # What all cameras have at the end of their topics says nothing: /head/image_raw is head.
        parts = spec.removeprefix(ROS).strip("/").split("/")
        telling = [part for part in parts if part not in COMMON_PARTS]
        name = "-".join(telling or parts)
    elif device_path(spec):
        name = spec.rpartition("/")[2]
    else:
        path, channel = split_channel(spec)
        name = channel or path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "camera"


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that were there before: a, b, a-2."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            number += 1
            candidate = f"{name}-{number}"
        unique.append(candidate)
    return unique


def default_cameras() -> tuple[tuple[str, ...], str]:
    """What to look through when nothing was said: specs, and the words to tell the user."""
    if is_camera(FIRST_CAMERA):
        return ("0",), "no --camera given: using camera 0"
    return ("demo",), f"no --camera given and none at {FIRST_CAMERA}: showing the demo clip"


class OpenSource:
    """An open source, iterated over for its frames; ends with them, `with` or `close`."""

    def __init__(self, source: Source):
        self._source = source
        self.camera = source.camera
        source.open()

    def __iter__(self) -> Iterator[Frame]:
        try:
            while True:
                item = self._source.read()
                if isinstance(item, Frame):
                    yield item
        except Ended:
            return
        finally:
            self.close()

    def __enter__(self) -> OpenSource:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; twice is fine."""
        self._source.interrupt()
        self._source.close()


def open_source(
    spec: str, *, pace: str = "every", mic: str = "none", **settings: Any
) -> OpenSource:
    """Opens a source for `for frame in ...`; raises SourceError.

    Args:
        spec: as after --camera.
        pace: every frame as fast as it is read, or `real` time.
        mic: none, as only frames are given out.
        **settings: other fields of SourceConfig, such as size, fps or loop.
    """
    config = SourceConfig(pace=pace, mic=mic, **settings)  # type: ignore[arg-type]
    return OpenSource(make_source(spec, config, endless_demo=False))
