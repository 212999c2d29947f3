"""Calibration files: the YAML that ROS's camera_calibration writes and camera_info_manager reads.

Keys are those of ROS (image_width, camera_matrix, distortion_model, ...); one more,
`reprojection_error_px`, says how well it fits, and readers of ROS pass over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aam_edge.errors import DataError
from aam_edge.intrinsics import COEFFICIENTS, Floats, Intrinsics
from aam_edge.strict_yaml import parse_yaml, read_text

ANY_CAMERA = ""
"""Key of the file that holds for every camera that has none of its own."""
REMEDY = "make one with aam-edge calibrate camera"


def read_camera_yaml(path: Path) -> Intrinsics:
    """Camera matrix and lens; DataError says what is wrong with the file."""
    tree = read_tree(path, "calibration file")
    try:
        model = str(tree["distortion_model"])
        if model not in COEFFICIENTS:
            known = ", ".join(COEFFICIENTS)
            values = f"{path}: {model}"
            raise DataError("distortion model is not known", values, f"calibrate as one of {known}")
        error_px = tree.get("reprojection_error_px")
        intrinsics = Intrinsics(
            size=(int(tree["image_width"]), int(tree["image_height"])),
            matrix=_numbers(tree["camera_matrix"]).reshape(3, 3),
            model=model,
            distortion=_padded(_numbers(tree["distortion_coefficients"]), COEFFICIENTS[model]),
            camera=str(tree.get("camera_name", "")),
            error_px=None if error_px is None else float(error_px),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        why = f"no {problem}" if isinstance(problem, KeyError) else problem
        raise DataError("calibration file is wrong", f"{path}: {why}", REMEDY) from problem
    _check(intrinsics, path)
    return intrinsics


def by_camera(specs: Sequence[str]) -> dict[str, Path]:
    """`FILE` and `CAMERA=FILE` to files by camera, the former for ANY_CAMERA."""
    files: dict[str, Path] = {}
    for spec in specs:
        name, is_named, file = spec.partition("=")
        is_named = is_named if not Path(spec).exists() else ""
        files[name if is_named else ANY_CAMERA] = Path(file if is_named else spec)
    return files


def write_camera_yaml(intrinsics: Intrinsics, path: Path) -> None:
    """Writes what `read_camera_yaml` reads; DataError if the file cannot be written."""
    rectified = np.column_stack([intrinsics.matrix, np.zeros(3)])
    error_px = intrinsics.error_px
    lines = [
        f"image_width: {intrinsics.size[0]}",
        f"image_height: {intrinsics.size[1]}",
        f"camera_name: {intrinsics.camera or 'camera'}",
        *_block("camera_matrix", intrinsics.matrix),
        f"distortion_model: {intrinsics.model}",
        *_block("distortion_coefficients", intrinsics.distortion[None]),
        *_block("rectification_matrix", np.eye(3)),
        # Rectified pictures keep the focal length.
        *_block("projection_matrix", rectified),
    ]
    lines += [] if error_px is None else [f"reprojection_error_px: {error_px:.4f}"]
    write_lines(lines, path)


def read_tree(path: Path, what: str) -> dict[str, Any]:
    """A YAML file that is a map; DataError, in which the file is called `what`."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise DataError(f"{what} cannot be read", f"{path}: {why}", "check the path") from problem
    try:
        tree = parse_yaml(text)
    except ValueError as problem:
        todo = "mend or make it again"
        raise DataError(f"{what} is not YAML", f"{path}: {problem}", todo) from None
    if not isinstance(tree, dict):
        raise DataError(f"{what} is not a map", path, "give one with key: value lines")
    return tree


def write_lines(lines: list[str], path: Path) -> None:
    """Writes a small text file; DataError if that does not go."""
    try:
        path.write_text("\n".join(lines) + "\n")
    except OSError as problem:
        values = f"{path}: {problem.strerror}"
        raise DataError("file cannot be written", values, "choose another --out") from problem


def _block(name: str, matrix: Floats) -> list[str]:
    numbers = ", ".join(f"{value:.10g}" for value in matrix.ravel())
    rows, columns = matrix.shape
    return [f"{name}:", f"  rows: {rows}", f"  cols: {columns}", f"  data: [{numbers}]"]


def _numbers(block: Any) -> Floats:
    return np.array([float(value) for value in block["data"]])


def _padded(distortion: Floats, n: int) -> Floats:
    """Exactly n coefficients: ROS leaves out those that are zero, OpenCV adds ones that are."""
    if len(distortion) > n and distortion[n:].any():
        raise ValueError(f"{len(distortion)} distortion coefficients, the model has {n}")
    return np.append(distortion, np.zeros(n))[:n]


def _check(intrinsics: Intrinsics, path: Path) -> None:
    """Refuses numbers that are no camera's."""
    numbers = np.concatenate([intrinsics.matrix.ravel(), intrinsics.distortion])
    is_finite = bool(np.isfinite(numbers).all())
    if not is_finite or min(intrinsics.size) < 1 or min(intrinsics.focal_px) <= 0:
        values = f"{path}: size {intrinsics.size}, focal length {intrinsics.focal_px}"
        raise DataError("calibration is no camera's", values, REMEDY)
