"""Sound of any rate to SOUND_RATE_HZ, block by block.

With rates in lowest terms L/M, output i lies at input position p = i M / L, whose fraction has one
of L values. For each of them the taps of a windowed sinc (its cut-off just below the lower of the
Nyquist rates) stand in a bank, so that an output is one row of the bank times the inputs around p:

    y[i] = sum_k bank[i M mod L, k] x[floor(i M / L) - half + 1 + k]

The filter is symmetric around p, so output 0 has exactly the time of input 0.
"""

from __future__ import annotations

from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import SOUND_RATE_HZ, Samples

ZERO_CROSSINGS = 12
CUT_OFF = 0.92
"""Of the lower Nyquist rate; the rest is the filter's slope."""


class Resampler:
    """Keeps what the next block needs of the last one; any cutting into blocks gives the same."""

    def __init__(self, from_hz: int, to_hz: int = SOUND_RATE_HZ):
        common = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._bank = filter_bank(self._up, self._down)
        self._half = self._bank.shape[1] // 2
        # Before the first input there was silence.
        self._inputs = np.zeros(self._half - 1, np.float32)
        self._first_input = 1 - self._half
        self._next_output = 0

    def feed(self, samples: Samples) -> Samples:
        """The outputs that can be made now; the last inputs wait for those after them."""
        if self._up == self._down:
            return samples
        self._inputs = np.concatenate([self._inputs, samples])
        newest = self._first_input + len(self._inputs) - 1
        # The last output whose filter ends at or before the newest input.
        last = ((newest - self._half + 1) * self._up - 1) // self._down
        outputs = np.arange(self._next_output, max(self._next_output, last + 1))
        if not len(outputs):
            return np.zeros(0, np.float32)
        whole, fraction = np.divmod(outputs * self._down, self._up)
        begins = whole - self._half + 1 - self._first_input
        around = self._inputs[begins[:, None] + np.arange(2 * self._half)]  # (n, taps)
        self._forget(int(outputs[-1]) + 1)
        return np.asarray(np.einsum("nk,nk->n", around, self._bank[fraction]), np.float32)

    def _forget(self, next_output: int) -> None:
        self._next_output = next_output
        keep_from = next_output * self._down // self._up - self._half + 1
        # A reduction of the rate can ask for inputs that have not come yet.
        drop = min(max(0, keep_from - self._first_input), len(self._inputs))
        self._inputs = self._inputs[drop:]
        self._first_input += drop


def filter_bank(up: int, down: int) -> NDArray[np.float32]:
    """(up, taps): Kaiser-windowed sinc at each fraction, each row with sum 1."""
    stretch = max(1.0, down / up)
    half = ceil(ZERO_CROSSINGS * stretch)
    taps = np.arange(1 - half, half + 1)
    positions = (taps[None, :] - np.arange(up)[:, None] / up) / stretch
    inside = np.clip(1 - (positions * stretch / half) ** 2, 0, 1)
    bank = np.sinc(CUT_OFF * positions) * np.i0(8.0 * np.sqrt(inside))
    return np.asarray(bank / bank.sum(axis=1, keepdims=True), np.float32)
