"""Generated clips with a known truth, for the tools that measure the filter.

A textured thing of a given width moves over a textured wall, 30 frames/s; the camera may turn and
roll as well. Each observation is a density with a blob on the thing (weak in a quarter of the
frames, jittered), four flickering distractors and a floor: where a network would say that people
look. The filter gets the rendered luminance and the observation, as on a robot. Units: cells of the
map and seconds; points are (x, y), a cell's centre is a whole number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.fpd import State, initial_state
from aam_edge.readout.peaks import Peak, find_peaks

HEIGHT, WIDTH, DT_S = 48, 64, 1 / 30
MARGIN = 48
"""Cells of wall beyond the picture on each side."""
SWING = 10.0
"""How far a turning camera moves the picture to each side, cells."""
Y, X = np.mgrid[:HEIGHT, :WIDTH]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Script:
    """What happens in a clip."""

    speed: tuple[float, float] = (5.0, 30.0)
    """Least and largest speed of the thing at the start, cells/s; (0, 0) stays where it is."""
    width: float = 3.0
    """Sigma of the blob that is the truth, cells."""
    jitter: float = 1.5
    """Standard deviation of the observed blob's place, cells an axis."""
    turn: float = 0.0
    """Largest speed of the picture by the camera's swinging, cells/s an axis."""
    roll: float = 0.0
    """Largest roll, radians; it swings with a period of 2 s."""
    lost: float = 0.0
    """Part of the frames that nobody sees."""
    is_photo: bool = False
    """The first frame again and again, with the same observation."""
    frames: int = 120

    @property
    def log_variance(self) -> float:
        """log R: the variance of log o's error on the thing, by jitter and by strength."""
        return math.log(2 * self.jitter**2 / self.width**2 + 0.3)


@dataclass(frozen=True, eq=False)
class Clips:
    """Several clips of T frames side by side, as B cameras."""

    at: Numbers
    """(T, B, 2), where the thing is."""
    is_lost: Tensor
    """(T, B) bool; never the first."""
    luminance: Tensor
    """(T, B, 1, h, w)."""
    evidence: Tensor
    """(T, B, 1, h, w), log o."""
    truth: Tensor
    """(T, B, 1, h, w), the density without jitter, flicker and floor."""
    pose: Tensor
    """(T, B, 3, 3), float64, takes a point of the wall to the picture, normalised coordinates."""


def make_clips(script: Script, seeds: range) -> Clips:
    """One clip a seed."""
    each = [_clip(script, np.random.default_rng(seed)) for seed in seeds]
    at, is_lost, luminance, evidence, truth, pose = zip(*each, strict=True)
    return Clips(
        np.stack(at, axis=1),
        torch.from_numpy(np.stack(is_lost, axis=1)),
        torch.stack(luminance, dim=1),
        torch.stack(evidence, dim=1),
        torch.stack(truth, dim=1),
        torch.from_numpy(np.stack(pose, axis=1)),
    )


def blob(x: float, y: float, sigma: float) -> Numbers:
    """A Gaussian density, (h, w)."""
    values = np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * sigma**2))
    return np.asarray(values / values.sum())


class Moment(NamedTuple):
    """What a filter gets of one frame of B clips."""

    luminance: Tensor
    evidence: Tensor
    dt_s: Tensor
    """(B,), since the last frame that was seen; 0 for the first."""
    ego: Tensor
    """(B, 3, 3), since the last frame that was seen; the identity if it is not given."""


Step = Callable[[State, Moment], State]


def follow(step: Step, clips: Clips, *, with_ego: bool) -> Iterator[tuple[int, State, Tensor]]:
    """Runs a filter over clips; gives frame number, state and (B,) bool: the frame was seen."""
    frames, count = clips.is_lost.shape
    state, since_s, last = initial_state(count, 1, HEIGHT, WIDTH), torch.zeros(count), clips.pose[0]
    for t in range(frames):
        ego = identity_ego(count)
        if with_ego:
            ego = (clips.pose[t] @ torch.linalg.inv(last)).float()
        with torch.no_grad():
            moved = step(state, Moment(clips.luminance[t], clips.evidence[t], since_s, ego))
        seen = ~clips.is_lost[t]
        kept = zip(moved, state, strict=True)
        state = State(*(torch.where(seen.view(-1, 1, 1, 1), new, old) for new, old in kept))
        last = torch.where(seen.view(-1, 1, 1), clips.pose[t], last)
        since_s = torch.where(seen, 0.0, since_s) + DT_S
        yield t, state, seen


