"""Synthetic scenes that teach hearing: several things move, one of them in time with the sound.

Everything is drawn from a seed, without end. A scene is made as the network sees it: luminance at
1/4 of the input, log-mel energies of the trailing second at each frame, irregular steps. The
things are cut from photos or drawn, before photos or clips whose own sound is not heard; cameras
turn and shake, frames are missing, microphones are late, early and noisy. Scenes in which nothing
in view sounds teach when to keep silent:

    sounding   one thing moves in time with the sound
    elsewhere  things move, the sound belongs to none of them
    still      nothing moves, there is sound
    turning    only the camera moves, and its motor is what is heard
    silent     things move, nothing is heard, or there is no microphone
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.log_mel import LogMel
from aam_edge.messages import SOUND_RATE_HZ, Samples, Sound
from aam_edge.training.sound_drives import (
    DRIVE_HZ,
    Drive,
    Signal,
    draw_drive,
    room_noise,
    synthesise,
)
from aam_edge.training.sound_pictures import (
    Array,
    Material,
    camera_path,
    clip_backdrop,
    draw_thing,
    photo_backdrop,
    render,
)

LEAD_S = 1.0
"""Sound before the first frame."""
Kind = Literal["sounding", "elsewhere", "still", "turning", "silent"]
SHARES: dict[Kind, float] = {
    "sounding": 0.48,
    "elsewhere": 0.32,
    "still": 0.06,
    "turning": 0.06,
    "silent": 0.08,
}


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """T frames with their sound; the map is (h, w)."""

    kind: Kind
    dt_s: Array
    """(T,), seconds since the frame before; 0 for the first."""
    luminance: Array
    """(T, h, w), 0..1."""
    mel: Array
    """(T, 64, 100)."""
    heard: Array
    """(T,), 1.0 where there is a microphone."""
    truth: Array
    """(T, h, w), 0..1: how much of each cell the sounding thing covers; 0 where none sounds."""
    sounds: Array
    """(T,), 1.0 where the sounding thing was heard within the last second."""
    silent_log_density: Array
    """(h, w), a made-up log o of the network without sound."""


def draw_scene(
    rng: np.random.Generator,
    shape: tuple[int, int],
    frames: int,
    material: Material | None = None,
    kind: Kind | None = None,
) -> Scene:
    """A random scene.

    Args:
        rng: decides all.
        shape: (h, w) of the map.
        frames: T.
        material: what things and backgrounds are cut from; drawn if not given.
        kind: of scene; drawn by SHARES if not given.
    """
    material = material or Material()
    kind = kind or list(SHARES)[rng.choice(len(SHARES), p=list(SHARES.values()))]
    times_s = _frame_times(rng, frames)
    seconds = float(times_s[-1]) + 0.5
    aspect = shape[1] / shape[0]
    sounding = draw_drive(rng, seconds)
    drives = [draw_drive(rng, seconds) for _ in range(rng.integers(1, 5))]
    if kind == "sounding":
        drives = [sounding, *drives[: rng.integers(0, 5)]]
    if kind in ("still", "turning"):
        drives = [Drive("spans", np.zeros(round(seconds * DRIVE_HZ)), np.zeros(0)) for _ in drives]
    things = [draw_thing(rng, drive, times_s, aspect, material) for drive in drives]
    if kind in ("still", "turning") or rng.random() < 0.6 or not material.clips:
        is_still, motor = kind == "still", sounding if kind == "turning" else None
        camera = camera_path(rng, times_s, motor, is_still)
        backdrop = photo_backdrop(rng, shape, camera, material)
    else:
        camera = np.zeros((frames, 2))
        backdrop = clip_backdrop(rng, shape, times_s, material)
    luminance, cover = render(rng, shape, things, camera, backdrop)
    loudness = 0.0 if kind == "silent" and rng.random() < 0.5 else 1.0
    mel = _listen(rng, sounding, times_s, loudness)
    heard = float(kind != "silent" or loudness == 0)
    is_sounding = float(kind == "sounding")
    return Scene(
        kind=kind,
        dt_s=np.diff(times_s, prepend=times_s[0]).astype(np.float32),
        luminance=luminance,
        mel=mel,
        heard=np.full(frames, heard, np.float32),
        truth=cover * np.float32(is_sounding),
        sounds=(_sounded(sounding, times_s) * is_sounding).astype(np.float32),
        silent_log_density=_made_up_density(rng, shape),
    )


def _sounded(drive: Drive, times_s: Signal) -> NDArray[np.bool_]:
    """(T,): whether it was loud at some moment of the second before each frame."""
    recent = np.stack([drive.at(times_s - lag) for lag in np.arange(0, 1.0, 0.05)])
    return np.asarray(recent.max(axis=0) > 0.1)


def _frame_times(rng: np.random.Generator, frames: int) -> Signal:
    """Seconds; 10 to 30 frames a second, some of them missing."""
    every_s = 1 / rng.choice([10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 30.0])
    lost = rng.random() < 0.4
    steps = 1 + (rng.random(frames) < 0.15) * lost * rng.integers(1, 5, frames)
    return np.asarray(np.cumsum(steps) * every_s)


def _listen(rng: np.random.Generator, drive: Drive, times_s: Signal, loudness: float) -> Array:
    """(T, 64, 100): what a microphone in a room has of the drive's sound at each frame."""
    late_s = rng.uniform(-0.1, 0.06)
    lead = np.zeros(round((LEAD_S + max(0.0, late_s)) * SOUND_RATE_HZ), np.float32)
    early = round(max(0.0, -late_s) * SOUND_RATE_HZ)
    clean = np.concatenate([lead, synthesise(rng, drive)[early:], lead])
    noise = room_noise(rng, len(clean)) * 10 ** rng.uniform(-3.5, -1.2)
    heard = (clean + noise) * loudness * 10 ** rng.uniform(-1.5, 0.3)
    samples: Samples = np.asarray(heard.clip(-1, 1), np.float32)
    log_mel, windows = LogMel(), []
    # The last block before a frame has ended some time before it.
    ends = ((times_s + LEAD_S - rng.uniform(0, 0.03, len(times_s))) * SOUND_RATE_HZ).astype(int)
    for end in ends:
        begin = max(0, end - SOUND_RATE_HZ)
        sound = Sound(samples[begin:end], begin * 1_000_000_000 // SOUND_RATE_HZ)
        windows.append(log_mel.update(sound))
    return np.stack(windows)


def _made_up_density(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """(h, w): log of a few blobs on an even floor."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / shape[0]
    density = np.full(shape, 10 ** rng.uniform(-2, 0))
    for _ in range(rng.integers(1, 5)):
        at_x, at_y = rng.uniform(0, shape[1] / shape[0]), rng.uniform(0, 1)
        sigma = rng.uniform(0.05, 0.3)
        density += np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * sigma**2)) / sigma
    return np.asarray(np.log(density / density.sum()), np.float32)
