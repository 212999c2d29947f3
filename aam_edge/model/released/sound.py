"""From a sound track or a microphone to the windows that Wav2CLIP hears.

Two seconds a frame, in one of two places:

    centred     as the public code does: around the frame, so half of it is the future
    trailing    as a robot must: what was heard until the frame

Two amplitudes, since the public code multiplies samples by 2^-23, a left-over from a reader of
24-bit integers:

    public      with that factor. The power lies below the logarithm's floor, so that what is left
                is near to linear power, rounded coarsely; equal to the public numbers but for the
                rounding, and meant for weights that were trained that way
    full        full scale is 1, as Wav2CLIP itself was trained

Resampling is a windowed sinc with the defaults of torchaudio (SPEC: o, n rates in lowest terms,
b = 0.99 min(o, n), t = b (i / o - j / n) within -6 .. 6, kernel sinc(t) cos^2(pi t / 12) b / o).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.released.wav2clip import RATE_HZ

Amplitude = Literal["public", "full"]
Place = Literal["centred", "trailing"]

FACTORS: dict[Amplitude, float] = {"public": 2.0**-23, "full": 1.0}
WINDOW_S = 2.0
PUBLIC_RATE_HZ = 48_000
"""Where windows of any file meet before they go to 16 kHz."""
CROSSINGS = 6
ROLL_OFF = 0.99


def frame_windows(
    track: Tensor,
    track_hz: float,
    frames: range,
    frames_hz: float,
    *,
    place: Place = "centred",
    target_hz: int = PUBLIC_RATE_HZ,
) -> Tensor:
    """The window of each frame.

    Args:
        track: (n,), one channel.
        track_hz: its rate.
        frames: numbers of the frames, from 0; frame k begins at k / frames_hz.
        frames_hz: frames a second.
        place: where the window lies.
        target_hz: rate of the windows; whole multiples of the track's rate over a common factor.

    Returns:
        (frames, 2 target_hz), zeros outside the track.
    """
    half = math.floor(track_hz * WINDOW_S / 2)
    back = half if place == "centred" else 2 * half
    cuts = [_cut(track, math.trunc(k / frames_hz * track_hz) - back, 2 * half) for k in frames]
    windows = stretched(torch.stack(cuts), math.trunc(WINDOW_S * track_hz))
    if track_hz != target_hz:
        windows = resampled(windows, int(track_hz), target_hz)
    return stretched(windows, round(WINDOW_S * target_hz))


def heard(windows: Tensor, amplitude: Amplitude, windows_hz: int = PUBLIC_RATE_HZ) -> Tensor:
    """Windows (B, n) as Wav2CLIP takes them: 16 kHz, scaled."""
    return resampled(windows * FACTORS[amplitude], windows_hz, RATE_HZ)


def resampled(samples: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """(B, n) to (B, ceil(n to_hz / from_hz)), band-limited; silence before and after."""
    if from_hz == to_hz:
        return samples
    kernels, width = resampling_kernels(from_hz, to_hz)
    step = from_hz // math.gcd(from_hz, to_hz)
    padded = F.pad(samples.unsqueeze(1), (width, width + step))
    phases = F.conv1d(padded, kernels.to(samples), stride=step)  # (B, phases, steps)
    joined = phases.transpose(1, 2).flatten(1)
    return joined[:, : -(-samples.shape[1] * len(kernels) // step)]


def resampling_kernels(from_hz: int, to_hz: int) -> tuple[Tensor, int]:
    """A kernel for each place between two inputs, (phases, 1, taps) float32, and half its width."""
    common = math.gcd(from_hz, to_hz)
    o, n = from_hz // common, to_hz // common
    base = ROLL_OFF * min(o, n)
    width = math.ceil(CROSSINGS * o / base)
    taps = torch.arange(-width, width + o, dtype=torch.float64)[None, None] / o
    phases = torch.arange(n, dtype=torch.float64)[:, None, None] / n
    t = (base * (taps - phases)).clamp(-CROSSINGS, CROSSINGS)
    kernels = torch.sinc(t) * torch.cos(torch.pi * t / CROSSINGS / 2).square() * base / o
    return kernels.float(), width


def stretched(windows: Tensor, length: int) -> Tensor:
    """(B, n) to (B, length) by straight lines, where a rate does not divide well."""
    if windows.shape[1] == length:
        return windows
    return F.interpolate(windows.unsqueeze(1), size=length, mode="linear").squeeze(1)


def _cut(track: Tensor, start: int, length: int) -> Tensor:
    """Samples [start, start + length), zeros where the track has none."""
    end = start + length
    inside = track[max(start, 0) : max(end, 0)]
    before = min(max(-start, 0), length)
    return F.pad(inside, (before, length - before - len(inside)))
