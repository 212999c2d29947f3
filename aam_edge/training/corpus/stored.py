"""A file's content wherever it lies (folder, shard, video), and the pictures and maps in it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.messages import Image
from aam_edge.training.metrics import Points

RESTORE = "restore the file or take it out of the list"
MAT_PROBLEMS = (
    ValueError, TypeError, OSError, KeyError, IndexError, NotImplementedError,
    struct.error, zlib.error,
)  # fmt: skip
"""What scipy raises on broken files; it checks little."""


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """A file in memory, out of a shard or an archive."""

    name: str
    """With its ending, and where it came from."""
    content: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True, eq=False)
class VideoFile:
    """A video whose frames are read one after the other; going back starts it again."""

    path: Path
    _capture: cv2.VideoCapture | None = field(default=None, repr=False)
    _next: int = 0

    def frame(self, number: int) -> Image:
        """Frame `number`, from 0: (H, W, 3), BGR."""
        if self._capture is None or number < self._next:
            self.close()
            self._capture = cv2.VideoCapture(str(self.path))
        while self._next < number and self._capture.grab():
            self._next += 1
        is_read, image = self._capture.read() if self._next == number else (False, None)
        self._next += 1
        if not is_read or image is None:
            self.close()
            raise DataError("video cannot be read", f"{self.path}, frame {number}", RESTORE)
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Lets go of the file; the next frame opens it again."""
        if self._capture is not None:
            self._capture.release()
        self._capture, self._next = None, 0

    def __getstate__(self) -> tuple[Path]:  # an open video does not travel to another process
        return (self.path,)

    def __setstate__(self, state: tuple[Path]) -> None:
        (self.path,), self._capture, self._next = state, None, 0


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One frame of a video file."""

    video: VideoFile
    number: int

    def __str__(self) -> str:
        return f"{self.video.path}, frame {self.number}"


Stored = Path | Blob
"""A file's content."""


def content_of(stored: Stored) -> bytes:
    """The bytes; DataError names a file that is not there."""
    if isinstance(stored, Blob):
        return stored.content
    try:
        return stored.read_bytes()
    except OSError as problem:
        what = "file is missing" if isinstance(problem, FileNotFoundError) else "file is unreadable"
        raise DataError(what, stored, RESTORE) from problem


def suffix_of(stored: Stored) -> str:
    """`.jpg` and so on, in small letters."""
    return Path(stored.name).suffix.lower()


def read_image(stored: Stored | VideoFrame) -> Image:
    """(H, W, 3), BGR."""
    if isinstance(stored, VideoFrame):
        return stored.video.frame(stored.number)
    return _decoded(stored, cv2.IMREAD_COLOR)


def read_grey(stored: Stored) -> NDArray[np.uint8]:
    """A map as drawn: (H, W), 0..255."""
    return _decoded(stored, cv2.IMREAD_GRAYSCALE)


def _decoded(stored: Stored, how: int) -> NDArray[np.uint8]:
    content = content_of(stored)
    if not _is_whole(content):
        raise DataError("picture is cut off", stored, RESTORE)
    # Maps carry no orientation, so the picture's is left alone too.
    flags = how | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise DataError("picture cannot be read", stored, RESTORE)
    return np.asarray(image, np.uint8)


def _is_whole(content: bytes) -> bool:
    """OpenCV fills what a cut JPEG lacks with grey and says nothing to its caller."""
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in content[-1024:]
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-1024:]
    return True


def read_fixation_map(stored: Stored) -> Points:
    """Centres of the fixated pixels of a picture or of a .mat (`eyeMap`), as fractions.

    In a picture, fixated is what is brighter than half of full scale, 1 or 255; in a .mat what is
    above 0. A pixel counts once.
    """
    if suffix_of(stored) == ".mat":
        drawn = read_mat(stored, "eyeMap").squeeze()
        fixated = drawn > 0
    else:
        drawn = read_grey(stored)
        fixated = drawn > (127 if drawn.max() > 1 else 0)
    if fixated.ndim != 2:
        raise DataError("fixation map is not (H, W)", f"{stored}: {drawn.shape}", RESTORE)
    places = np.argwhere(fixated)
    return np.asarray((places[:, ::-1] + 0.5) / fixated.shape[::-1], np.float64)


def read_mat(stored: Stored, key: str) -> NDArray[Any]:
    """One variable of a MATLAB file, of version 7.2 or before."""
    from io import BytesIO

    from scipy.io import loadmat

    content = content_of(stored)
    try:
        value = loadmat(BytesIO(content), variable_names=[key])[key]
    except MAT_PROBLEMS as problem:
        raise DataError("MATLAB file cannot be read", f"{stored}, {key}", RESTORE) from problem
    # A sparse matrix is written as one.
    return np.asarray(value.todense() if hasattr(value, "todense") else value)
