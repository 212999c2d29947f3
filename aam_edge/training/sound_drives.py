"""What makes a thing move and sound in time: a drive, and the sound made from it.

A drive is how much is going on, 0..1, on a grid of 1 kHz: runs of syllables, strikes that die away,
spans of work and rest. A thing's motion and its sound are both made from one drive, so that they
belong together by construction; things with drives of their own are the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import SOUND_RATE_HZ, Samples

DRIVE_HZ = 1000
Signal = NDArray[np.float64]
Rhythm = Literal["syllables", "strikes", "spans"]
RHYTHMS: tuple[Rhythm, ...] = ("syllables", "strikes", "spans")


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """How much is going on over time."""

    rhythm: Rhythm
    level: Signal
    """(n,), 0..1 at DRIVE_HZ."""
    strikes_s: Signal
    """(k,), when something hits or begins."""

    def at(self, times_s: Signal) -> Signal:
        """The level at some times; 0 outside."""
        grid_s = np.arange(len(self.level)) / DRIVE_HZ
        return np.interp(times_s, grid_s, self.level, left=0, right=0)


def draw_drive(rng: np.random.Generator, seconds: float, rhythm: Rhythm | None = None) -> Drive:
    """A drive of a random rhythm; its beats are irregular, as a regular one fits any other."""
    rhythm = rhythm or RHYTHMS[rng.integers(len(RHYTHMS))]
    times_s = np.arange(round(seconds * DRIVE_HZ)) / DRIVE_HZ
    if rhythm == "strikes":
        strikes_s = _beats(rng, seconds, *_range(rng, 0.2, 1.2))
        since_s = times_s - strikes_s[np.searchsorted(strikes_s, times_s, side="right") - 1]
        return Drive(rhythm, np.exp(-since_s / rng.uniform(0.03, 0.15)), strikes_s)
    if rhythm == "syllables":
        strikes_s = _beats(rng, seconds, 0.13, 0.32)
        keep = _spans(rng, strikes_s, 0.4, 2.0)
        strikes_s = strikes_s[keep > 0.5]
        widths_s = rng.uniform(0.05, 0.12, len(strikes_s))
        heights = rng.uniform(0.4, 1.0, len(strikes_s))
        bumps = np.exp(-0.5 * ((times_s[:, None] - strikes_s - 0.08) / widths_s) ** 2) * heights
        return Drive(rhythm, bumps.max(axis=1, initial=0.0), strikes_s)
    level = _spans(rng, times_s, *_range(rng, 0.2, 1.6))
    begins = np.flatnonzero(np.diff(level) > 0)
    soft = np.hanning(2 * rng.integers(20, 80) + 1)
    level = np.convolve(level * rng.uniform(0.6, 1), soft / soft.sum(), mode="same")
    return Drive(rhythm, level.clip(0, 1), times_s[begins])


def synthesise(rng: np.random.Generator, drive: Drive) -> Samples:
    """(n,) at SOUND_RATE_HZ, loudest sample 1 unless the drive rests all the time."""
    count = len(drive.level) * SOUND_RATE_HZ // DRIVE_HZ
    times_s = np.arange(count) / SOUND_RATE_HZ
    level = drive.at(times_s) ** rng.uniform(0.7, 2.0)
    kind = "speech" if drive.rhythm == "syllables" and rng.random() < 0.7 else rng.integers(3)
    if kind == "speech":
        carrier = _voice(rng, times_s, drive.at(times_s))
    elif kind == 0:
        carrier = _band(rng, count)
    elif kind == 1:
        carrier = _tone(rng, times_s, drive.at(times_s))
    else:
        carrier = _tone(rng, times_s, drive.at(times_s)) + _band(rng, count)
    sound = level * carrier
    return np.asarray(sound / max(1e-6, np.abs(sound).max()), np.float32)


def room_noise(rng: np.random.Generator, count: int) -> Samples:
    """(count,), coloured noise of root mean square 1."""
    slope = rng.uniform(0, 1)
    noise = _coloured(rng, count, lambda hz: np.maximum(hz, 30) ** -slope)
    return np.asarray(noise, np.float32)


def _beats(rng: np.random.Generator, seconds: float, least_s: float, most_s: float) -> Signal:
    """Irregular times from just before 0 on, always one at least."""
    steps_s = rng.uniform(least_s, most_s, int(seconds / least_s) + 2)
    times_s = np.cumsum(steps_s) - steps_s[0] * (1 + rng.random())
    return np.asarray(times_s[times_s < seconds], np.float64)


def _range(rng: np.random.Generator, least: float, most: float) -> tuple[float, float]:
    low = least + (most - least) * 0.4 * rng.random()
    return low, low + (most - low) * rng.uniform(0.5, 1)


def _spans(rng: np.random.Generator, times_s: Signal, least_s: float, most_s: float) -> Signal:
    """1 and 0 in turn, for random times."""
    longest_s = float(times_s[-1]) if len(times_s) else 0.0
    turns_s = np.cumsum(rng.uniform(least_s, most_s, int(longest_s / least_s) + 2))
    return ((np.searchsorted(turns_s, times_s) + rng.integers(2)) % 2).astype(np.float64)


def _band(rng: np.random.Generator, count: int) -> Signal:
    """Noise within a random band."""
    centre, width = np.exp(rng.uniform(np.log(200), np.log(5000))), rng.uniform(0.3, 1.2)
    return _coloured(
        rng, count, lambda hz: np.exp(-0.5 * (np.log(np.maximum(hz, 1) / centre) / width) ** 2)
    )


def _coloured(
    rng: np.random.Generator, count: int, gain_at: Callable[[NDArray[Any]], NDArray[Any]]
) -> Signal:
    """(count,), noise through a filter, root mean square 1."""
    length = 1 << (count - 1).bit_length()  # transforms of other lengths take ten times as long
    gain = gain_at(np.fft.rfftfreq(length, 1 / SOUND_RATE_HZ))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * gain, length)[:count]
    return np.asarray(noise / noise.std(), np.float64)


def _tone(rng: np.random.Generator, times_s: Signal, level: Signal) -> Signal:
    """Some partials, the pitch may follow the level."""
    pitch_hz = np.exp(rng.uniform(np.log(100), np.log(1500))) * (1 + rng.uniform(-0.2, 0.3) * level)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SOUND_RATE_HZ
    stretch = rng.uniform(1, 1.6)
    partials = [np.sin(phase * k**stretch) / k ** rng.uniform(0.5, 2) for k in range(1, 5)]
    return np.asarray(np.sum(partials, axis=0))


def _voice(rng: np.random.Generator, times_s: Signal, level: Signal) -> Signal:
    """Harmonics under two formants that move with the syllables, and some breath."""
    wander = np.interp(times_s, np.arange(0, times_s[-1] + 1, 0.2), _walk(rng, times_s[-1] + 1))
    pitch_hz = rng.uniform(90, 260) * (1 + 0.15 * wander + 0.1 * level)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SOUND_RATE_HZ
    first_hz, second_hz = 300 + 500 * level, rng.uniform(1200, 2000) + 500 * wander
    voice = np.zeros_like(times_s)
    for k in range(1, 16):
        near_first = np.exp(-0.5 * ((k * pitch_hz - first_hz) / 150) ** 2)
        near_second = np.exp(-0.5 * ((k * pitch_hz - second_hz) / 250) ** 2)
        voice += (near_first + 0.5 * near_second + 0.05) * np.sin(k * phase)
    return np.asarray(voice + 0.1 * rng.standard_normal(len(times_s)))


def _walk(rng: np.random.Generator, seconds: float) -> Signal:
    """Smooth random numbers in -1..1, one each 0.2 s."""
    return rng.uniform(-1, 1, len(np.arange(0, seconds, 0.2)))
