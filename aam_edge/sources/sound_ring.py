"""The last seconds of sound, by UNIX time.

A sample's number is its UNIX time in sample periods (62,500 ns), rounded, and its place in the ring
is that number modulo the ring's length. So blocks of any length, late, early or overlapping, find
their place by arithmetic alone; what was never heard is zero.
"""

from __future__ import annotations

import threading

import numpy as np

from aam_edge.messages import SOUND_RATE_HZ, Samples, Sound

SAMPLE_NS = 1_000_000_000 // SOUND_RATE_HZ


class SoundRing:
    """Bounded; what is older than `seconds` is overwritten. Any thread may add or look."""

    def __init__(self, seconds: float = 4.0):
        self._samples = np.zeros(max(1, round(seconds * SOUND_RATE_HZ)), np.float32)
        self._first = self._end = 0
        self._lock = threading.Lock()

    def add(self, sound: Sound) -> None:
        """Puts a block at its time; a later block wins where two overlap."""
        start = (sound.start_ns + SAMPLE_NS // 2) // SAMPLE_NS
        end = start + len(sound.samples)
        room = len(self._samples)
        if start == end:
            return
        with self._lock:
            # So far ahead or behind that nothing in the ring is its neighbour: a clock was set, or
            # the sound was away. What is there would be mistaken for something else.
            if start >= self._end + room or end <= self._end - room:
                self._samples[:] = 0
                self._first = self._end = start
            self._put(self._end, np.zeros(max(0, start - self._end), np.float32))
            self._end = max(self._end, end)
            oldest = self._end - room
            self._put(max(start, oldest), sound.samples[max(0, oldest - start) :])
            self._first = max(min(self._first, start), oldest)

    def window(self, end_ns: int, seconds: float = 1.0) -> Sound | None:
        """The sound just before a time, holes as zeros.

        Args:
            end_ns: UNIX time at which the window ends, or as near before it as was heard.
            seconds: its length.

        Returns:
            Exactly that length; None if nothing of the seconds before `end_ns` was heard.
        """
        length = round(seconds * SOUND_RATE_HZ)
        with self._lock:
            wanted = end_ns // SAMPLE_NS
            end = min(wanted, self._end)
            if end <= max(self._first, wanted - length):
                return None
            samples = np.zeros(length, np.float32)
            start = max(end - length, self._first)
            samples[length - (end - start) :] = self._get(start, end)
        return Sound(samples, (end - length) * SAMPLE_NS)

    def _put(self, start: int, samples: Samples) -> None:
        place = start % len(self._samples)
        until_wrap = min(len(samples), len(self._samples) - place)
        self._samples[place : place + until_wrap] = samples[:until_wrap]
        self._samples[: len(samples) - until_wrap] = samples[until_wrap:]

    def _get(self, start: int, end: int) -> Samples:
        place, length = start % len(self._samples), end - start
        until_wrap = min(length, len(self._samples) - place)
        rest = self._samples[: length - until_wrap]
        return np.concatenate([self._samples[place : place + until_wrap], rest])
