"""Wav2CLIP (H.-H. Wu et al., ICASSP 2022): two seconds of sound to a vector beside CLIP's.

A log power spectrogram, standardised, goes as a picture with one channel through a ResNet-18
(K. He et al., CVPR 2016) and two linear layers. Frequency is the height, time the width.

Mean and deviation are taken over all windows of a call together, as the public code does it, so
that a vector depends on which windows are beside it. A stream that hands over the pictures of its
last windows gets the newest vector as if all were asked for, and pays for one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE_HZ = 16_000
WINDOW = 32_000
"""Samples: two seconds."""
FFT = 512
HOP = 353
FLOOR = 1e-7


class Wav2ClipSize(NamedTuple):
    """Widths; by default those of the public weights."""

    stages: tuple[int, int, int, int] = (64, 128, 256, 512)
    vector: int = 512


class Spectrogram(nn.Module):
    """Logarithm of the power of overlapping Hann windows."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT))

    def forward(self, samples: Tensor) -> Tensor:
        """(B, n) at 16 kHz to (B, 257, 1 + n // 353)."""
        bins = torch.stft(samples, FFT, HOP, window=self.window, return_complex=True)
        # Real and imaginary part, not the absolute value: what the AAM was trained with.
        return torch.log(bins.real.square() + bins.imag.square() + FLOOR)


class Block(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module | None = None
        if stride > 1 or c_in != c_out:
            shorter = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shorter, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + beside)


class Encoder(nn.Module):
    """ResNet-18 over one channel, with the spectrogram that it reads."""

    def __init__(self, size: Wav2ClipSize):
        super().__init__()
        first = size.stages[0]
        self.spectrogram = Spectrogram()
        self.conv1 = nn.Conv2d(1, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, 1)
        self.layer2 = _stage(first, size.stages[1], 2)
        self.layer3 = _stage(*size.stages[1:3], 2)
        self.layer4 = _stage(*size.stages[2:4], 2)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 1, 257, columns) to (B, last width)."""
        x = F.relu(self.bn1(self.conv1(picture)))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3))


class Transform(nn.Module):
    """The two linear layers behind; their numbers leave room for what acts in training alone."""

    def __init__(self, c_in: int, vector: int):
        super().__init__()
        hidden, out = nn.Linear(c_in, vector), nn.Linear(vector, vector)
        self.sequential = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(0.1), out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.sequential(x)
        return out


class Wav2Clip(nn.Module):
    """Windows of sound to vectors; to be used in evaluation mode."""

    def __init__(self, size: Wav2ClipSize | None = None):
        super().__init__()
        self.size = size or Wav2ClipSize()
        self.encoder = Encoder(self.size)
        self.transform = Transform(self.size.stages[-1], self.size.vector)

    def forward(self, samples: Tensor) -> Tensor:
        """The vectors of windows that are standardised together.

        Args:
            samples: (B, 32000), 16 kHz; full scale is 1 (or 2^-23, see sound.py).

        Returns:
            (B, 512), of any length.
        """
        return self.embed(self.encoder.spectrogram(samples))

    def embed(self, pictures: Tensor, newest: int | None = None) -> Tensor:
        """The same from log spectrograms (B, 257, 91), of all or of the newest few."""
        # In single precision, however coarse: at the public amplitude the rounding of this mean is
        # a tenth of the deviation, and part of what the trained weights saw.
        standard = (pictures - pictures.mean()) / (pictures.std() + 1e-9)
        wanted = standard if newest is None else standard[-newest:]
        found: Tensor = self.transform(self.encoder(wanted.unsqueeze(1)))
        return found


def _stage(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(c_in, c_out, stride), Block(c_out, c_out, 1))
