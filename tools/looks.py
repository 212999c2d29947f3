"""What packaged networks see in a photo: the mean of their looks, as logarithms on one grid.

For the tools that let older networks teach a new one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aam_edge.config import INPUT_PIXELS
from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.messages import Frame, Image, Observation

SIZES = (INPUT_PIXELS, 300 * 300)
"""Pixels of the inputs at which a network looks; the larger shows what is small."""
GRID = (48, 64)

Logs = NDArray[np.float32]
"""Log-densities, (prompts, *GRID), up to a constant."""


def opened(name: str, prompts: Sequence[str], pixels: int) -> Session:
    """A packaged network that is asked for all prompts at once."""
    package = find_package(name)
    embed = open_text("table") if package.follows_prompts else None
    return Session(open_backend(package, "onnx"), list(prompts), pixels, embed)


def looked(sessions: Sequence[Session], image: Image, *, mirrors: bool) -> Logs:
    """The mean of what networks of the same prompts see in a picture, and in its mirror image."""
    steps = (1, -1) if mirrors else (1,)
    return np.asarray(np.mean([_look(s, image, step) for s in sessions for step in steps], axis=0))


def _look(session: Session, image: Image, step: int) -> Logs:
    session.reset()
    shown = Frame(np.ascontiguousarray(image[:, ::step]), 1, "still", 0)
    results = session.step(Observation(shown))
    return logs_of([np.asarray(r.density, np.float32)[:, ::step] for r in results])


def logs_of(densities: Sequence[NDArray[np.float32]]) -> Logs:
    """Logarithms on GRID."""
    small = [
        cv2.resize(np.ascontiguousarray(d), GRID[::-1], interpolation=cv2.INTER_AREA)
        for d in densities
    ]
    return np.stack([np.log(d / d.sum() + 1e-9) for d in small])


def apart(logs: Logs, by: float) -> Logs:
    """Ways of viewing one photo, each further from their mean by a part of its distance."""
    return away(logs, logs.mean(0), by)


def away(logs: Logs, other: Logs, by: float) -> Logs:
    """One way of viewing, further from another by a part of their distance."""
    return logs + by * (logs - other)


def as_stored(logs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Full scale at the peak."""
    return np.rint(255 * np.exp(logs - logs.max())).astype(np.uint8)
