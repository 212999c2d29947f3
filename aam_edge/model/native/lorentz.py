"""Hyperbolic space in the Lorentz model, parallel along a channel axis, exact in single precision.

**Points.** L^n of curvature -c is {(x0, x): x0 = sqrt(1/c + |x|^2), x in R^n}, with the product
<x, y> = x.y - x0 y0, so <x, x> = -1/c. A point is given by its space part x; the origin is x = 0.
Depth, the distance to the origin, says how specific what lies there is.

**Tangents.** A tangent vector at x is given in the frame that parallel transport brings from the
origin along the geodesic: n numbers whose Euclidean length is its length and whose part along x
points straight away from the origin. In the ambient space the vector v is
(sqrt(c) x.v, v + x c x.v / (1 + sqrt(c) x0)), time part first. Those numbers grow with x0 and
cancel in the length, so that float32 loses deep directions; the frame's do not.

**Formulas**, a = sqrt(c) x, b = sqrt(c) y, r = |a|, s = |b|, ta = sqrt(1 + r^2), a^ = a / r:
    exp_0(v) = v sinh(n) / n,  n = sqrt(c) |v|          log_0(x) = x asinh(r) / r
    sinh^2(d/2) = sinh^2((asinh r - asinh s) / 2) + r s sin^2(angle / 2),  distance = d / sqrt(c)
    boost_a(b) = b - (b.a^) a^ + (ta b.a^ - r tb) a^, the isometry that carries a to the origin
    log_x(y) = log_0(boost_a(b)),  exp_x(v) = boost_-a(exp_0(v))
    exterior angle = angle between log_x(y) and a^,  half aperture = asin(2 K / r)
Maps: M. Nickel and D. Kiela (ICML 2018). Half-angle law of cosines: from cosh d = ta tb - a.b.
Cones: O. Ganea, G. Becigneul, T. Hofmann (ICML 2018), in this model with K = 0.1: K. Desai et al.
(MERU, ICML 2023, arXiv 2304.09172). Written from the mathematics; no code of theirs.

**Conventions.** Points and tangents have their n coordinates on axis `dim`, 1 by default, and pairs
broadcast, with the same number of axes: (B, n, h, w) against (B, n, 1, 1). What is one number a
point comes without that axis. c is a tensor of no axes, in [0.1, 10], and gets its gradient.
float32 or float64; half precision is for the caller to widen.

**Range.** exp_0 stops at sqrt(c) |v| = 11.09, where |a| = 2^15: longer tangents keep their
direction and lose their length (so does the tangent of exp_map). At that depth neighbouring float32
numbers are 0.002 apart sideways, and results are as good as that; every step deeper by 1 makes it
2.7 times worse. Points with |a| up to 1e9 are measured as they are. Lengths below 1e-15 count as
zero. Gradients are finite everywhere; where there is none (distance and exterior angle of equal
points) they are 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TINY = 1e-15
"""Added to lengths in quadrature, so that they have a gradient at 0. Its square is a float32."""
LONGEST = math.asinh(2**15)
"""sqrt(c) times the longest tangent that exp_map0 follows."""
CONE = 0.1
"""K: within 2 K / sqrt(c) of the origin a cone is a half space."""
STEEPEST_SINE = 1 - 1e-4
"""Largest sine of a half aperture: at 1, asin has no gradient."""


def exp_map0(v: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """The point at the end of the geodesic from the origin along v."""
    n = c.sqrt() * _length(v, dim)
    return v * (n.clamp_max(LONGEST).sinh() / n)


def log_map0(x: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """The tangent at the origin that ends in x."""
    r = c.sqrt() * _length(x, dim)
    return x * (r.asinh() / r)


def exp_map(x: Tensor, v: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """The point at the end of the geodesic from x along v, a tangent in the frame at x."""
    image, _ = _boost(-x, exp_map0(v, c, dim), c, dim)
    return image / c.sqrt()


def log_map(x: Tensor, y: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """The tangent at x, in the frame there, that ends in y."""
    image, _ = _boost(x, y, c, dim)
    return log_map0(image / c.sqrt(), c, dim)


def inner(x: Tensor, y: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """Lorentz product <x, y>, at most -1/c."""
    return -(1 + _chord(x, y, c, dim) / 2) / c


def depth(x: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """Geodesic distance to the origin."""
    root = c.sqrt()
    return (root * _length(x, dim)).asinh().squeeze(dim) / root


def distance(x: Tensor, y: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """Geodesic distance; exactly 0 for equal points."""
    squared = _chord(x, y, c, dim)
    # sqrt(squared), with gradient 0 at 0
    chord = squared / (squared + TINY**2).sqrt()
    return 2 / c.sqrt() * (chord / 2).asinh()


def exterior_angle(x: Tensor, y: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """Angle at x between the way straight out from the origin and the way to y, in [0, pi].

    0: y lies behind x as seen from the origin, or is x. pi/2 by convention where x is the origin.
    """
    image, along = _boost(x, y, c, dim)
    adjacent = along.squeeze(dim)
    opposite = _length(image - x / _length(x, dim) * along, dim).squeeze(dim)
    # Twice the half angle to the nearer end of the axis: precise at both, where acos is not.
    hypotenuse = (opposite.square() + adjacent.square()).sqrt()
    acute = 2 * (opposite / (hypotenuse + adjacent.abs())).atan()
    angle = torch.where(adjacent > 0, acute, math.pi - acute)
    return torch.where(hypotenuse > 2 * TINY, angle, 0.0)


def half_aperture(x: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """Half the opening of the cone of what x entails, in (0, pi/2): the deeper, the narrower."""
    sine = 2 * CONE / (c.sqrt() * _length(x, dim).squeeze(dim))
    return sine.clamp_max(STEEPEST_SINE).asin()


def entailment_loss(x: Tensor, y: Tensor, c: Tensor, dim: int = 1) -> Tensor:
    """How far, in radians, y lies outside the cone of x: 0 where x entails y.

    Within the ball where cones are half spaces it fades to 0 at the origin, so that the gradient
    stays bounded there: x turns by |dx| / |x|. At the origin itself nothing moves x.
    """
    outside = exterior_angle(x, y, c, dim) - half_aperture(x, c, dim)
    r = c.sqrt() * _length(x, dim).squeeze(dim)
    return outside.clamp_min(0) * (r / (2 * CONE)).clamp_max(1)


def _length(x: Tensor, dim: int) -> Tensor:
    """Euclidean length, never 0, the axis kept."""
    return (x.square().sum(dim, keepdim=True) + TINY**2).sqrt()


def _chord(x: Tensor, y: Tensor, c: Tensor, dim: int) -> Tensor:
    """4 sinh^2(d / 2), the squared chord on the unit hyperboloid, without the axis.

    2 (ta tb - a.b - 1) would be shorter; it cancels for near points and for deep ones.
    """
    root = c.sqrt()
    a, b = root * x, root * y
    r, s = _length(a, dim), _length(b, dim)
    # From x and y: a - b of near points would be the difference of two roundings.
    apart, both = root * (x - y), a + b
    squares = (apart * both).sum(dim, keepdim=True)  # r^2 - s^2
    ta, tb = (1 + r.square()).sqrt(), (1 + s.square()).sqrt()
    sinh = squares / (r * tb + s * ta)  # of the difference of depths
    cosh = (r.square() + s.square() + 1) / (ta * tb + r * s)
    radial = 2 * sinh.square() / (1 + cosh)

    # r s |a^ - b^|^2. Of near points, the difference comes first and keeps their precision.
    far = r * s * (a / r - b / s).square().sum(dim, keepdim=True)
    step = squares / (r + s)  # r - s
    sideways = apart - both * (step / (r + s))
    stretch = 1 + step.square() / torch.maximum(4 * r * s, step.square())  # (r + s)^2 / 4 r s
    near = stretch * sideways.square().sum(dim, keepdim=True)
    is_near = _length(apart, dim) * (r + s) < r * s
    return (radial + torch.where(is_near, near, far)).squeeze(dim)


def _boost(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Carries x to the origin and y with it; lengths are those of the unit hyperboloid.

    Returns:
        y's image, and its coordinate along x, the axis kept.
    """
    root = c.sqrt()
    a, b = root * x, root * y
    r, s = _length(a, dim), _length(b, dim)
    ta, tb = (1 + r.square()).sqrt(), (1 + s.square()).sqrt()
    apart = root * (y - x)
    forward = (a * apart).sum(dim, keepdim=True)

    # Near the origin: b - a + a shift. Smooth, without a's direction; cancels where r is large.
    shift = forward / (1 + ta) - (apart * (a + b)).sum(dim, keepdim=True) / (ta + tb)
    along = forward / r + r * shift

    # Elsewhere across and along a; never used below 1, where it only has to stay finite.
    wide = r.clamp_min(1)
    unit, ahead = a / wide, forward / wide  # ahead = b.a^ - r
    across = (apart - unit * ahead).square().sum(dim, keepdim=True)
    beside = (unit * b).sum(dim, keepdim=True)  # b.a^
    # ta b.a^ - r tb cancels where b.a^ > 0: there, the difference of the squares by the sum.
    total = wide * tb + ta * beside.abs()
    squares = ahead * (2 * wide + ahead) - wide.square() * across
    along_far = torch.where(beside > 0, squares / total, -total)

    shift = torch.where(r < 1, shift, (along_far - ahead) / wide)
    return apart + a * shift, torch.where(r < 1, along, along_far)
