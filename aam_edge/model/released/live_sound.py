"""Sound as a robot hears it, for the released network: what came until a frame, frame by frame.

A `Trail` keeps the last two seconds; `LiveSound` makes one vector a frame of them. The vector of
the newest frame equals what `Wav2Clip` gives for the trailing windows of the last frames together,
since mean and deviation are taken over the pictures of all of them; one passes the network.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.model.released.sound import FACTORS, Amplitude
from aam_edge.model.released.wav2clip import FFT, HOP, WINDOW, Wav2Clip

Samples = NDArray[np.float32]

WINDOWS = 16
"""Frames that are held against each other, as many as the network's window."""


PICTURE = (FFT // 2 + 1, WINDOW // HOP + 1)
"""Shape of one log spectrogram."""


class Trail:
    """The last two seconds at 16 kHz, by the numbers of their samples; holes are silent."""

    def __init__(self, length: int = WINDOW):
        self.samples: Samples = np.zeros(length, np.float32)
        self.end = 0
        """Number of the sample that comes next."""

    def add(self, samples: Samples, start: int) -> None:
        """Puts a window at its place; it may overlap what is there, and then it counts.

        Args:
            samples: (n,), full scale is 1.
            start: number of the first, counted from anywhere.
        """
        length = len(self.samples)
        ahead = start + len(samples) - self.end
        if abs(ahead) >= length:  # a clock was set, or nothing was heard for long
            self.samples[:] = 0
            self.end += ahead
        elif ahead > 0:
            silence = np.zeros(ahead, np.float32)
            self.samples = np.concatenate([self.samples[ahead:], silence])
            self.end += ahead
        place = start - (self.end - length)
        begin = max(place, 0)
        inside = samples[begin - place : length - place]
        self.samples[begin : begin + len(inside)] = inside

    def reset(self) -> None:
        """Forgets what was heard."""
        self.samples[:] = 0
        self.end = 0


class LiveSound:
    """One vector a frame. Memory is that of a few spectrograms."""

    def __init__(self, network: Wav2Clip, windows: int = WINDOWS, amplitude: Amplitude = "public"):
        """Takes a network in evaluation mode, which stays the caller's."""
        self._network, self._factor = network, FACTORS[amplitude]
        self._pictures: deque[Tensor] = deque(maxlen=windows)

    @torch.inference_mode()
    def hear(self, samples: Samples) -> Tensor | None:
        """The vector of the sound until a frame.

        Args:
            samples: (32000,), 16 kHz, full scale is 1.

        Returns:
            (1, 512), on the network's device; None for silence, whose vector would be rounding.
        """
        if not samples.any():
            return None
        window = self._network.encoder.spectrogram.window
        heard = torch.from_numpy(samples * np.float32(self._factor)).to(window.device)
        self._pictures.append(self._network.encoder.spectrogram(heard[None]))
        return self._network.embed(torch.cat(list(self._pictures)), newest=1)

    def pictures(self) -> Samples:
        """The log spectrograms of the windows so far, (k, 257, 91), old to new."""
        if not self._pictures:
            return np.zeros((0, *PICTURE), np.float32)
        return np.asarray(torch.cat(list(self._pictures)).cpu().numpy())

    def put_pictures(self, pictures: Samples) -> None:
        """Takes what `pictures` gave for the windows so far; ValueError for another shape."""
        if pictures.shape[1:] != PICTURE:
            raise ValueError(f"pictures of sound must be (k, 257, 91), got {pictures.shape}")
        device = self._network.encoder.spectrogram.window.device
        self._pictures.clear()
        self._pictures.extend(torch.tensor(picture[None], device=device) for picture in pictures)

    def reset(self) -> None:
        """Forgets the windows before."""
        self._pictures.clear()
