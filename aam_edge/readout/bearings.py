"""From a pixel to a bearing, through the lens, and back. Pure functions, and the cameras' lenses.

Bearings are those of messages: radians from the optical frame (z forward, x right, y down), yaw
positive to the left, pitch positive downwards, as REP 103 has it for a body that looks along x:

    yaw = atan2(-x, z)    pitch = atan2(y, hypot(x, z))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from aam_edge.camera_yaml import ANY_CAMERA, by_camera, read_camera_yaml
from aam_edge.intrinsics import Floats, Intrinsics
from aam_edge.messages import Gaze, Target

logger = logging.getLogger(__name__)

Place = TypeVar("Place", Target, Gaze)
Size = tuple[int, int]


def bearings_of(intrinsics: Intrinsics, points: Floats) -> Floats:
    """Yaw and pitch (n, 2) of pixels (n, 2); NaN for pixels that no ray reaches."""
    x, y, z = intrinsics.rays(points).T
    return np.column_stack([np.arctan2(-x, z), np.arctan2(y, np.hypot(x, z))])


def read_calibrations(specs: Sequence[str]) -> dict[str, Intrinsics]:
    """Files, as `FILE` or `CAMERA=FILE`, to lenses by camera; raises DataError."""
    return {camera: read_camera_yaml(file) for camera, file in by_camera(specs).items()}


class Bearings:
    """The lenses of all cameras; says once where one does not fit the pictures."""

    def __init__(self, calibrations: Mapping[str, Intrinsics] | None = None) -> None:
        """`calibrations` by camera name, ANY_CAMERA for the others."""
        self._calibrations = dict(calibrations or {})
        self._lenses: dict[tuple[str, Size], Intrinsics | None] = {}
        self.troubles: list[str] = []
        """A line for each camera whose calibration cannot be used."""

    def lens(self, camera: str, size: Size) -> Intrinsics | None:
        """The calibration for pictures of (W, H), None if there is none that fits."""
        key = camera, size
        if key not in self._lenses:
            self._lenses[key] = self._fitted(camera, size)
        return self._lenses[key]

    def aim(self, camera: str, size: Size, places: Sequence[Place]) -> tuple[Place, ...]:
        """The places in pictures of (W, H) with yaw and pitch, where there is a calibration."""
        lens = self.lens(camera, size)
        if lens is None or not places:
            return tuple(places)
        aimed = bearings_of(lens, np.array([[place.x, place.y] for place in places]))
        return tuple(
            place if np.isnan(yaw) else replace(place, yaw=yaw, pitch=pitch)
            for place, (yaw, pitch) in zip(places, aimed.tolist(), strict=True)
        )

    def _fitted(self, camera: str, size: Size) -> Intrinsics | None:
        found = self._calibrations.get(camera, self._calibrations.get(ANY_CAMERA))
        if found is None:
            return None
        sizes = f"{camera}: calibration {_words(found.size)}, picture {_words(size)}"
        if not found.fits(size):
            line = f"calibration is of another shape ({sizes}): no bearings; calibrate at this size"
            self.troubles.append(line)
            logger.warning("%s", line)
            return None
        if size != found.size:
            logger.info("calibration is scaled (%s)", sizes)
        return found.scaled(size)


def _words(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
