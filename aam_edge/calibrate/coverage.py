"""Where in the picture the board has been: as text, as a picture, and on the live page."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from aam_edge.calibrate.board import View
from aam_edge.calibrate.gather import Gatherer
from aam_edge.commands import Answer, Command, Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.intrinsics import Floats
from aam_edge.messages import Attention, Frame, Image
from aam_edge.sinks.page import PageSink

SHADES = " .:+#"
"""Of a cell by its corners: none, 1, 2 to 3, 4 to 7, 8 and more."""
SEEN, KEPT = (0, 200, 255), (80, 220, 80)
"""Colours (BGR) of the corners of this picture, and of those kept."""


def coverage_text(coverage: Floats) -> list[str]:
    """The picture as lines of characters, a darker one where more corners were seen."""
    levels = np.where(coverage > 0, np.log2(np.maximum(coverage, 1)).astype(int) + 1, 0)
    border = "+" + "-" * (2 * coverage.shape[1]) + "+"
    rows = ["".join(2 * SHADES[min(level, len(SHADES) - 1)] for level in row) for row in levels]
    return [border, *(f"|{row}|" for row in rows), border]


def drawn(image: Image, kept: Sequence[View], now: View | None) -> Image:
    """The picture with the corners of all views that were kept, and of this one."""
    canvas = image.copy()
    radius = max(1, round(min(image.shape[:2]) / 240))
    for view in kept:
        _dots(canvas, view.corners, radius, KEPT)
    if now is not None:
        _dots(canvas, now.corners, 2 * radius, SEEN)
    return canvas


def _dots(canvas: Image, corners: Floats, radius: int, colour: tuple[int, int, int]) -> None:
    for x, y in corners.round().astype(int).tolist():
        cv2.circle(canvas, (x, y), radius, colour, -1, cv2.LINE_AA)


class CoveragePage:
    """The live page, with the board's corners for targets and its coverage for the map."""

    def __init__(self, listen: str) -> None:
        """Listens on `listen`, host:port; UsageError or SinkError if that cannot be."""
        self._commands = Commands()
        self._page = PageSink(PageConfig(listen=listen), NetConfig(), self._commands)
        self.url = self._page.url

    def show(self, frame: Frame, gatherer: Gatherer, view: View | None) -> None:
        """The newest picture with what was gathered so far."""
        self._commands.execute(refuse)
        coverage = gatherer.coverage() + 1e-6
        words = f"{len(gatherer.views)} views, {gatherer.covered_part():.0%} of the picture"
        attention = Attention(
            camera=frame.camera,
            frame_id=str(frame.frame_id),
            capture_ns=frame.capture_ns,
            prompt=f"calibrating: {words}",
            image=frame.size,
            density=(coverage / coverage.sum()).astype(np.float32),
            entropy=0.0,
            model="calibrate",
        )
        shown = drawn(frame.image, gatherer.views, view)
        picture = Frame(shown, frame.capture_ns, frame.camera, frame.frame_id)
        self._page.offer(picture, [attention])

    def __enter__(self) -> CoveragePage:
        return self

    def __exit__(self, *problem: object) -> None:
        self._page.close()


def refuse(command: Command) -> Answer:
    """What the page's own buttons are told here."""
    return {"ok": False, "error": "calibrating: there is no stream to steer"}
