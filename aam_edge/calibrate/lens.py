"""From views of a board to a lens, by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from aam_edge.calibrate.board import View
from aam_edge.errors import DataError
from aam_edge.intrinsics import COEFFICIENTS, FISHEYE, Floats, Intrinsics

MODELS = {"pinhole": "plumb_bob", "rational": "rational_polynomial", "fisheye": FISHEYE}
"""What the user says to the names of ROS."""
LEAST_VIEWS = {"plumb_bob": 4, "rational_polynomial": 8, FISHEYE: 4}
BAD_VIEW, BAD_PX = 3.0, 0.5
"""A view whose error is so many times the median one, and so large, has corners that lie wrong."""
REMEDY = "take more pictures: tilted, near and far, in all corners of the picture"


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A lens, and how well it fits."""

    intrinsics: Intrinsics
    view_errors_px: Floats
    """(n,), root mean square distance in each view."""
    focal_error_px: float | None
    """Standard deviation of the focal length by the fit's own account; a fisheye's is not told."""

    def bad_views(self, views: Sequence[View]) -> list[tuple[str, float]]:
        """Names and errors of the views that fit far worse than the others."""
        worst = max(BAD_PX, BAD_VIEW * float(np.median(self.view_errors_px)))
        return [
            (view.name, float(error))
            for view, error in zip(views, self.view_errors_px, strict=True)
            if error > worst
        ]


def calibrate_lens(views: Sequence[View], model: str, camera: str) -> Calibration:
    """Fits a lens of one of MODELS' values; DataError where the views do not fix one."""
    fit = _fit_fisheye if model == FISHEYE else _fit_pinhole
    try:
        matrix, distortion, errors, focal_error = fit(views, model)
    except cv2.error as problem:
        why = f"{len(views)} views, {problem.err or 'no solution'}"
        raise DataError("lens cannot be worked out", why, REMEDY) from problem
    corners = [len(view.corners) for view in views]
    error_px = float(np.sqrt(np.average(errors**2, weights=corners)))
    numbers = np.concatenate([matrix.ravel(), distortion, errors])
    if not np.isfinite(numbers).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise DataError("lens cannot be worked out", f"{len(views)} views", REMEDY)
    lens = Intrinsics(views[0].size, matrix, model, distortion, camera, error_px)
    return Calibration(lens, errors, focal_error)


def _fit_pinhole(views: Sequence[View], model: str) -> tuple[Floats, Floats, Floats, float | None]:
    """K, coefficients, error of each view, and that of the focal length."""
    flags = cv2.CALIB_RATIONAL_MODEL if model == "rational_polynomial" else 0
    places: Any = [view.places.astype(np.float32) for view in views]
    corners: Any = [view.corners.astype(np.float32)[:, None] for view in views]
    start: Any = np.eye(3)
    _, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        places, corners, views[0].size, start, np.zeros(5 if not flags else 8), flags=flags
    )
    coefficients = np.asarray(distortion, np.float64).ravel()[: COEFFICIENTS[model]]
    spread = float(np.max(deviations[:2]))
    errors = np.asarray(errors, np.float64).ravel()
    return np.asarray(matrix, np.float64), coefficients, errors, spread


def _fit_fisheye(views: Sequence[View], model: str) -> tuple[Floats, Floats, Floats, float | None]:
    flags = _fisheye_flag("CALIB_RECOMPUTE_EXTRINSIC") + _fisheye_flag("CALIB_FIX_SKEW")
    places: Any = [view.places[None] for view in views]
    corners: Any = [view.corners[None] for view in views]
    _, matrix, distortion, turns, shifts = cv2.fisheye.calibrate(
        places, corners, views[0].size, np.eye(3), np.zeros(4), flags=flags
    )
    errors = []
    for view, turn, shift in zip(views, turns, shifts, strict=True):
        seen, _ = cv2.fisheye.projectPoints(view.places[None], turn, shift, matrix, distortion)
        errors.append(np.sqrt(np.mean(np.sum((seen[0] - view.corners) ** 2, axis=1))))
    coefficients = np.asarray(distortion, np.float64).ravel()
    return np.asarray(matrix, np.float64), coefficients, np.array(errors), None


def _fisheye_flag(name: str) -> int:
    """OpenCV 5 has moved these out of `cv2.fisheye` and given them other values."""
    return int(getattr(cv2.fisheye, name, None) or getattr(cv2, name))
