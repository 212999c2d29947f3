"""What a camera with a known lens sees of a flat picture: a board, or a far wall."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

from aam_edge.ego.rotation import rotations_of
from aam_edge.intrinsics import Floats, Intrinsics
from aam_edge.messages import Frame, Image

START_NS = 1_800_000_000_000_000_000


def pixels_of(intrinsics: Intrinsics, bearings: Floats) -> Floats:
    """Pixels (n, 2) of yaw and pitch (n, 2); NaN for what the lens does not see."""
    yaw, pitch = bearings.T
    level = np.cos(pitch)
    return intrinsics.pixels(
        np.column_stack([-np.sin(yaw) * level, np.sin(pitch), np.cos(yaw) * level])
    )


def pinhole(size: tuple[int, int] = (640, 480), focal_px: float = 500.0) -> Intrinsics:
    """Without distortion, the centre off the middle."""
    width, height = size
    matrix = np.array([[focal_px, 0, width / 2 + 3], [0, focal_px, height / 2 - 5], [0, 0, 1]])
    return Intrinsics(size, matrix, "plumb_bob", np.zeros(5))


@lru_cache(maxsize=2)
def all_rays(lens: Intrinsics) -> Floats:
    """(H * W, 3): of each pixel."""
    width, height = lens.size
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return lens.rays(pixels.reshape(-1, 2).astype(np.float64))


def look_at_plane(lens: Intrinsics, texture: Image, plane_from_texture: Floats) -> Image:
    """A textured plane through a lens.

    Args:
        lens: of the camera.
        texture: (h, w, 3).
        plane_from_texture: (3, 3), takes a texture's (column, row, 1) to a point of the optical
            frame.
    """
    width, height = lens.size
    hit = all_rays(lens) @ np.linalg.inv(plane_from_texture).T
    behind = ~(hit[:, 2] > 1e-9)
    hit[behind] = (0, 0, -1e-9)
    at = (hit[:, :2] / hit[:, 2:]).astype(np.float32).reshape(height, width, 2)
    at[behind.reshape(height, width)] = -1e4
    x, y = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    seen = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderValue=(127, 127, 127))
    return np.asarray(seen, np.uint8)


def board_seen(
    lens: Intrinsics, texture: Image, width_m: float, turn: Floats, middle: Floats
) -> Image:
    """A board, its middle at (x, y, z) metres of the optical frame, turned by a vector (3,)."""
    height, width = texture.shape[:2]
    scale = width_m / width
    flat = np.array([[scale, 0, -width_m / 2], [0, scale, -scale * height / 2], [0, 0, 0]])
    placed = rotations_of(turn[None])[0] @ flat
    placed[:, 2] += middle
    return look_at_plane(lens, texture, placed)


def wall(seed: int = 3) -> Image:
    """A texture with something to follow everywhere."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (60, 80, 3), np.uint8)
    smooth = cv2.resize(coarse, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.integers(0, 60, (300, 400, 3), np.uint8), (1600, 1200))
    return np.asarray(cv2.add(smooth, fine), np.uint8)


def wall_seen(lens: Intrinsics, texture: Image, pose: Floats) -> Image:
    """A far wall of 110 degrees by a camera whose frame is turned by `pose` (3, 3)."""
    height, width = texture.shape[:2]
    focal = width / 2 / np.tan(np.radians(55))
    flat = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, focal]])
    return look_at_plane(lens, texture, pose.T @ flat)


def rate_at(t: float) -> Floats:
    """(3,), rad/s, of a camera that turns about all its axes."""
    hz, phase = np.array([0.6, 0.43, 0.9]), np.array([0.0, 1.0, 2.0])
    return np.asarray(np.array([0.35, 0.5, 0.4]) * np.sin(2 * np.pi * hz * t + phase))


def turning_frames(
    lens: Intrinsics, seconds: float, fps: int = 30
) -> Iterator[tuple[Frame, Floats]]:
    """Frames of a camera that turns by `rate_at`, with its pose (3, 3)."""
    texture, pose, steps = wall(), np.eye(3), 20
    for k in range(int(seconds * fps)):
        image = wall_seen(lens, texture, pose)
        yield Frame(image, START_NS + round(k * 1e9 / fps), "turning", k), pose
        dt = 1 / fps / steps
        for step in range(steps):
            rate = rate_at(k / fps + (step + 0.5) * dt)
            pose = pose @ rotations_of(rate[None] * dt)[0]
