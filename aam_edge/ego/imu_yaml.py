"""How a gyro sits beside its camera: the file that `aam-edge calibrate imu` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aam_edge.camera_yaml import read_tree, write_lines
from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats

REMEDY = "make one with aam-edge calibrate imu"
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class ImuMount:
    """What turns a gyro's reading into the camera's."""

    camera_from_imu: Floats
    """(3, 3), takes directions of the sensor's frame to the camera's optical frame."""
    time_offset_s: float = 0.0
    """Added to a sample's time it gives the camera's: positive where the gyro's clock is behind."""
    bias: Floats = field(default_factory=lambda: np.zeros(3))
    """(3,), rad/s, what the gyro says while it stands still."""


def read_imu_yaml(path: Path) -> ImuMount:
    """Reads what `write_imu_yaml` wrote; DataError says what is wrong."""
    tree = read_tree(path, "IMU calibration")
    try:
        rotation = np.array(tree["camera_from_imu"], np.float64).reshape(3, 3)
        bias = np.array(tree.get("gyro_bias_rad_s", [0, 0, 0]), np.float64).reshape(3)
        mount = ImuMount(rotation, float(tree.get("time_offset_s", 0.0)), bias)
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        why = f"no {problem}" if isinstance(problem, KeyError) else problem
        raise DataError("IMU calibration is wrong", f"{path}: {why}", REMEDY) from problem
    is_turn = np.allclose(rotation @ rotation.T, np.eye(3), atol=ROTATION_TOLERANCE)
    numbers = np.append(bias, mount.time_offset_s)
    if not is_turn or np.linalg.det(rotation) < 0 or not np.isfinite(numbers).all():
        raise DataError("camera_from_imu is no rotation", path, REMEDY)
    return mount


def write_imu_yaml(mount: ImuMount, path: Path, remarks: list[str]) -> None:
    """Writes the file, remarks as comments on top."""

    def numbers(values: Floats) -> str:
        return "[" + ", ".join(f"{value:.8g}" for value in values) + "]"

    lines = [f"# {remark}" for remark in remarks]
    lines += ["camera_from_imu:", *(f"  - {numbers(row)}" for row in mount.camera_from_imu)]
    lines += [f"time_offset_s: {mount.time_offset_s:.5f}"]
    lines += [f"gyro_bias_rad_s: {numbers(mount.bias)}"]
    write_lines(lines, path)
