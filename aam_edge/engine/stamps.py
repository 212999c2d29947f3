"""The time between a camera's frames, by their stamps."""

from __future__ import annotations

UNKNOWN_STEP_S = 1 / 30
"""Taken for the time between two frames whose stamps do not rise."""


class Stamps:
    """The last frame's stamp, and how many did not rise."""

    def __init__(self) -> None:
        self.last_ns: int | None = None
        """UNIX time of the last frame's capture; None before the first and after a reset."""
        self.backward = 0
        """Frames whose stamp did not rise."""

    def step_s(self, capture_ns: int) -> float:
        """Takes a frame's stamp; seconds since the last one, 0 for the first."""
        last, self.last_ns = self.last_ns, capture_ns
        if last is None:
            return 0.0
        if capture_ns <= last:
            self.backward += 1
            return UNKNOWN_STEP_S
        return (capture_ns - last) / 1e9
