"""How a gyro sits beside its camera: rotation, time offset and bias, from both turning together.

The picture gives the camera's rate of turn between two frames, from points that were followed; the
gyro its own rate over the same time, shifted by the offset. First the offset at which their speeds,
which no rotation changes, go together best; then rotation C and bias b of

    w_camera(t) = C (w_imu(t - offset) - b)

over all frames, and the offset again where that leaves least.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aam_edge.ego.features import PointFollower
from aam_edge.ego.gyro import LONGEST_HOLE_NS
from aam_edge.ego.gyro_log import GyroLog
from aam_edge.ego.imu_yaml import ImuMount
from aam_edge.ego.rotation import fit_most, fit_rotation, vector_of
from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats, Intrinsics
from aam_edge.messages import Frame

LARGEST_OFFSET_S = 0.5
COARSE_S, STEPS_S = 0.005, (0.002, 0.0002)
NEAR_S = 0.05
"""The speeds alone miss the offset by up to so much, for a bias changes the gyro's."""
LEAST_TURNS = 30
LEAST_RATE = 0.05
"""rad/s; a camera that turns slower tells noise."""
LEAST_SECOND_AXIS = 0.1
"""Of the strongest axis' spread; with less the turn about that axis stays unknown."""
LEAST_ALIKE = 0.7
"""Correlation of the two speeds, below which they are not of the same motion."""
WITHIN_PX = 1.5
REMEDY = "turn the camera for ten seconds about all three axes, fast and slow, in a textured room"


@dataclass(frozen=True, slots=True, eq=False)
class CameraTurns:
    """Rates of turn that the picture tells."""

    start_ns: int
    """Stamp of the first frame; times are seconds since then."""
    begins_s: Floats
    """(n,)."""
    ends_s: Floats
    """(n,)."""
    rates: Floats
    """(n, 3), rad/s, of the camera in its own optical frame."""


@dataclass(frozen=True, slots=True, eq=False)
class ImuFit:
    """What was found, and how well it fits."""

    mount: ImuMount
    residual_rad_s: float
    """Root mean square of what the gyro does not explain, smeared pictures left out."""
    mean_left_rad_s: float
    """Mean of the same over all pictures."""
    turns: int
    """Pairs of frames that it is made from."""
    missing: int
    """Pairs of frames without samples of the gyro."""


class Angles:
    """A gyro's log summed up, so that any mean rate is one difference."""

    def __init__(self, log: GyroLog, start_ns: int) -> None:
        """Times become seconds since `start_ns`, if the log's are UNIX times."""
        self._times_s = (log.times_ns - (start_ns if log.is_unix else 0)) / 1e9
        steps_s = np.diff(self._times_s)
        means = (log.rates[1:] + log.rates[:-1]) / 2
        self._angles = np.vstack([np.zeros(3), np.cumsum(means * steps_s[:, None], axis=0)])
        hole_s = np.where(steps_s * 1e9 > LONGEST_HOLE_NS, steps_s, 0)
        self._missing_s = np.concatenate([[0], np.cumsum(hole_s)])

    def mean_rates(self, begins_s: Floats, ends_s: Floats) -> Floats:
        """(n, 3), rad/s, between times (n,); NaN where samples are missing."""

        def between(values: Floats) -> Floats:
            at_ends, at_begins = (np.interp(t, self._times_s, values) for t in (ends_s, begins_s))
            return np.asarray(at_ends - at_begins)

        turned = np.stack([between(angle) for angle in self._angles.T], axis=1)
        is_outside = (begins_s < self._times_s[0]) | (ends_s > self._times_s[-1])
        turned[is_outside | (between(self._missing_s) > 0)] = np.nan
        return np.asarray(turned / (ends_s - begins_s)[:, None])


def camera_turns(frames: Iterable[Frame], lens: Intrinsics) -> CameraTurns:
    """Follows points and fits a rotation to each pair of frames; unsure pairs are left out."""
    follower, stamps = PointFollower(), [0]
    spans: list[tuple[float, float]] = []
    rates: list[Floats] = []
    for frame in frames:
        if not lens.fits(frame.size):
            values = f"calibration {lens.size}, picture {frame.size}"
            raise DataError("calibration is of another shape", values, "calibrate at this size")
        scaled = lens.scaled(frame.size)
        followed = follower.follow(frame.image)
        stamps.append(frame.capture_ns)
        begin_s, end_s = ((stamp - stamps[1]) / 1e9 for stamp in stamps[-2:])
        if followed is None or end_s <= begin_s:
            continue
        within = WITHIN_PX * followed.pixel / scaled.focal_px[0]
        turn = turn_between(scaled.rays(followed.before), scaled.rays(followed.after), within)
        if turn is not None:
            spans.append((begin_s, end_s))
            # What stands still turns against the camera.
            rates.append(-vector_of(turn) / (end_s - begin_s))
    begins_s, ends_s = np.array(spans).reshape(-1, 2).T
    return CameraTurns(stamps[min(1, len(stamps) - 1)], begins_s, ends_s, _rows(rates))


