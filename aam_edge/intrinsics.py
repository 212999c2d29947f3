"""A camera's lens: from a pixel to the ray that it sees, and back.

A point (X, Y, Z) of the optical frame (z forward, x right, y down) falls on (x, y) = (X/Z, Y/Z),
the lens bends it to (x_d, y_d), and K takes that to the pixel:

    u = K (x_d, y_d, 1)
    plumb_bob, rational_polynomial (k1 k2 p1 p2 k3 [k4 k5 k6]), with r^2 = x^2 + y^2:
        x_d = x q + 2 p1 x y + p2 (r^2 + 2 x^2)
        y_d = y q + p1 (r^2 + 2 y^2) + 2 p2 x y
        q = (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6)
    equidistant (k1 k2 k3 k4), a fisheye, with theta the angle from the axis:
        (x_d, y_d) = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8) (x, y) / r

These polynomials fold back far outside of what they were fitted to, so a lens has a reach: the
widest ray up to which a wider ray falls further out. Beyond it there is no pixel and no ray (NaN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""Models by the names of ROS, with the number of their coefficients."""
FISHEYE = "equidistant"
ASPECT_TOLERANCE = 0.005
"""Pictures whose aspects differ by less are the same picture scaled."""
NEWTON_STEPS = 12
LEFT_OVER = 1e-9
"""What a solution may leave, in parts of the distance to the picture plane."""
WIDEST_PINHOLE = math.tan(math.radians(85))
WIDEST_FISHEYE = math.radians(179)
REACH_STEPS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class Intrinsics:
    """Camera matrix and lens of pictures of one size."""

    size: tuple[int, int]
    """(W, H), pixels."""
    matrix: Floats
    """(3, 3), K: focal lengths and centre in pixels, the centre of the top left pixel is 0, 0."""
    model: str
    """One of COEFFICIENTS."""
    distortion: Floats
    """(n,), as many as the model has."""
    camera: str = ""
    error_px: float | None = None
    """Root mean square distance of the corners that it was made from; None if not told."""
    reach: float = field(init=False)
    """The widest ray: r of a pinhole, theta of a fisheye in radians."""

    def __post_init__(self) -> None:
        if self.distortion.shape != (COEFFICIENTS[self.model],) or self.matrix.shape != (3, 3):
            raise ValueError(f"{self.model} needs {COEFFICIENTS[self.model]} coefficients")
        object.__setattr__(self, "reach", _reach(self.model, self.distortion))

    @property
    def focal_px(self) -> tuple[float, float]:
        """Focal lengths along x and y."""
        return float(self.matrix[0, 0]), float(self.matrix[1, 1])

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether pictures of (W, H) are these, scaled or not."""
        return abs(math.log(size[0] * self.size[1] / (size[1] * self.size[0]))) < ASPECT_TOLERANCE

    def scaled(self, size: tuple[int, int]) -> Intrinsics:
        """The same lens for the same picture in another size (W, H)."""
        if size == self.size:
            return self
        x, y = size[0] / self.size[0], size[1] / self.size[1]
        # Edges scale, not centres of pixels: u + 1/2 is what grows by the factor.
        scaling = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])
        return replace(self, size=size, matrix=scaling @ self.matrix)

    def rays(self, points: Floats) -> Floats:
        """Unit vectors (n, 3) of the optical frame that fall on pixels (n, 2); NaN where none."""
        centred = points.T - self.matrix[:2, 2:]  # (2, n)
        bent = np.asarray(np.linalg.solve(self.matrix[:2, :2], centred), np.float64)
        if self.model == FISHEYE:
            return self._fisheye_rays(bent)
        straight = _straighten(bent, self.distortion)
        with np.errstate(all="ignore"):
            left = np.hypot(*(_bend(straight, self.distortion)[0] - bent))
            is_found = (left < LEFT_OVER) & (np.hypot(*straight) <= self.reach)
        rays = np.column_stack([*straight, np.ones(len(points))])
        rays[~is_found] = np.nan
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def pixels(self, rays: Floats) -> Floats:
        """Pixels (n, 2) on which vectors (n, 3) of any length fall; NaN where there is none."""
        aside = np.hypot(rays[:, 0], rays[:, 1])
        if self.model == FISHEYE:
            theta = np.arctan2(aside, rays[:, 2])
            factor = _fisheye_radius(theta, self.distortion)[0] / np.maximum(aside, 1e-300)
            bent, is_seen = rays[:, :2].T * factor, theta <= self.reach
        else:
            is_seen = (rays[:, 2] > 0) & (aside <= self.reach * rays[:, 2])
            depth = np.where(is_seen, rays[:, 2], 1)
            within = np.where(is_seen, rays[:, :2].T, 0)
            bent = _bend(within / depth, self.distortion)[0]
        pixels = (self.matrix[:2, :2] @ bent).T + self.matrix[:2, 2]
        pixels[~is_seen | (rays == 0).all(axis=1)] = np.nan
        return np.asarray(pixels)

    def _fisheye_rays(self, bent: Floats) -> Floats:
        radius = np.hypot(*bent)
        theta = np.minimum(radius, self.reach)
        for _ in range(NEWTON_STEPS):
            value, slope = _fisheye_radius(theta, self.distortion)
            left = radius - value
            if np.abs(left).max(initial=0) < LEFT_OVER / 10:
                break
            theta = np.minimum(np.maximum(theta + left / np.maximum(slope, 1e-6), 0), self.reach)
        aside = np.sin(theta) / np.maximum(radius, 1e-300)
        rays = np.column_stack([*(bent * aside), np.cos(theta)])
        rays[~(np.abs(left) < LEFT_OVER)] = np.nan
        return rays


def _bend(points: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """Where a pinhole's lens sends points (2, n), and dx_d/dx, dx_d/dy, dy_d/dy there, (3, n)."""
    k1, k2, p1, p2, k3, k4, k5, k6 = [*distortion.tolist(), 0.0, 0.0, 0.0][:8]
    x, y = points
    xx, yy, xy = x * x, y * y, x * y
    r2 = xx + yy
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    q = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / below
    # dq / d(r^2)
    slope = (k1 + r2 * (2 * k2 + r2 * 3 * k3) - q * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below
    bent = [x * q + 2 * p1 * xy + p2 * (r2 + 2 * xx), y * q + p1 * (r2 + 2 * yy) + 2 * p2 * xy]
    slopes = [
        q + 2 * xx * slope + 2 * p1 * y + 6 * p2 * x,
        2 * xy * slope + 2 * p1 * x + 2 * p2 * y,
        q + 2 * yy * slope + 6 * p1 * y + 2 * p2 * x,
    ]
    return np.array(bent), np.array(slopes)


def _straighten(bent: Floats, distortion: Floats) -> Floats:
    """(2, n): what the lens bends to `bent`, by Newton's method; anything where there is none."""
    straight = bent.copy()
    with np.errstate(all="ignore"):  # who has no solution runs away, and is found out later
        for _ in range(NEWTON_STEPS):
            there, (xx, xy, yy) = _bend(straight, distortion)
            left = bent - there
            if np.abs(left).max(initial=0) < LEFT_OVER / 10:
                break
            steps = [yy * left[0] - xy * left[1], xx * left[1] - xy * left[0]]
            straight += np.array(steps) / (xx * yy - xy * xy)
    return straight


def _fisheye_radius(theta: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """(n,): distance from the centre at an angle from the axis, and its derivative."""
    t2 = theta * theta
    k1, k2, k3, k4 = distortion
    radius = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
    return radius, slope


def _reach(model: str, distortion: Floats) -> float:
    """The widest ray up to which the lens is one to one."""
    if model == FISHEYE:
        wide = np.linspace(0, WIDEST_FISHEYE, REACH_STEPS)
        slope = _fisheye_radius(wide, distortion)[1]
    else:
        # Even steps of the angle: where it folds is known as well for a wide lens as for a narrow.
        wide = np.tan(np.linspace(0, math.atan(WIDEST_PINHOLE), REACH_STEPS))
        radial = distortion.copy()
        radial[2:4] = 0
        slope = _bend(np.stack([wide, np.zeros_like(wide)]), radial)[1][0]
    folds = np.flatnonzero(~(slope > 0))
    return float(wide[folds[0] - 1] if len(folds) else wide[-1])
