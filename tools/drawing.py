"""Panels, words and small PNG files for the tools that draw the pictures of docs/model.md."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from aam_edge.messages import Image, Map

PAPER, INK, FADED = (255, 255, 255), (40, 40, 40), (200, 200, 200)
"""Colours, BGR."""
MOST_BYTES = 400_000
"""Of a picture in the documentation."""


def sheet(height: int, width: int) -> Image:
    """An empty page, (H, W, 3) BGR."""
    return np.full((height, width, 3), PAPER, np.uint8)


def put(page: Image, panel: Image, x: int, y: int) -> None:
    """Lays a panel on the page with its top left corner at (x, y)."""
    page[y : y + panel.shape[0], x : x + panel.shape[1]] = panel


def write(
    page: Image, words: str, x: float, y: float, size: float = 0.45, colour: tuple[int, ...] = INK
) -> None:
    """Writes ASCII words on the page; (x, y) is where their base line begins."""
    at = (round(x), round(y))
    cv2.putText(page, words, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def density_panel(density: Map, size: tuple[int, int], highest: float) -> Image:
    """A density (h, w) at (W, H) as colours: `highest` is the brightest, the root is shown."""
    shown = np.sqrt(np.clip(density / highest, 0, 1))
    fine = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(
        cv2.applyColorMap((255 * fine).astype(np.uint8), cv2.COLORMAP_INFERNO), np.uint8
    )


def save_png(page: Image, path: Path) -> None:
    """Writes the page, its colours in coarser steps where the file would be too large otherwise."""
    for bits in range(6):
        step = 1 << bits
        coarse = np.minimum(255, np.rint(page / step) * step).astype(np.uint8)
        _, packed = cv2.imencode(".png", coarse, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if packed.nbytes < MOST_BYTES:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.tobytes())
