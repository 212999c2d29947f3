"""Rotations: vectors to matrices and back, and the one that fits pairs of directions."""

from __future__ import annotations

import numpy as np

from aam_edge.intrinsics import Floats

SMALL = 1e-8
TINY = 1e-150
"""Smaller turns are none; their squares are still numbers."""


def rotations_of(vectors: Floats) -> Floats:
    """(n, 3, 3) of rotation vectors (n, 3), axis times angle in radians (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors / np.maximum(angle[:, :, 0], TINY)).T
    o = np.zeros_like(x)
    cross = np.moveaxis(np.array([[o, -z, y], [z, o, -x], [-y, x, o]]), 2, 0)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def vector_of(rotation: Floats) -> Floats:
    """(3,): axis times angle of a rotation (3, 3), angle below pi."""
    odd = rotation - rotation.T
    axis = np.array([odd[2, 1], odd[0, 2], odd[1, 0]]) / 2  # times sin(angle)
    sine, cosine = np.linalg.norm(axis), (np.trace(rotation) - 1) / 2
    return np.asarray(axis * (np.arctan2(sine, cosine) / sine if sine > SMALL else 1.0))


def fit_rotation(before: Floats, after: Floats) -> Floats:
    """The rotation (3, 3) that takes vectors (n, 3) nearest to their partners (Kabsch)."""
    u, _, vt = np.linalg.svd(after.T @ before)
    mirrored = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(u @ mirrored @ vt)


def fit_most(before: Floats, after: Floats, within_rad: float, rounds: int = 6) -> Floats | None:
    """The same for pairs of unit vectors of which some are wrong; None where no half agrees.

    Begins with all, then again and again with those that lie nearest to the last fit: things that
    move by themselves are few, and the camera turns what is left.
    """
    chosen = np.ones(len(before), bool)
    rotation = np.eye(3)
    for _ in range(rounds):
        rotation = fit_rotation(before[chosen], after[chosen])
        left = np.linalg.norm(before @ rotation.T - after, axis=1)
        chosen = left <= max(within_rad, float(np.median(left)))
    agree = int((left <= within_rad).sum())
    return rotation if agree >= max(3, len(before) / 2) else None
