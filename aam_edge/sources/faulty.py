"""A camera without hardware, with a dial for each fault that real ones have.

It keeps its promises as strictly as a driver: nothing works while it is closed, a picture must be
grabbed before it is retrieved, and the stamp is that of the last grab.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import SourceError


class FaultyDevice:
    """Stands in for `V4l2Device`; the methods that turn dials may be called from any thread."""

    def __init__(
        self, size: tuple[int, int] = (640, 480), fps: float = 200.0, fourcc: str = "YUYV"
    ):
        self.name = "/dev/stand-in"
        self.opened = 0
        self._size, self._fps, self._fourcc = size, fps, fourcc
        self._modes = [size]
        self._is_open = self._is_busy = False
        self._is_plugged = True
        self._flows = threading.Event()
        self._flows.set()
        self._broken = 0
        self._clock_offset_ns = 0
        self._stamp_ns: int | None = None
        self._taken = 0

    # Dials.

    def unplug(self) -> None:
        """The next grab fails, and so does each opening."""
        self._is_plugged = False
        self._flows.set()

    def plug_in(self) -> None:
        """It is there again."""
        self._is_plugged = True

    def stall(self) -> None:
        """Grabs wait until `resume` or `unplug`, as in a stuck driver."""
        self._flows.clear()

    def resume(self) -> None:
        """Ends a stall."""
        self._flows.set()

    def occupy(self) -> None:
        """Another program holds the camera."""
        self._is_busy = True

    def break_frames(self, count: int) -> None:
        """So many of the next pictures cannot be decoded."""
        self._broken = count

    def jump_clock(self, offset_ns: int) -> None:
        """The driver's stamps are off by so much from now on."""
        self._clock_offset_ns = offset_ns

    def other_size(self, size: tuple[int, int]) -> None:
        """It delivers pictures of this size, whatever it has promised before."""
        self._size = size

    def allow(self, *sizes: tuple[int, int]) -> None:
        """Sizes that it grants when asked; others get the first."""
        self._modes = list(sizes)
        self._size = self._modes[0]

    # The device.

    def open(self, asked: Sequence[int]) -> None:
        """Takes what it can of the asked properties."""
        if not self._is_plugged:
            raise SourceError("no such camera", self.name, "plug it in")
        if self._is_busy:
            raise SourceError("camera is busy", self.name, "close the program that uses it")
        wishes = dict(zip(asked[::2], asked[1::2], strict=True))
        width = wishes.get(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
        height = wishes.get(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        if (width, height) in self._modes:
            self._size = (width, height)
        self._is_open = True
        self.opened += 1

    def grab(self) -> bool:
        """Waits a frame's time."""
        assert self._is_open, "grab on a closed device"
        self._flows.wait()
        time.sleep(1 / self._fps)  # the sensor's own rhythm, not a wait of a test
        if not self._is_plugged:
            return False
        self._stamp_ns = time.monotonic_ns()
        return True

    def retrieve(self) -> NDArray[Any] | None:
        """A picture whose grey says how many were taken before it."""
        assert self._stamp_ns is not None, "retrieve before grab"
        self._taken += 1
        if self._broken:
            self._broken -= 1
            return None
        picture = np.full((self._size[1], self._size[0], 3), self._taken % 256, np.uint8)
        if self._fourcc != "MJPG":
            return picture
        encoded = np.ravel(cv2.imencode(".jpg", picture)[1])
        return np.pad(encoded, (0, 100))[None]  # as OpenCV hands over a driver's whole buffer

    def get(self, prop: int) -> float:
        """What the driver says; -1 when closed, as OpenCV does."""
        if not self._is_open:
            return -1.0
        stamp_ns = (self._stamp_ns or 0) + self._clock_offset_ns
        known = {
            cv2.CAP_PROP_FRAME_WIDTH: float(self._size[0]),
            cv2.CAP_PROP_FRAME_HEIGHT: float(self._size[1]),
            cv2.CAP_PROP_FPS: self._fps,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*self._fourcc)),
            cv2.CAP_PROP_POS_MSEC: stamp_ns / 1e6,
        }
        return known.get(prop, -1.0)

    def release(self) -> None:
        """Closes it."""
        self._is_open, self._stamp_ns = False, None
