"""A made-up camera over a photo: it pans, zooms and shakes, and what people looked at goes along.

A path is a `View` for each frame, so picture and density are seen through the same window.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from aam_edge.training.sample import View

FPS = 30.0
SMALLEST_PART = 0.5
"""Sides of the window as parts of the photo's, at least."""
FASTEST = 0.35
"""Of the pan, windows a second."""
MOST_SHAKE = 0.012
"""Deviation of the shake, windows."""
SHAKE_S = 0.08
"""In which a shake turns."""


def camera_path(numbers: NDArray[np.intp], rng: np.random.Generator) -> list[View]:
    """Where the camera looks in frames `numbers`, ascending, of 30 a second."""
    at_s = numbers / FPS
    part = rng.uniform(SMALLEST_PART, 0.92)
    zoom = rng.uniform(0, 0.15) * (rng.random() < 0.5)
    parts = part * (1 + zoom * np.sin(at_s * rng.uniform(0.5, 2) + rng.uniform(0, 6.3)))
    parts = np.clip(parts, SMALLEST_PART * 0.85, 1)
    speed = rng.uniform(-FASTEST, FASTEST, 2) * (rng.random() < 0.7)
    middle = rng.uniform(0.3, 0.7, 2) + (at_s - at_s[-1] / 2)[:, None] * speed * part
    middle += _shake(numbers, rng) * part
    corners = np.clip(middle - parts[:, None] / 2, 0, 1 - parts[:, None])
    mirrored = bool(rng.random() < 0.5)
    return [
        View(float(x), float(y), float(p), float(p), mirrored)
        for (x, y), p in zip(corners, parts, strict=True)
    ]


def _shake(numbers: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 2), noise that turns within SHAKE_S; none in half of the clips."""
    amount = MOST_SHAKE * rng.random() * (rng.random() < 0.5)
    keep = np.exp(-1 / (FPS * SHAKE_S))
    noise = rng.normal(0, amount, (int(numbers[-1]) + 1, 2))
    for i in range(1, len(noise)):
        noise[i] = keep * noise[i - 1] + np.sqrt(1 - keep**2) * noise[i]
    return np.asarray(noise[numbers], np.float64)


def seen_through(view: View, image: Image, size: tuple[int, int]) -> Image:
    """The picture in the window at (H, W), to parts of a pixel, so that slow pans do not jump."""
    rows, columns = image.shape[:2]
    to_whole = np.array(
        [
            [view.width * columns / size[1], 0, view.x * columns],
            [0, view.height * rows / size[0], view.y * rows],
        ]
    )
    to_whole[:, 2] += to_whole[:, :2] @ [0.5, 0.5] - 0.5  # pixel centres
    seen = cv2.warpAffine(
        image, to_whole, size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(seen[:, ::-1] if view.mirrored else seen, np.uint8)
