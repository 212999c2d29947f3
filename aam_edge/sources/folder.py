"""A folder of pictures, or one picture, as a source."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame, Image, Sound
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.pacer import Pacer
from aam_edge.sources.picture import is_picture, read_picture

logger = logging.getLogger(__name__)
DEFAULT_FPS = 10.0


class FolderSource:
    """The pictures of a folder in the order a person would sort them; broken ones are skipped."""

    is_live = False

    def __init__(self, path: Path, config: SourceConfig, camera: str):
        self.camera = camera
        self._path, self._loop = path, config.loop
        self._interval_ns = round(1e9 / (config.fps or DEFAULT_FPS))
        self._pacer = Pacer(config.pace)
        self._files: list[Path] = []
        self._broken: set[Path] = set()
        self._next = 0
        self._frame_id = -1

    def open(self) -> None:
        """Lists the pictures; raises SourceError if there are none."""
        self._files = list_pictures(self._path)
        self._next = 0
        self._pacer.start()

    def read(self) -> Frame | Sound:
        """The next picture that can be decoded; a broken one's time passes as a gap."""
        gap = 0
        while True:
            number, self._next = self._next, self._next + 1
            if number >= len(self._files) and not self._loop:
                self._end()
            image = self._picture(self._files[number % len(self._files)])
            if image is None:
                gap += 1
                continue
            self._pacer.wait_for(number * self._interval_ns)
            self._frame_id += 1
            stamp = self._pacer.stamp(number * self._interval_ns)
            return Frame(image, stamp, self.camera, self._frame_id, gap)

    def _picture(self, path: Path) -> Image | None:
        if path in self._broken:
            return None
        try:
            return read_picture(path)
        except SourceError as problem:
            logger.warning("%s; skipped", problem)
            self._broken.add(path)
            if len(self._broken) == len(self._files):
                self._refuse()
            return None

    def _end(self) -> None:
        if len(self._broken) == len(self._files):
            self._refuse()
        raise Ended

    def _refuse(self) -> None:
        todo = "give pictures that an image viewer can show"
        values = f"{self._path}: {len(self._files)} tried"
        raise SourceError("no picture can be decoded", values, todo)

    def interrupt(self) -> None:
        """Ends the wait for a picture's time."""
        self._pacer.interrupt()

    def close(self) -> None:
        """Nothing is held."""


def list_pictures(path: Path) -> list[Path]:
    """The picture files of a folder, `frame2` before `frame10`; a file is a folder of one."""
    if path.is_file():
        return [path]
    try:
        files = [file for file in path.iterdir() if is_picture(file) and file.is_file()]
    except OSError as problem:
        values = f"{path}: {problem.strerror or 'cannot be read'}"
        raise SourceError("folder cannot be read", values, "check path and rights") from problem
    if not files:
        raise SourceError("folder has no pictures", path, "give one with .jpg or .png files")
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts numbers inside names by value; the name itself settles ties such as 01 and 1."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name.lower())
    return [(bool(digits), int(digits or 0), other) for digits, other in parts], name
