"""Joins a frame with the sound behind it.

Frame and sound carry UNIX times of their capture, so joining is looking up: the window of sound
ends at the frame's `capture_ns`. Where the sound comes later than the picture (a microphone's
buffer is some 10 ms) the window ends at the last sample heard, and its `start_ns` says so.
"""

from __future__ import annotations

from aam_edge.messages import Frame, Observation, Sound
from aam_edge.sources.sound_ring import SoundRing


class Synchroniser:
    """Makes observations of frames; without a ring they are silent."""

    def __init__(
        self, ring: SoundRing | None = None, *, window_s: float = 1.0, offset_ms: float = 0.0
    ):
        """`offset_ms` is how much too late sound is stamped."""
        self._ring, self._window_s = ring, window_s
        self._offset_ns = round(offset_ms * 1e6)

    def observe(self, frame: Frame) -> Observation:
        """The frame with the trailing window of sound, if any of it was heard."""
        recorded = frame.recorded
        if recorded is not None and recorded.hears:
            return Observation(frame, recorded.sound, recorded.ego)
        if self._ring is None:
            return Observation(frame)
        heard = self._ring.window(frame.capture_ns + self._offset_ns, self._window_s)
        if heard is not None and self._offset_ns:
            heard = Sound(heard.samples, heard.start_ns - self._offset_ns)
        return Observation(frame, heard)
