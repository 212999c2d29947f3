"""Samples as devices and files give them, made fit for use at the border."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Samples


def within_scale(samples: NDArray[Any]) -> Samples:
    """float32 in -1..1: what is no number is silence, what is beyond full scale is full scale.

    Broken drivers and float files hold NaN and infinities, and a mix of channels goes beyond 1.
    """
    known = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(known.clip(-1, 1), np.float32)
