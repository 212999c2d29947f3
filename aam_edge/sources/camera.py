"""A camera through OpenCV and V4L2.

Capture time: V4L2 stamps a buffer when the driver has filled it, on CLOCK_MONOTONIC, and OpenCV
gives that stamp in milliseconds as CAP_PROP_POS_MSEC after grab(). With both clocks read at once,

    capture_ns = unix_now - (monotonic_now - stamp)        where 0 <= monotonic_now - stamp <= 2 s

Other stamps (0, -1, time since boot with sleep) are refused and the time of the grab is taken.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.config import SourceConfig, parse_size
from aam_edge.errors import SourceError
from aam_edge.messages import Frame, Sound
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.picture import to_bgr8

logger = logging.getLogger(__name__)
OLDEST_STAMP_NS = 2_000_000_000
RATE_TOLERANCE = 0.1
MOST_BROKEN = 30
JPEG_START = b"\xff\xd8"


class CaptureDevice(Protocol):
    """The door to a camera: what `V4l2Device` and the stand-in `FaultyDevice` have in common."""

    name: str

    def open(self, asked: Sequence[int]) -> None:
        """Opens with pairs of OpenCV property and value; raises SourceError."""

    def grab(self) -> bool:
        """Waits for the next picture; False if none comes."""

    def retrieve(self) -> NDArray[Any] | None:
        """The grabbed picture; None if it is broken. MJPG may come as its bytes, (1, n) or (n,)."""

    def get(self, prop: int) -> float:
        """An OpenCV property; 0 or -1 if the device does not know it."""

    def release(self) -> None:
        """Twice is fine."""


class CameraSource:
    """Pictures of a device, stamped before they are decoded."""

    is_live = True

    def __init__(self, device: CaptureDevice, config: SourceConfig, camera: str):
        self.camera = camera
        self._device, self._config = device, config
        self._mode = Mode((0, 0), 0.0, "")
        self._gaps = GapCounter()
        self._frame_id = -1
        self._interrupted = False

    def open(self) -> None:
        """Opens the device and compares what was asked with what is got; raises SourceError."""
        self._device.open(asked_properties(self._config))
        self._mode = Mode.of(self._device)
        try:
            check_mode(self._config, self._mode)
        except SourceError:
            self._device.release()
            raise
        self._gaps.expect(self._mode.fps)
        logger.info("camera %s is open: %s", self._device.name, self._mode)

    def read(self) -> Frame | Sound:
        """The next picture; SourceError when the camera is lost or has changed its size."""
        broken = 0
        while not self._interrupted and broken < MOST_BROKEN:
            if not self._device.grab():
                todo = "check plug and cable; it is opened again when it is back"
                raise SourceError("camera gives no pictures", self._device.name, todo)
            capture_ns = capture_time(
                self._device.get(cv2.CAP_PROP_POS_MSEC), time.time_ns(), time.monotonic_ns()
            )
            picture, jpeg = unpacked(self._device.retrieve())
            if picture is not None:
                return self._frame(picture, capture_ns, broken, jpeg)
            broken += 1
        if self._interrupted:
            raise Ended
        todo = "check the cable, or choose another --pixel-format"
        raise SourceError("camera sends broken pictures", f"{self._device.name}: {broken}", todo)

    def _frame(
        self, picture: NDArray[Any], capture_ns: int, broken: int, jpeg: bytes | None
    ) -> Frame:
        image = to_bgr8(picture)
        size = (image.shape[1], image.shape[0])
        if self._mode.size != (0, 0) and size != self._mode.size:
            values = f"{self._device.name}: {_size(self._mode.size)}, now {_size(size)}"
            raise SourceError("camera has changed its size", values, "it is opened again")
        self._frame_id += 1
        gap = max(broken, self._gaps.missing(capture_ns))
        return Frame(image, capture_ns, self.camera, self._frame_id, gap, jpeg)

    def interrupt(self) -> None:
        """Ends the next read; one that waits in the driver ends when the driver lets go."""
        self._interrupted = True

    def close(self) -> None:
        """Gives the device back."""
        self._device.release()


@dataclass(frozen=True)
class Mode:
    """What a camera delivers; 0 and empty where it does not say."""

    size: tuple[int, int]
    fps: float
    pixel_format: str

    @classmethod
    def of(cls, device: CaptureDevice) -> Mode:
        """Reads it back from the device."""
        width, height = device.get(cv2.CAP_PROP_FRAME_WIDTH), device.get(cv2.CAP_PROP_FRAME_HEIGHT)
        fourcc = int(max(0, device.get(cv2.CAP_PROP_FOURCC)))
        letters = fourcc.to_bytes(8, "little")[:4].decode("ascii", "replace").strip("\0 ")
        return cls((int(width), int(height)), max(0.0, device.get(cv2.CAP_PROP_FPS)), letters)

    def __str__(self) -> str:
        return f"{_size(self.size)}, {self.fps:g} frames/s, {self.pixel_format or 'unknown format'}"


def asked_properties(config: SourceConfig) -> list[int]:
    """Pairs for the constructor of VideoCapture.

    FOURCC first: a rate or size that only MJPG reaches is refused while the format is still YUYV,
    and each set() after opening restarts the stream.
    """
    asked = []
    if config.pixel_format is not None:
        asked += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.pixel_format)]
    if config.size is not None:
        width, height = parse_size(config.size)
        asked += [cv2.CAP_PROP_FRAME_WIDTH, width, cv2.CAP_PROP_FRAME_HEIGHT, height]
    if config.fps is not None:
        asked += [cv2.CAP_PROP_FPS, round(config.fps)]
    return asked


def check_mode(config: SourceConfig, got: Mode) -> None:
    """Raises SourceError where the camera gives something else than asked, unless that is fine."""
    for what, asked, given, option in differences(config, got):
        if not config.accept_nearest:
            todo = f"choose {option} or pass --accept-nearest"
            raise SourceError(f"camera gave another {what}", f"asked {asked}, got {given}", todo)
        logger.warning("camera gave another %s (asked %s, got %s)", what, asked, given)


def differences(config: SourceConfig, got: Mode) -> list[tuple[str, str, str, str]]:
    """What, asked, got, and the option that asks for what is got."""
    found = []
    asked_format = (config.pixel_format or got.pixel_format).upper()
    if asked_format != got.pixel_format.upper():
        given = got.pixel_format or "unknown"
        found.append(("pixel format", asked_format, given, f"--pixel-format {given}"))
    if config.size is not None and parse_size(config.size) != got.size:
        size = _size(got.size)
        found.append(("size", config.size.lower(), size, f"--size {size}"))
    fps = config.fps or got.fps
    if abs(got.fps - fps) > RATE_TOLERANCE * fps:
        # The usual reason: raw pictures of this size do not fit through USB 2.
        hint = "" if got.pixel_format == "MJPG" else ", --pixel-format MJPG"
        found.append(("rate", f"{fps:g}", f"{got.fps:g}", f"--fps {got.fps:g}{hint}"))
    return found


def unpacked(picture: NDArray[Any] | None) -> tuple[NDArray[Any] | None, bytes | None]:
    """A picture and, where it came as JPEG, the camera's own bytes, for a recording."""
    if picture is None or picture.dtype != np.uint8 or max(picture.shape) != picture.size:
        return picture, None
    # Drivers give whole buffers: behind the end marker there are zeros.
    jpeg = picture.tobytes().rstrip(b"\0")
    if not jpeg.startswith(JPEG_START):
        return None, None
    try:
        # As OpenCV's own capture decodes it.
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), jpeg
    except cv2.error:
        return None, None


