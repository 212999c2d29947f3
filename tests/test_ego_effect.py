"""What ego-motion is for: a camera that turns faster than the picture can be followed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import aam_edge
from aam_edge.ego.ego_motion import EgoMotion, GyroMotion
from aam_edge.ego.gyro import Gyro
from aam_edge.ego.imu_yaml import ImuMount
from aam_edge.ego.rotation import rotations_of
from aam_edge.intrinsics import Floats
from aam_edge.messages import Frame, Map, Observation
from tests.views import START_NS, pinhole

pytestmark = pytest.mark.slow
FPS, FRAMES, SETTLED = 15, 30, 4
LENS = pinhole((320, 240), 343.0)
PEAK_RAD_S, SWING_HZ = np.radians(110), 0.8


def rate_at(t: float) -> Floats:
    return np.array([0.0, PEAK_RAD_S * np.cos(2 * np.pi * SWING_HZ * t), 0.0])


def turning() -> list[tuple[Frame, Floats]]:
    """A camera that pans before a still of the packaged clip, with its poses."""
    with aam_edge.open_source("demo") as source:
        photo = next(iter(source)).image
    height, width = photo.shape[:2]
    focal = width / 2 / np.tan(np.radians(50))
    flat = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    found, pose = [], np.eye(3)
    for k in range(FRAMES):
        view = LENS.matrix @ pose.T @ np.linalg.inv(flat)
        image = cv2.warpPerspective(photo, view, LENS.size, borderMode=cv2.BORDER_REFLECT)
        frame = Frame(np.asarray(image, np.uint8), START_NS + k * 10**9 // FPS, "turning", k)
        found.append((frame, pose))
        for step in range(20):
            rate = rate_at((k + (step + 0.5) / 20) / FPS)
            pose = pose @ rotations_of(rate[None] / (20 * FPS))[0]
    return found


def stray(frames: list[tuple[Frame, Floats]], motion: EgoMotion | None) -> float:
    """Mean part of the density that is not where it was in the world one frame before."""
    stream, before, found = aam_edge.load(engine="onnx").stream(), None, []
    for frame, pose in frames:
        ego = None if motion is None else motion.update(frame)
        (attention,) = stream.step(Observation(frame, ego=ego))
        if before is not None:
            found.append(moved_off(*before, attention.density, pose))
        before = attention.density, pose
    return float(np.mean(found[SETTLED:]))


def moved_off(old: Map, old_pose: Floats, new: Map, pose: Floats) -> float:
    rows, columns = new.shape
    cells = np.diag([columns / LENS.size[0], rows / LENS.size[1], 1.0])
    turn = LENS.matrix @ pose.T @ old_pose @ np.linalg.inv(LENS.matrix)
    warp = cells @ turn @ np.linalg.inv(cells)
    turned = cv2.warpPerspective(old, warp, (columns, rows))
    both = cv2.warpPerspective(np.ones_like(old), warp, (columns, rows)) > 0.99
    parts = [density[both] / density[both].sum() for density in (turned, new)]
    return float(np.abs(parts[0] - parts[1]).sum() / 2)


def test_state_follows_the_world_by_a_fifth_better_with_a_gyro() -> None:
    frames, gyro = turning(), Gyro()
    for k in range(int(FRAMES / FPS * 400) + 40):
        gyro.add(START_NS + k * 2_500_000, rate_at(k / 400).tolist())
    known = EgoMotion(GyroMotion(lambda _: gyro, ImuMount(np.eye(3)), lambda *_: LENS))
    blind, seeing = stray(frames, None), stray(frames, known)
    assert seeing < 0.8 * blind, (seeing, blind)
