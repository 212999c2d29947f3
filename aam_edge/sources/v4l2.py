"""The real camera device, and why one does not open."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from aam_edge.errors import SourceError

QUERY_CAPABILITIES = 0x80685600
"""VIDIOC_QUERYCAP: struct v4l2_capability, 104 bytes, read."""
HAS_DEVICE_CAPABILITIES = 0x80000000
MJPG = cv2.VideoWriter.fourcc(*"MJPG")
CAPTURES = 0x00000001 | 0x00001000
"""Single-planar or multi-planar video capture."""


class V4l2Device:
    """A video device node through OpenCV; `CaptureDevice` says what each call does."""

    def __init__(self, path: str):
        self.name = path
        self._capture = cv2.VideoCapture()

    def open(self, asked: Sequence[int]) -> None:
        """Opens the node; a SourceError says which of the usual reasons stands against it."""
        check_node(self.name)
        # CAP_V4L2 always: without it OpenCV tries other backends, prints about each, and may take
        # one that cannot honour what is asked.
        if not self._capture.open(self.name, cv2.CAP_V4L2, list(asked)):
            todo = f"close the program that uses it (fuser -v {self.name} shows it)"
            raise SourceError("camera is busy or does not stream", self.name, todo)
        if self._capture.get(cv2.CAP_PROP_FOURCC) == MJPG:
            # The camera's own JPEG, to be decoded by us: a recording takes it as it is.
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def grab(self) -> bool:
        """Waits for the next picture, as long as the driver's time limit."""
        return self._capture.grab()

    def retrieve(self) -> NDArray[Any] | None:
        """Decodes what was grabbed."""
        is_whole, picture = self._capture.retrieve()
        return picture if is_whole else None

    def get(self, prop: int) -> float:
        """Asks OpenCV."""
        return self._capture.get(prop)

    def release(self) -> None:
        """Stops the stream and closes the node."""
        self._capture.release()


def check_node(path: str) -> None:
    """Raises SourceError if the path cannot be a camera that we may use."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as problem:
        raise refused(path, problem) from problem
    try:
        can_capture = captures(descriptor)
    finally:
        os.close(descriptor)
    if not can_capture:
        todo = "choose another --camera; a webcam's second node carries no pictures"
        raise SourceError("device is no camera", path, todo)


def refused(path: str, problem: OSError) -> SourceError:
    """What the system's refusal to open a node means to the user."""
    if problem.errno in (errno.EACCES, errno.EPERM):
        todo = "join the group video (sudo usermod -aG video $USER) and log in again"
        return SourceError("no permission to use the camera", path, todo)
    if problem.errno == errno.EBUSY:
        todo = f"close the program that uses it (fuser -v {path} shows it)"
        return SourceError("camera is busy", path, todo)
    nodes = ", ".join(camera_nodes()) or "none is plugged in"
    return SourceError("no such camera", path, f"plug it in, or choose another --camera ({nodes})")


def captures(descriptor: int) -> bool:
    """Whether an open device says that it captures pictures."""
    answer = bytearray(104)
    try:
        fcntl.ioctl(descriptor, QUERY_CAPABILITIES, answer)
    except OSError:
        return False
    # driver (16), card (32), bus (32), version (4), then these two.
    all_nodes, this_node = struct.unpack_from("<II", answer, 84)
    return bool((this_node if all_nodes & HAS_DEVICE_CAPABILITIES else all_nodes) & CAPTURES)


def camera_nodes() -> list[str]:
    """Device nodes that capture pictures and that we may open, lowest number first."""
    named = Path("/dev").glob("video*")
    nodes = [node for node in named if re.fullmatch(r"video[0-9]+", node.name)]
    return [str(n) for n in sorted(nodes, key=lambda n: int(n.name[5:])) if is_camera(str(n))]


def is_camera(path: str) -> bool:
    """Whether the node is there, ours to open, and captures pictures."""
    try:
        check_node(path)
    except SourceError:
        return False
    return True
