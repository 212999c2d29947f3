"""Video files with their sound track, and network streams.

A file's items keep their own times, counted from the moment of opening (`pacer`). A live stream's
clock is the sender's and says nothing of ours, so there the stamps are those of the arrival.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame, Sound
from aam_edge.sources.container import ADVICE, Block, Container, Picture, sound_first
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.pacer import Pacer
from aam_edge.sources.sample_clock import SampleClock

logger = logging.getLogger(__name__)
LEAST_OPEN_S = 5.0
"""A stream needs a key frame before it opens, and those come each few seconds."""


class MediaSource:
    """A video by path or address; a file ends or starts again, a stream is live."""

    def __init__(self, url: str, config: SourceConfig, camera: str):
        self.camera = camera
        self._url, self._config = url, config
        self._is_file = not is_address(url)
        self.is_live = not self._is_file
        self._pacer = Pacer(config.pace)
        self._container: Container | None = None
        self._items: Iterator[tuple[int, Picture | Block]] = iter(())
        self._sound_clock = SampleClock()
        self._frame_id = -1

    def open(self) -> None:
        """Opens it and decodes the first picture; raises SourceError."""
        self.close()
        if self._is_file:
            check_file(Path(self._url))
        container = self._open_container()
        # An address may lead to a file, which has a length; a live stream has none.
        self.is_live = not self._is_file and not container.has_end
        self._sound_clock = SampleClock()
        self._items = self._play(container)
        head = []
        for timed in self._items:
            head.append(timed)
            if isinstance(timed[1], Picture):
                break
        else:
            self.close()
            raise SourceError("video has no pictures", shown(self._url), ADVICE)
        self._items = chain(head, self._items)
        self._pacer.start()

    def read(self) -> Frame | Sound:
        """The next picture or block of sound; raises Ended after the last of a file."""
        for base_ns, item in self._items:
            return self._arrived(item) if self.is_live else self._at_its_time(base_ns, item)
        if self.is_live:
            raise SourceError("stream has ended", shown(self._url), "it is opened again")
        raise Ended

    def interrupt(self) -> None:
        """Ends the wait for an item's time; a stream's read ends by its time limit."""
        self._pacer.interrupt()

    def close(self) -> None:
        """Closes file or connection."""
        self._items = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open_container(self) -> Container:
        stall_s = self._config.stall_s
        self._container = Container(
            self._url,
            shown=shown(self._url),
            with_sound=self._config.mic in (None, "file"),
            timeout_s=None if self._is_file else (max(LEAST_OPEN_S, stall_s), stall_s),
        )
        if self._config.mic == "file" and not self._container.has_sound:
            logger.warning("%s has no sound track: going on without sound", shown(self._url))
        return self._container

    def _play(self, container: Container) -> Iterator[tuple[int, Picture | Block]]:
        """Items with the time at which their round through the file began."""
        base_ns = 0
        while True:
            items = container.items()
            holds_back = container.has_sound and not self.is_live
            for item in sound_first(items) if holds_back else items:
                # Sound is often some 10 ms longer than the pictures: no hole between two rounds.
                if not (self._config.loop and item.time_ns >= container.length_ns):
                    yield base_ns, item
            if self.is_live or not self._config.loop:
                return
            base_ns += container.length_ns
            # Opened anew: seeking back to the start is exact in some containers only.
            container.close()
            container = self._open_container()

    def _at_its_time(self, base_ns: int, item: Picture | Block) -> Frame | Sound:
        offset_ns = base_ns + item.time_ns
        if isinstance(item, Block):
            self._pacer.wait_for(base_ns + item.end_ns)
            return Sound(item.samples, self._pacer.stamp(offset_ns))
        # Converted before the wait, or conversion would come on top of it.
        image = item.image()
        self._pacer.wait_for(offset_ns)
        self._frame_id += 1
        return Frame(image, self._pacer.stamp(offset_ns), self.camera, self._frame_id, item.gap)

    def _arrived(self, item: Picture | Block) -> Frame | Sound:
        now_ns = time.time_ns()
        self._pacer.wait_for(0)
        if isinstance(item, Block):
            measured_ns = now_ns - (item.end_ns - item.time_ns)
            return Sound(item.samples, self._sound_clock.start_of(len(item.samples), measured_ns))
        self._frame_id += 1
        return Frame(item.image(), now_ns, self.camera, self._frame_id, item.gap)


def is_address(spec: str) -> bool:
    """Whether it is a network address."""
    return urlsplit(spec).scheme in ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")


def shown(url: str) -> str:
    """The address without user and password, for logs and errors."""
    if not is_address(url):
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def check_file(path: Path) -> None:
    """Says what is wrong with a path better than a video library does."""
    if not path.exists():
        raise SourceError("file is not there", path, "check the path")
    if path.is_dir():
        raise SourceError("file is a folder", path, "give a file")
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as problem:
        why = f"{path}: {problem.strerror}"
        raise SourceError("file cannot be read", why, "check its rights") from problem
    if is_empty:
        raise SourceError("file is empty", path, "copy or record it again")
