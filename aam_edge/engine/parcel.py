"""Many small arrays that cross between host and device in one copy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64
"""Numbers; kernels read whole vectors of an aligned start."""


class Parcel:
    """float32 tensors on a device, behind each other, and their like on the host."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device):
        places, end = {}, 0
        for name, shape in shapes.items():
            places[name] = end, int(np.prod(shape)), shape
            end += -(-places[name][1] // ALIGNMENT) * ALIGNMENT
        is_cuda = device.type == "cuda"
        self._there = torch.zeros(end, device=device)
        # Pinned, so that the copy is one transfer without a stop in between.
        self._here = torch.zeros(end, pin_memory=is_cuda)
        self.there: dict[str, Tensor] = {}
        """On the device, at addresses that stay."""
        self.here: dict[str, NDArray[np.float32]] = {}
        for name, (start, count, shape) in places.items():
            self.there[name] = self._there[start : start + count].view(shape)
            self.here[name] = self._here[start : start + count].view(shape).numpy()

    def send(self) -> None:
        """Host to device."""
        self._there.copy_(self._here, non_blocking=True)

    def fetch(self) -> None:
        """Device to host; what `here` says is true once the device has been waited for."""
        self._here.copy_(self._there, non_blocking=True)
