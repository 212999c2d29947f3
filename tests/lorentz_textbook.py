"""Textbook formulas of the Lorentz model, and points to try them on."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

N = 64
POINTS = 4
"""Points drawn at a time."""
EPS = 2.0**-23
"""Of float32."""


def vectors(seed: int, norm: float) -> Tensor:
    """(POINTS, N), float32, of one length."""
    v: Tensor = torch.randn(POINTS, N, generator=torch.Generator().manual_seed(seed))
    v *= norm / v.norm(dim=1, keepdim=True)
    return v


def curvature(c: float) -> Tensor:
    of_no_axes: Tensor = torch.tensor(c)
    return of_no_axes


def sizes(v: Tensor) -> Tensor:
    """Lengths, exact for the smallest too."""
    lengths: Tensor = v.double().norm(dim=1)
    return lengths


# The textbook, in float64: ambient formulas, for points that are neither near nor far.


def time(x: Tensor, c: Tensor) -> Tensor:
    squared: Tensor = 1 / c + x.square().sum(1)
    return squared.sqrt()


def textbook_inner(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    product: Tensor = (x * y).sum(1) - time(x, c) * time(y, c)
    return product


def textbook_distance(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    return (-c * textbook_inner(x, y, c)).clamp_min(1).acosh() / c.sqrt()


def ambient(x: Tensor, v: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """A tangent in the frame at x as time and space part."""
    along = (x * v).sum(1)
    space = v + x * (c * along / (1 + c.sqrt() * time(x, c)))[:, None]
    return c.sqrt() * along, space


def textbook_exp(x: Tensor, v: Tensor, c: Tensor) -> Tensor:
    t, space = ambient(x, v, c)
    n = c.sqrt() * (space.square().sum(1) - t.square()).sqrt()[:, None]
    return n.cosh() * x + n.sinh() / n * space


def textbook_log_space(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """Space part of log_x(y) in the ambient space."""
    cosh = (-c * textbook_inner(x, y, c))[:, None]
    return cosh.acosh() / (cosh.square() - 1).sqrt() * (y - cosh * x)


def textbook_angle(x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """As in MERU."""
    product = c * textbook_inner(x, y, c)
    far = time(y, c) + product * time(x, c)
    cosine: Tensor = far / (x.norm(dim=1) * (product.square() - 1).sqrt())
    return cosine.clamp(-1, 1).acos()


def exact_distance(x: Tensor, y: Tensor, c: float) -> float:
    """Of the very numbers in x and y, each (N,), with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        a, b = ([Decimal(number) for number in tensor.tolist()] for tensor in (x, y))
        times = [(1 / Decimal(c) + sum(q * q for q in p)).sqrt() for p in (a, b)]
        product = sum(p * q for p, q in zip(a, b, strict=True)) - times[0] * times[1]
        cosh = max(-Decimal(c) * product, Decimal(1))
        return float((cosh + (cosh * cosh - 1).sqrt()).ln() / Decimal(c).sqrt())
