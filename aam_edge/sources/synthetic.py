"""A made-up scene with known answers: a bright textured thing moves over a textured room.

Its centre runs on x(t) = W/2 + a sin(2 pi t / 7 s), y(t) = H/2 + b sin(2 pi t / 4.1 s + phi), to
the pixel. Its brightness and a tone beat together twice a second; the pitch rises to the right,
which is all that panning can be in mono. Everything follows from seed, size and rate. Pictures are
painted from parts made once, because benchmarks must not measure their painter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.config import SourceConfig, parse_size
from aam_edge.messages import SOUND_RATE_HZ, Frame, Image, Samples, Sound
from aam_edge.sources.pacer import Pacer

Times = NDArray[np.float64]
PERIODS_S = (7.0, 4.1)
BEATS_HZ = 2.0
PITCH_HZ = (220.0, 880.0)
BEAT_STEPS = 16
DISTRACTORS = 4


class SyntheticSource:
    """An endless scene whose truth is known."""

    is_live = False

    def __init__(self, config: SourceConfig, camera: str = "synthetic", *, seed: int = 0):
        self.camera = camera
        size = parse_size(config.size or "640x480")
        self._scene = Scene.of(size, seed)
        self._fps = config.fps or 30.0
        self._has_sound = config.mic in (None, "file")
        self._pacer = Pacer(config.pace)
        self._frame_id = 0
        self._phase = 0.0
        self._sounded = 0

    def open(self) -> None:
        """Starts the clock."""
        self._pacer.start()

    def truth(self, frame_id: int) -> tuple[float, float]:
        """(x, y) of the thing's centre in a frame, pixels."""
        return self._scene.centre(frame_id / self._fps)

    def read(self) -> Frame | Sound:
        """The sound that ends at the next frame's time, then the frame."""
        offset_ns = round(self._frame_id * 1e9 / self._fps)
        samples_due = offset_ns * SOUND_RATE_HZ // 1_000_000_000
        if self._has_sound and samples_due > self._sounded:
            return self._sound(samples_due)
        self._pacer.wait_for(offset_ns)
        frame_id, self._frame_id = self._frame_id, self._frame_id + 1
        image = self._scene.paint(frame_id / self._fps)
        return Frame(image, self._pacer.stamp(offset_ns), self.camera, frame_id)

    def _sound(self, samples_due: int) -> Sound:
        first, self._sounded = self._sounded, samples_due
        start_ns = self._pacer.stamp(first * 1_000_000_000 // SOUND_RATE_HZ)
        times_s = np.arange(first, samples_due) / SOUND_RATE_HZ
        samples, self._phase = tone(self._scene, times_s, self._phase)
        return Sound(samples, start_ns)

    def interrupt(self) -> None:
        """Ends the wait for a frame's time."""
        self._pacer.interrupt()

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Scene:
    """What a synthetic picture is painted from."""

    room: Image
    things: tuple[Image, ...]
    """The thing at each step of its beat, dark to bright."""
    phase: float

    @classmethod
    def of(cls, size: tuple[int, int], seed: int) -> Scene:
        """Makes the parts; the same seed makes the same ones."""
        random = np.random.default_rng(seed)
        width, height = size
        room = _texture(random, size, cell=24, low=70, high=130)
        side = max(1, min(size) // 8)
        for _ in range(DISTRACTORS):
            x = random.integers(0, max(1, width - side))
            y = random.integers(0, max(1, height - side))
            part = room[y : y + side, x : x + side]
            part[:] = _texture(random, (part.shape[1], part.shape[0]), cell=6, low=40, high=160)
        pattern = _texture(random, (side, side), cell=4, low=0, high=255).astype(np.float32)
        pattern[:, :, 2] = 255  # red among greens and blues
        levels = np.linspace(0.6, 1.0, BEAT_STEPS)
        things = tuple((pattern * level).astype(np.uint8) for level in levels)
        return cls(room, things, float(random.uniform(0, 2 * math.pi)))

    def paint(self, time_s: float) -> Image:
        """(H, W, 3) BGR."""
        image = self.room.copy()
        x, y = self._corner(time_s)
        thing = self.things[round(float(beat(np.array(time_s))) * (BEAT_STEPS - 1))]
        side = thing.shape[0]
        image[y : y + side, x : x + side] = thing
        return image

    def centre(self, time_s: float) -> tuple[float, float]:
        """(x, y) of the thing, pixels, as it is painted."""
        x, y = self._corner(time_s)
        half = (self.things[0].shape[0] - 1) / 2
        return x + half, y + half

    def across(self, time_s: float) -> float:
        """Where the thing is from left (0) to right (1)."""
        return (math.sin(2 * math.pi * time_s / PERIODS_S[0]) + 1) / 2

    def _corner(self, time_s: float) -> tuple[int, int]:
        height, width = self.room.shape[:2]
        side = self.things[0].shape[0]
        down = (math.sin(2 * math.pi * time_s / PERIODS_S[1] + self.phase) + 1) / 2
        return round(self.across(time_s) * (width - side)), round(down * (height - side))


def beat(times_s: Times) -> Times:
    """Brightness and loudness, 0..1."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * BEATS_HZ * times_s))


def tone(scene: Scene, times_s: Times, phase: float) -> tuple[Samples, float]:
    """The tone at the given times, and the phase to go on with."""
    low, high = PITCH_HZ
    pitch_hz = low * (high / low) ** scene.across(float(times_s[0]))
    phases = phase + 2 * np.pi * pitch_hz / SOUND_RATE_HZ * np.arange(1, len(times_s) + 1)
    samples = (0.3 * beat(times_s) * np.sin(phases)).astype(np.float32)
    return samples, float(phases[-1] % (2 * np.pi))


def _texture(
    random: np.random.Generator, size: tuple[int, int], *, cell: int, low: int, high: int
) -> Image:
    """Smooth coloured noise, (H, W, 3)."""
    width, height = size
    grid = (height // cell + 2, width // cell + 2, 3)
    coarse = random.uniform(low, high, grid).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth.clip(0, 255), np.uint8)
