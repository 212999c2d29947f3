"""Sound as 16 bit samples, and what of overlapping windows is new."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import SOUND_RATE_HZ, Samples, Sound

SAMPLE_NS = 1_000_000_000 // SOUND_RATE_HZ
FULL_SCALE = 32768

Pcm = NDArray[np.int16]


def to_pcm(samples: Samples) -> Pcm:
    """(n,), -1..1, to 16 bit; what is not a number is silence, what is beyond full scale full."""
    steps = np.rint(np.nan_to_num(samples, nan=0, posinf=1, neginf=-1) * FULL_SCALE)
    return steps.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def from_pcm(pcm: Pcm) -> Samples:
    """16 bit to -1..1; `to_pcm` gives the same bits back."""
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)


def as_recorded(sound: Sound) -> Sound:
    """The nearest that 16 bit can hold: a recording then has exactly what the network heard."""
    return Sound(from_pcm(to_pcm(sound.samples)), sound.start_ns)


class SoundTap:
    """Picks from windows that overlap what has not been recorded yet."""

    def __init__(self) -> None:
        self._last: Sound | None = None

    def take(self, window: Sound) -> Sound | None:
        """The end of the window from the first sample that is new, or other than it was.

        A block that came late changes what was a hole, so samples can be other than they were; they
        are recorded anew, and a reader takes the later ones.
        """
        first = self._first_new(window)
        self._last = window
        if first >= len(window.samples):
            return None
        return Sound(window.samples[first:].copy(), window.start_ns + first * SAMPLE_NS)

    def _first_new(self, window: Sound) -> int:
        last = self._last
        if last is None:
            return 0
        offset = (window.start_ns - last.start_ns) // SAMPLE_NS
        if not 0 <= offset < len(last.samples):
            return 0  # time went back, or there is a hole between them
        known = last.samples[offset:]
        common = min(len(known), len(window.samples))
        changed = np.flatnonzero(known[:common] != window.samples[:common])
        return int(changed[0]) if len(changed) else common
