"""The network's input size for a source of a given shape."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from aam_edge.config import INPUT_PIXELS
from aam_edge.messages import Frame, Image

STRIDE = 32
"""Sides of the network's input are multiples of this."""
SMALLEST_SIDE, LARGEST_SIDE = 96, 512


@lru_cache(maxsize=16)
def input_size(width: int, height: int, pixels: int = INPUT_PIXELS) -> tuple[int, int]:
    """(H, W) of the input that keeps the source's aspect best at about `pixels` pixels.

    Aspects between 1:4 and 4:1 are kept within 10 %; beyond, the nearest that the limits allow.

    Args:
        width, height: of the source, pixels, at least 1.
        pixels: wanted area of the input; the area found is within 15 % of it.
    """
    sides = range(SMALLEST_SIDE, LARGEST_SIDE + 1, STRIDE)
    fits = [(h, w) for h in sides for w in sides if abs(math.log(h * w / pixels)) < 0.15]

    def misfit(size: tuple[int, int]) -> tuple[float, float]:
        stretch = abs(math.log(size[1] / size[0] * height / width))
        # Within 3 % of the best aspect the area decides.
        return round(stretch / 0.03), abs(math.log(size[0] * size[1] / pixels))

    return min(fits, key=misfit)


def shrink(image: Image, pixels: int = INPUT_PIXELS) -> Image:
    """The picture (H, W, 3) as the network takes it, bit for bit what a session makes of it."""
    height, width = input_size(image.shape[1], image.shape[0], pixels)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def picture_for(frame: Frame, size: tuple[int, int]) -> Image:
    """What is resized to the network's (H, W): what is in that size already, where there is such.

    That is of a recording the very picture, and else what the source's thread has made.
    """
    recorded = None if frame.recorded is None else frame.recorded.image
    for ready in (recorded, frame.small):
        if ready is not None and ready.shape[:2] == size:
            return ready
    return frame.image