def turn_between(before: Floats, after: Floats, within_rad: float) -> Floats | None:
    """(3, 3): takes most of the rays (n, 3) to their partners; None where they do not agree."""
    is_seen = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    if is_seen.sum() < 10:
        return None
    return fit_most(before[is_seen], after[is_seen], within_rad)


def fit_imu(turns: CameraTurns, log: GyroLog) -> ImuFit:
    """Rotation, offset and bias; DataError where the motion does not tell them."""
    speed = np.linalg.norm(turns.rates, axis=1)
    turning = f"{len(speed)} pairs of frames, {(speed > LEAST_RATE).sum()} of them turn"
    if (speed > LEAST_RATE).sum() < LEAST_TURNS:
        raise DataError("camera hardly turns", turning, REMEDY)
    gyro = Angles(log, turns.start_ns)
    coarse = np.arange(-LARGEST_OFFSET_S, LARGEST_OFFSET_S, COARSE_S)
    alike = [_alike(turns, gyro, offset_s) for offset_s in coarse]
    best = int(np.argmax(alike))
    if alike[best] < LEAST_ALIKE:
        values = f"their speeds go together by {max(0.0, alike[best]):.2f} of 1"
        todo = "give the log of this very clip; its time 0 is the first picture"
        raise DataError("gyro and picture do not move alike", values, todo)
    offset_s, within_s = float(coarse[best]), NEAR_S
    for step_s in STEPS_S:
        near = offset_s + np.arange(-within_s, within_s + step_s / 2, step_s)
        # By the mean over all: each fit leaves others out of its residual.
        known = [float(offset) for offset in near if _alike(turns, gyro, offset) > -1]
        fits = [_fit(turns, gyro, offset) for offset in known]
        fit = min(fits, key=lambda fit: fit.mean_left_rad_s)
        offset_s, within_s = fit.mount.time_offset_s, step_s
    return fit


def _alike(turns: CameraTurns, gyro: Angles, offset_s: float) -> float:
    """Correlation of both speeds at an offset; -1 where too few samples are there."""
    imu = gyro.mean_rates(turns.begins_s - offset_s, turns.ends_s - offset_s)
    is_known = np.isfinite(imu[:, 0])
    if is_known.sum() < LEAST_TURNS:
        return -1.0
    speeds = [np.linalg.norm(rates[is_known], axis=1) for rates in (turns.rates, imu)]
    if min(speed.std() for speed in speeds) == 0:
        return -1.0
    return float(np.corrcoef(*speeds)[0, 1])


def _fit(turns: CameraTurns, gyro: Angles, offset_s: float) -> ImuFit:
    imu = gyro.mean_rates(turns.begins_s - offset_s, turns.ends_s - offset_s)
    is_known = np.isfinite(imu[:, 0])
    camera, imu = turns.rates[is_known], imu[is_known]
    chosen = np.ones(len(imu), bool)
    for _ in range(4):
        middle, imu_middle = camera[chosen].mean(axis=0), imu[chosen].mean(axis=0)
        rotation = fit_rotation(imu[chosen] - imu_middle, camera[chosen] - middle)
        bias = imu_middle - rotation.T @ middle
        left = np.linalg.norm(camera - (imu - bias) @ rotation.T, axis=1)
        # A picture that was smeared, or followed a passer-by, is left out.
        chosen = left <= 3 * np.median(left) + 1e-9
    _check_axes(imu[chosen] - imu_middle)
    residual = float(np.sqrt(np.mean(left[chosen] ** 2)))
    mount = ImuMount(rotation, float(offset_s), bias)
    return ImuFit(mount, residual, float(left.mean()), int(chosen.sum()), int((~is_known).sum()))


def _check_axes(rates: Floats) -> None:
    spread = np.linalg.svd(rates, compute_uv=False)
    if spread[1] < LEAST_SECOND_AXIS * spread[0]:
        values = f"the second axis has {spread[1] / spread[0]:.0%} of the first"
        raise DataError("camera turns about one axis only", values, REMEDY)


def _rows(vectors: list[Floats]) -> Floats:
    return np.array(vectors, np.float64).reshape(-1, 3)