def capture_time(position_ms: float, now_ns: int, monotonic_ns: int) -> int:
    """UNIX time of a capture from the driver's stamp; `now_ns` where the stamp cannot be one."""
    if not position_ms > 0 or position_ms > monotonic_ns:  # also NaN and what would overflow
        return now_ns
    age_ns = monotonic_ns - round(position_ms * 1e6)
    return now_ns - age_ns if 0 <= age_ns <= OLDEST_STAMP_NS else now_ns


class GapCounter:
    """Counts missing frames by the holes between stamps.

    A camera in the dark halves its rate without saying so; therefore the interval is the median of
    the last ones seen where that is far longer than what the camera promised.
    """

    def __init__(self) -> None:
        self._promised_ns = 0
        self._recent_ns: deque[int] = deque(maxlen=15)
        self._last_ns: int | None = None

    def expect(self, fps: float) -> None:
        """Tells the promised rate, 0 if there is none; the last stamp is kept over a reopening."""
        self._promised_ns = round(1e9 / fps) if fps > 0 else 0
        self._recent_ns.clear()

    def missing(self, capture_ns: int) -> int:
        """Frames that should have come between the last stamp and this one."""
        last_ns, self._last_ns = self._last_ns, capture_ns
        if last_ns is None or capture_ns <= last_ns:
            return 0
        step_ns = capture_ns - last_ns
        seen_ns = round(median(self._recent_ns)) if self._recent_ns else 0
        usual_ns = seen_ns if seen_ns > 1.5 * self._promised_ns else self._promised_ns
        self._recent_ns.append(step_ns)
        return max(0, round(step_ns / usual_ns) - 1) if usual_ns else 0


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