def best_peak(state: State, camera: int, beta: float = 1.0) -> Peak:
    """The best target of one clip, a pixel a cell; the middle of the picture if there is none."""
    density = state.log_density[camera, 0].exp().numpy()
    variance = beta * state.variance[camera, 0].numpy()
    peaks = find_peaks(density, np.asarray(variance, np.float32), (WIDTH, HEIGHT), most=1)
    return peaks[0] if peaks else Peak((WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1.0, WIDTH / 4, 0.0)


def _clip(
    script: Script, rng: np.random.Generator
) -> tuple[Numbers, NDArray[np.bool_], Tensor, Tensor, Tensor, Numbers]:
    wall = (_texture(rng, 8) + _texture(rng, 3)) / 2
    skin = 0.3 + 0.7 * _texture(rng, 3)
    shifts, rolls = _camera(script, rng)
    way = _walk(script, rng)
    distractors = rng.uniform((0, 0), (WIDTH, HEIGHT), size=(4, 2))
    is_lost = rng.random(script.frames) < script.lost
    is_lost[0] = False
    pose = np.stack(
        [_pose(shift[0], shift[1], roll) for shift, roll in zip(shifts, rolls, strict=True)]
    )
    at = np.stack([_through(*frame) for frame in zip(pose, way, strict=True)])
    shown = np.zeros(script.frames, int) if script.is_photo else np.arange(script.frames)
    frames = zip(at, pose, strict=True)
    luminance = torch.cat([_render(wall, skin, *frame, script.width) for frame in frames])
    evidence = _maps([_observe(script, place, distractors, rng) for place in at])
    truth = _maps([blob(place[0], place[1], script.width) for place in at])
    return at[shown], is_lost, luminance[shown], evidence[shown], truth[shown], pose[shown]


def _maps(values: list[Numbers]) -> Tensor:
    return torch.from_numpy(np.stack(values)).float()[:, None]


def _texture(rng: np.random.Generator, cell: int) -> Tensor:
    height, width = HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN
    coarse = torch.from_numpy(rng.random((1, 1, height // cell + 2, width // cell + 2)))
    fine = F.interpolate(coarse.float(), scale_factor=cell, mode="bicubic")
    return fine[..., :height, :width]


def _camera(script: Script, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """(T, 2), how far the wall has moved in the picture, cells; (T,), roll, radians."""
    t = DT_S * np.arange(script.frames)[:, None]
    swing = np.sin(script.turn / SWING * t + rng.uniform(0, 2 * math.pi, 2))
    tilt = np.sin(math.pi * t[:, 0] + rng.uniform(0, 2 * math.pi))
    return SWING * swing * (script.turn > 0), script.roll * tilt


def _walk(script: Script, rng: np.random.Generator) -> Numbers:
    """(T, 2): the thing's way over the wall, cells of the unmoved picture; it stays in view."""
    margin = 4 + SWING * (script.turn > 0)
    least = np.array([margin, margin])
    most = (WIDTH - 1, HEIGHT - 1) - least
    at, speed = rng.uniform(least, most), rng.normal(size=2)
    speed *= rng.uniform(*script.speed) / np.linalg.norm(speed)
    way = []
    for _ in range(script.frames):
        at = at + speed * DT_S
        speed = speed + rng.normal(0, 20, 2) * np.sqrt(DT_S) * (script.speed[1] > 0)
        outwards = ((at < least) & (speed < 0)) | ((at > most) & (speed > 0))
        speed = np.where(outwards, -speed, speed)
        way.append(np.clip(at, least, most))
    return np.stack(way)


def _pose(x: float, y: float, roll: float) -> Numbers:
    """(3, 3): the wall moved by (x, y) cells, then rolled about the picture's centre."""
    c, s = math.cos(roll), math.sin(roll)
    moved = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    rolled = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    to_normalised = np.diag([2 / WIDTH, 2 / HEIGHT, 1])
    return np.asarray(to_normalised @ rolled @ moved @ np.linalg.inv(to_normalised))


def _through(pose: Numbers, place: Numbers) -> Numbers:
    """(2,): a place on the wall, cells of the unmoved picture, as the camera sees it."""
    half = np.array([WIDTH / 2, HEIGHT / 2])
    return np.asarray((pose @ np.append((place + 0.5) / half - 1, 1))[:2] * half + half - 0.5)


def _sample(picture: Tensor, to_picture: Numbers) -> Tensor:
    """What lies at each cell of the map: (1, 1, h, w) of a picture centred on it.

    Args:
        picture: (1, 1, ., .).
        to_picture: (3, 3), takes a cell's place from the map's centre to that in the picture.
    """
    centred = np.stack([X - (WIDTH - 1) / 2, Y - (HEIGHT - 1) / 2, np.ones_like(X)], axis=-1)
    at = (centred @ to_picture.T)[..., :2] * (2 / picture.shape[3], 2 / picture.shape[2])
    grid = torch.from_numpy(at).float()[None]
    return F.grid_sample(picture, grid, mode="bicubic", align_corners=False)


def _render(wall: Tensor, skin: Tensor, at: Numbers, pose: Numbers, width: float) -> Tensor:
    """Luminance (1, 1, h, w) of the wall as the camera sees it, with the thing in front."""
    to_cells = np.diag([WIDTH / 2, HEIGHT / 2, 1])
    picture = _sample(wall, to_cells @ np.linalg.inv(pose) @ np.linalg.inv(to_cells))
    x, y = at - ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    thing = _sample(skin, np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]]))
    distance = np.hypot(X - at[0], Y - at[1])
    mask = torch.from_numpy(np.clip(2 * width + 0.5 - distance, 0, 1)).float()
    return (picture * (1 - mask) + thing * mask).clamp(0, 1)


def _observe(
    script: Script, at: Numbers, distractors: Numbers, rng: np.random.Generator
) -> Numbers:
    """log o: where the network would say that people look."""
    strength = 0.5 + 0.5 * (rng.random() > 0.25)
    x, y = at + rng.normal(0, script.jitter, 2)
    density = strength * blob(x, y, script.width)
    for x, y in distractors:
        density = density + max(0.0, rng.normal(0.12, 0.15)) * blob(x, y, script.width)
    density = density + 0.15 / density.size
    return np.asarray(np.log(density / density.sum()))
