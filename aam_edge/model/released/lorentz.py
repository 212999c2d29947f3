"""Hyperbolic space as the public code computes it: its clamps are part of trained weights.

Points have curvature -c and are given by their space part x, on the last axis; their time is
x0 = sqrt(1/c + |x|^2). Everything is computed in float32. `native/lorentz.py` has the same geometry
without what is odd here:
* a distance is never below acosh(1 + 1e-4) / sqrt(c), so equal points are 0.014 / sqrt(c) apart;
* log0 pushes short points out to that length;
* the exterior angle at the origin has a slope of 1e8, and none (NaN) for very deep points;
* the radius has no slope near the origin (NaN): 1 + 1e-8 is 1 in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST = math.asinh(2**15)
"""sqrt(c) times the longest tangent that exp0 follows."""
NEAREST = 1e-4
"""cosh of the least distance, less 1."""
CONE = 0.1
"""K of the half aperture."""


def time_of(x: Tensor, c: Tensor) -> Tensor:
    """x0 of points (n, d), (n, 1)."""
    return (1 / c + x.square().sum(-1, keepdim=True)).sqrt()


def inner(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Lorentz product of every x (n, d) with every y (m, d), (n, m)."""
    return x @ y.T - time_of(x, c) @ time_of(y, c).T


def distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Of every x (n, d) to every y (m, d), (n, m)."""
    x, y, c = x.float(), y.float(), c.float()
    return (-c * inner(x, y, c)).clamp_min(1 + NEAREST).acosh() / c.sqrt()


def pair_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Of each x (n, d) to its y (n, d), (n, 1)."""
    x, y, c = x.float(), y.float(), c.float()
    product = (x * y).sum(-1, keepdim=True) - time_of(x, c) * time_of(y, c)
    return (-c * product).clamp_min(1 + NEAREST).acosh() / c.sqrt()


def exp0(v: Tensor, c: Tensor) -> Tensor:
    """The point at the end of the tangent v (..., d) at the origin."""
    v, c = v.float(), c.float()
    n = c.sqrt() * _norm(v)
    return n.clamp(1e-8, LONGEST).sinh() * v / n.clamp_min(1e-8)


def log0(x: Tensor, c: Tensor) -> Tensor:
    """The tangent at the origin that ends in x (..., d)."""
    x, c = x.float(), c.float()
    d = (1 + c * x.square().sum(-1, keepdim=True)).sqrt().clamp_min(1 + NEAREST).acosh()
    return d * x / (c.sqrt() * _norm(x)).clamp_min(1e-4)


def half_aperture(x: Tensor, c: Tensor) -> Tensor:
    """Half the opening of the cone of what x (n, d) entails, (n,)."""
    sine = 2 * CONE / (_norm(x).squeeze(-1) * c.sqrt() + 1e-4)
    return sine.clamp(-1 + 1e-4, 1 - 1e-4).asin()


def exterior_angle(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Angle at each x (n, d) between straight out and the way to its y (n, d), (n,)."""
    x0, y0 = time_of(x, c).squeeze(-1), time_of(y, c).squeeze(-1)
    p = c * ((x * y).sum(-1) - x0 * y0)
    side = (p.square() - 1).clamp_min(1e-8).sqrt()
    cosine = (y0 + p * x0) / (_norm(x).squeeze(-1) * side + 1e-8)
    return cosine.clamp(-1 + 1e-8, 1 - 1e-8).acos()


def radius(x: Tensor, c: Tensor) -> Tensor:
    """Distance of points (n, d) to the origin, (n, 1)."""
    x, c = x.float(), c.float()
    return (c.sqrt() * time_of(x, c)).clamp_min(1 + 1e-8).acosh() / c.sqrt()


def _norm(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length
