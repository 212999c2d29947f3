"""The camera's motion between two of its frames, for the filter's predict step.

A motion is (3, 3) and acts on (x, y, 1) with x, y in -1..1 over the picture, x right, y
down, -1 and 1 the outer edges: it takes a point of the last picture to where the same point of the
world is in this one. h33 = 1. The identity stands for "not known" as well as for "not moved".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aam_edge.ego.gyro import Gyro
from aam_edge.ego.imu_yaml import ImuMount
from aam_edge.ego.turned_picture import TurnedPicture
from aam_edge.intrinsics import Floats, Intrinsics
from aam_edge.messages import Frame

logger = logging.getLogger(__name__)

Lens = Callable[[str, tuple[int, int]], Intrinsics | None]
"""Camera name and picture size (W, H) to the lens, None without a calibration that fits."""


GyroFrom = Callable[[int], Gyro]
"""Stamp of the first frame to the gyro: `GyroLog.gyro`, or a live one whatever the stamp."""


UNSURE_FRAMES = 30
"""So many in a row are told: a plain wall may fill a picture for a moment."""


class Motion(Protocol):
    """One way to know how a camera moved."""

    def update(self, frame: Frame) -> Floats | None:
        """The motion since the last frame of this camera; None when unsure."""


class EgoMotion:
    """One camera's motion, frame by frame; the identity where it is not known."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self._is_first = True
        self._unsure = 0

    def update(self, frame: Frame) -> NDArray[np.float32]:
        """The motion since the last frame that was given here."""
        ego = self._motion.update(frame)
        self._unsure = self._unsure + (not self._is_first) if ego is None else 0
        self._is_first = False
        return (np.eye(3) if ego is None else ego).astype(np.float32)

    @property
    def trouble(self) -> str:
        """For health, that the motion has not been known for a while; empty while it is."""
        if self._unsure < UNSURE_FRAMES:
            return ""
        return f"the camera's motion is not known for {self._unsure} frames"


class GyroMotion:
    """Motion from a gyro that is fixed to the camera; says where its samples end and go on."""

    def __init__(self, gyro_from: GyroFrom, mount: ImuMount, lens: Lens) -> None:
        self._gyro_from, self._mount, self._lens = gyro_from, mount, lens
        self._gyro: Gyro | None = None
        self._last_ns = 0
        self._turned: tuple[Intrinsics, TurnedPicture] | None = None
        self._missing = 0

    def update(self, frame: Frame) -> Floats | None:
        """From the rates between the two captures; None in holes and without a calibration."""
        last_ns, self._last_ns = self._last_ns, frame.capture_ns
        if self._gyro is None:
            self._gyro = self._gyro_from(frame.capture_ns)
            return None
        turn = self.camera_turn(last_ns, frame.capture_ns)
        self._count(frame.camera, is_known=turn is not None)
        turned = self._picture(frame)
        return None if turn is None or turned is None else turned.homography(turn)

    def camera_turn(self, from_ns: int, to_ns: int) -> Floats | None:
        """(3, 3): takes directions of the optical frame at one time to those at a later one."""
        if self._gyro is None:
            return None
        offset_ns = round(self._mount.time_offset_s * 1e9)
        turn = self._gyro.turn(from_ns - offset_ns, to_ns - offset_ns, self._mount.bias)
        mount = self._mount.camera_from_imu
        return None if turn is None else np.asarray(mount @ turn @ mount.T)

    def _picture(self, frame: Frame) -> TurnedPicture | None:
        lens = self._lens(frame.camera, frame.size)
        if lens is None:
            return None
        if self._turned is None or self._turned[0] is not lens:
            self._turned = lens, TurnedPicture(lens)
        return self._turned[1]

    def _count(self, camera: str, *, is_known: bool) -> None:
        if not is_known and not self._missing:
            logger.warning("%s: gyro has no samples: going on without ego-motion", camera)
        elif is_known and self._missing:
            logger.info("%s: gyro is back after %d frames", camera, self._missing)
        self._missing = 0 if is_known else self._missing + 1
