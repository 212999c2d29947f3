"""What the network hears: log-mel energies of the trailing second, computed hop by hop.

A sample's number is its UNIX time in sample periods, rounded, as in the sound ring. Hop k is the
Hann-windowed stretch of samples [160 k - 400, 160 k): its number says where it lies in time, so a
hop that the last call has seen is taken over and moved, and only new ones are computed. A hop holds

    (10 log10(E_b + FLOOR) + 40) / 40,    b = 0..63

with E_b the power in mel band b, 1 for a sine of full scale: silence is -1, full scale about 1.
Energies are summed over triangles on the mel scale of S. Stevens, J. Volkmann and E. Newman
(JASA 1937) in the usual form 2595 log10(1 + f / 700 Hz).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from aam_edge.messages import SOUND_RATE_HZ, Samples, Sound

BANDS = 64
HOPS = 100
HOP = SOUND_RATE_HZ // 100
"""Samples from one hop to the next: 10 ms."""
WINDOW = SOUND_RATE_HZ // 40
"""Samples under one hop's window: 25 ms."""
SILENCE = -1.0
FLOOR = 1e-8
LOWEST_HZ = 50.0
SAMPLE_NS = 1_000_000_000 // SOUND_RATE_HZ

Mel = NDArray[np.float32]


class LogMel:
    """Keeps the last window and its hops; one for each stream of sound."""

    def __init__(self) -> None:
        self._start = 0
        self._samples: Samples = np.zeros(0, np.float32)
        self._hops = np.full((HOPS, BANDS), SILENCE, np.float32)

    def update(self, sound: Sound | None) -> Mel:
        """Log-mel energies of the trailing second.

        Args:
            sound: the window behind a frame, of any length; None where nothing was heard. What is
                not a number counts as silence, what is beyond full scale as full scale.

        Returns:
            (64, 100), low to high and old to new. Hops that reach back behind the window's first
            sample are silent: the oldest two or three of a window of one second.
        """
        start, samples = 0, np.zeros(0, np.float32)
        if sound is not None:
            start = (sound.start_ns + SAMPLE_NS // 2) // SAMPLE_NS
            samples = np.nan_to_num(sound.samples, nan=0, posinf=1, neginf=-1).clip(-1, 1)
        whole = _hops_within(start, start + len(samples))
        kept = self._kept(whole, start, samples)
        hops = np.full((HOPS, BANDS), SILENCE, np.float32)
        _rows(hops, whole, kept)[:] = _rows(self._hops, self._whole, kept)
        for new in (range(whole.start, kept.start), range(kept.stop, whole.stop)):
            if new:
                under = samples[new.start * HOP - WINDOW - start : (new.stop - 1) * HOP - start]
                _rows(hops, whole, new)[:] = log_mel(under)
        self._start, self._samples, self._hops = start, samples, hops
        return np.ascontiguousarray(hops.T)

    @property
    def _whole(self) -> range:
        return _hops_within(self._start, self._start + len(self._samples))

    def _kept(self, whole: range, start: int, samples: Samples) -> range:
        """Those of the hops `whole` whose samples are the same as in the last window."""
        begin = max(start, self._start)
        end = max(begin, min(start + len(samples), self._start + len(self._samples)))
        before = self._samples[begin - self._start : end - self._start]
        differs = before != samples[begin - start : end - start]
        # A block that came late fills what was a hole: from there on all is new.
        end = begin + int(differs.argmax()) if differs.any() else end
        same, seen = _hops_within(begin, end), self._whole
        first = max(same.start, whole.start, seen.start)
        last = min(same.stop, whole.stop, seen.stop)
        return range(first, last) if first < last else range(whole.start, whole.start)


def log_mel(samples: Samples) -> Mel:
    """(hops, 64) of samples (n,): hop k lies over [160 k, 160 k + 400); n >= 400."""
    frames = sliding_window_view(samples, WINDOW)[::HOP] * _HANN  # (hops, 400)
    spectrum = np.fft.rfft(frames, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    # Not "@": that rounds differently with the number of hops, and a stream that goes on from a
    # recorded state would differ from the one that made it.
    energy = np.einsum("hk,kb->hb", power.astype(np.float32), _TRIANGLES)
    decibels = 10 * np.log10(energy + FLOOR)
    return np.asarray((decibels + 40) / 40, np.float32)


def _hops_within(start: int, end: int) -> range:
    """Numbers of the last hops whose windows lie within samples [start, end); HOPS at most."""
    first, newest = -(-(start + WINDOW) // HOP), end // HOP
    return range(max(first, newest - HOPS + 1), newest + 1) if first <= newest else range(0)


def _rows(hops: Mel, whole: range, part: range) -> Mel:
    """The rows of some hops; the newest of `whole` is in the last row."""
    return hops[HOPS + part.start - whole.stop : HOPS + part.stop - whole.stop]


def _triangles() -> Mel:
    """(201, 64): power spectrum of one window to mel bands, a sine of full scale is 1."""
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST_HZ, SOUND_RATE_HZ / 2]) / 700)
    mels = np.linspace(lowest, highest, BANDS + 2)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = np.arange(WINDOW // 2 + 1)[:, None] * (SOUND_RATE_HZ / WINDOW)
    # Low bands are narrower than the spectrum's bins: each reaches one bin to both sides at least.
    reach_hz = np.maximum(np.diff(edges_hz), SOUND_RATE_HZ / WINDOW)
    rising = (bins_hz - edges_hz[1:-1]) / reach_hz[:-1] + 1
    falling = (edges_hz[1:-1] - bins_hz) / reach_hz[1:] + 1
    triangles = np.clip(np.minimum(rising, falling), 0, 1)
    return np.asarray(triangles / (_HANN.sum() / 2) ** 2, np.float32)


_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_TRIANGLES = _triangles()
