"""The camera's motion from its picture alone: a homography that most of the points follow.

Most is not all: people walk through, and a thing that fills the picture may pass for the world. So
a motion is believed only if it carries enough points in enough parts of the picture, and the camera
stands still where enough points in enough parts stand still: nothing of a turning camera's picture
does.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.ego.features import Followed, PointFollower
from aam_edge.intrinsics import Floats
from aam_edge.messages import Frame

NEAR_PX = 1.2
"""Pixels of the small picture between a point and where the homography takes it."""
STILL_PX = 0.35
"""A point that moved less stands still."""
LEAST_POINTS = 14
LEAST_PART = 0.5
"""Of all points that must follow the motion."""
STILL_PART = 0.35
"""Of all points that must stand still for a camera that does."""
LEAST_CELLS = 5
"""Of the 3 x 3 parts of the picture that must have points that agree."""
LARGEST = 1.0
"""Furthest that a corner of the picture may go, in half pictures."""
CORNERS = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


class PictureMotion:
    """Follows one camera's picture."""

    def __init__(self) -> None:
        self._follower = PointFollower()

    def update(self, frame: Frame) -> Floats | None:
        """The motion since the last frame as `ego_motion` has it; None when unsure."""
        followed = self._follower.follow(frame.image)
        return None if followed is None else homography_of(followed, frame.size)


def homography_of(followed: Followed, size: tuple[int, int]) -> Floats | None:
    """(3, 3) in -1..1 over pictures of (W, H); None when unsure."""
    before, after = followed.before, followed.after
    if len(before) < LEAST_POINTS:
        return None
    half = np.array(size) / 2
    is_still = np.hypot(*(after - before).T) < STILL_PX * followed.pixel
    if _agree(before[is_still], len(before), STILL_PART, half):
        return np.eye(3)
    found: Any
    found, inside = cv2.findHomography(
        before, after, cv2.USAC_MAGSAC, NEAR_PX * followed.pixel, maxIters=500, confidence=0.995
    )
    if found is None or not _agree(before[inside.ravel() > 0], len(before), LEAST_PART, half):
        return None
    return checked(normalised(np.asarray(found, np.float64), size))


def normalised(homography: Floats, size: tuple[int, int]) -> Floats:
    """A homography of pixels as one of -1..1 over pictures of (W, H), edge to edge, h33 = 1."""
    width, height = size
    to_pixels = np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2]])
    to_pixels = np.vstack([to_pixels, [0, 0, 1]])
    moved = np.linalg.inv(to_pixels) @ homography @ to_pixels
    return np.asarray(moved / moved[2, 2]) if moved[2, 2] else np.full((3, 3), np.nan)


def checked(ego: Floats) -> Floats | None:
    """The motion if a camera can have made it between two frames, else None."""
    if not np.isfinite(ego).all() or np.linalg.det(ego) <= 0:
        return None
    corners = np.column_stack([CORNERS, np.ones(4)]) @ ego.T
    if (corners[:, 2] <= 0).any():
        return None
    moved = corners[:, :2] / corners[:, 2:] - CORNERS
    return ego if np.abs(moved).max() <= LARGEST else None


def _agree(points: NDArray[np.float64], among: int, part: float, half: Floats) -> bool:
    """Whether points (n, 2) are many and lie all over the picture."""
    if len(points) < max(LEAST_POINTS, part * among):
        return False
    cells = np.clip(points * 1.5 / half, 0, 2.999).astype(int)
    return len(np.unique(cells @ [1, 3])) >= LEAST_CELLS
