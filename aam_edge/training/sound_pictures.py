"""Pictures of things that move with a drive, before photos or real clips, as luminance.

Places are parts of the picture's height from its top left corner, x right, y down; a camera's path
is added to all of them. What is drawn has FINE pixels along one cell of the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.messages import Image
from aam_edge.training.sound_drives import DRIVE_HZ, Drive, Signal, draw_drive

FINE = 2
"""Pixels drawn along one cell of the map."""
PATCH = 64
"""Side of a thing's picture, pixels, before it is scaled."""
CLIP_SIZE = (144, 112)
"""Width and height at which clips are kept."""
LONGEST_CLIP = 450
"""Frames."""
MOTIONS = ("go", "shake", "turn", "flash", "open", "swell", "bounce", "strike", "start")
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A real film without its sound."""

    frames: Image
    """(N, H, W), grey."""
    fps: float


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What scenes are made of besides what is drawn."""

    photos: Sequence[Image] = ()
    """(H, W) each, grey."""
    clips: Sequence[Clip] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Where a thing is at each frame, (T,) each."""

    x: Signal
    """Of its centre, parts of the picture's height."""
    y: Signal
    angle_rad: Signal
    scale: Signal
    light: Signal
    """Added to its luminance."""
    opening: Signal
    """0..1, of a dark mouth."""


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Something that moves."""

    texture: Array
    """(PATCH, PATCH), luminance 0..1."""
    mask: Array
    """(PATCH, PATCH), 0..1."""
    size: float
    """Part of the picture's height."""
    pose: Pose


def read_material(photos: Path | None, clips: Sequence[Path] = (), most: int = 600) -> Material:
    """Up to so many .jpg of a folder, and clips; DataError where there are none, or no clip."""
    paths = sorted(photos.glob("*.jpg"))[:most] if photos else []
    found = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    pictures = [np.asarray(image, np.uint8) for image in found if image is not None]
    if photos and not pictures:
        raise DataError("folder has no .jpg that can be read", photos, "check the path")
    return Material(pictures, [_read_clip(path) for path in clips])


def _read_clip(path: Path) -> Clip:
    capture, frames = cv2.VideoCapture(str(path)), list[Any]()
    while len(frames) < LONGEST_CLIP:
        there, image = capture.read()
        if not there:
            break
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        frames.append(cv2.resize(grey, CLIP_SIZE, interpolation=cv2.INTER_AREA))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    if not frames or not fps > 0:
        raise DataError("clip cannot be read", path, "check that a player shows it")
    return Clip(np.stack(frames).astype(np.uint8), fps)


def draw_thing(
    rng: np.random.Generator,
    drive: Drive,
    times_s: Signal,
    aspect: float,
    material: Material,
) -> Thing:
    size = np.exp(rng.uniform(np.log(0.12), np.log(0.5)))
    motion = str(rng.choice(MOTIONS))
    if motion in ("bounce", "strike") and drive.rhythm != "strikes":
        motion = "go"
    pose = _pose(rng, motion, drive, times_s, aspect)
    texture = _texture(rng, (PATCH, PATCH), material) * rng.uniform(0.6, 1) + rng.uniform(-0.1, 0.3)
    y, x = np.mgrid[-1 : 1 : PATCH * 1j, -1 : 1 : PATCH * 1j] / 0.85
    power = rng.choice([2.0, 2.0, 8.0])
    squeezed = rng.uniform(0.6, 1)
    inside = 1 - (np.abs(x) ** power + np.abs(y / squeezed) ** power)
    return Thing(texture, (inside * 6).clip(0, 1).astype(np.float32), size, pose)


def _pose(
    rng: np.random.Generator, motion: str, drive: Drive, times_s: Signal, aspect: float
) -> Pose:
    """One way to move with a drive, and often a little of a second one."""
    zeros = np.zeros_like(times_s)
    level, reach = drive.at(times_s), rng.uniform(0.04, 0.25)
    way = rng.uniform(0, 2 * np.pi)
    along, angle, scale, light, opening = zeros, zeros, zeros + 1, zeros, zeros
    travelled = np.interp(
        times_s, np.arange(len(drive.level)) / DRIVE_HZ, np.cumsum(drive.level) / DRIVE_HZ
    )
    if motion == "go":
        along = 2 * reach * np.sin(rng.uniform(2, 8) * travelled + way)
    elif motion == "shake":
        along = 0.3 * reach * level * np.sin(2 * np.pi * rng.uniform(3, 8) * times_s)
    elif motion == "turn":
        angle = rng.uniform(2, 8) * travelled
    elif motion == "flash":
        light = rng.choice([-1, 1]) * rng.uniform(0.1, 0.5) * level
    elif motion == "open":
        opening, along = level, 0.1 * reach * level
    elif motion == "swell":
        scale = 1 + rng.uniform(0.1, 0.4) * level
    elif motion == "start":
        along = reach * level
    else:
        along, way = _struck(drive, times_s, reach, motion), np.pi / 2
    x = rng.uniform(0.15, 0.85) * aspect + np.cos(way) * along
    y = rng.uniform(0.2, 0.8) + np.sin(way) * along
    if rng.random() < 0.3:  # what works may go somewhere besides
        x = x + rng.uniform(-0.12, 0.12) * (times_s - times_s[0])
    return Pose(x, y, angle + rng.uniform(-0.5, 0.5), scale, light, opening)


def _struck(drive: Drive, times_s: Signal, reach: float, motion: str) -> Signal:
    """Height below the top (y down): it hits the ground at each strike of the drive."""
    before = np.searchsorted(drive.strikes_s, times_s, side="right") - 1
    known = np.append(drive.strikes_s, times_s[-1] + 1.0)
    begin, end = known[before], known[before + 1]
    part = ((times_s - begin) / (end - begin)).clip(0, 1)
    if motion == "bounce":
        height = np.minimum(1.0, ((end - begin) / 0.6) ** 2)
        return np.asarray(-4 * reach * height * part * (1 - part))
    to_go_s = end - times_s  # a hammer: slowly up, down within 0.1 s
    return np.asarray(-reach * np.minimum(np.sqrt(part), (to_go_s / 0.1).clip(0, 1)))


def camera_path(
    rng: np.random.Generator, times_s: Signal, motor: Drive | None, is_still: bool
) -> Signal:
    """(T, 2), where the camera looks, parts of the picture's height from the middle."""
    path = np.zeros((len(times_s), 2))
    if is_still or (motor is None and rng.random() < 0.5):
        return path
    drive = motor or draw_drive(rng, float(times_s[-1]) + 0.5, "spans")
    grid_s = np.arange(len(drive.level)) / DRIVE_HZ
    turned = np.interp(times_s, grid_s, np.cumsum(drive.level) / DRIVE_HZ)
    way = rng.uniform(0, 2 * np.pi)
    swept = 0.4 * np.sin(rng.uniform(0.3, 2.0) * turned)
    path += swept[:, None] * [np.cos(way), 0.5 * np.sin(way)]
    if rng.random() < 0.3:  # held in a hand
        path += np.cumsum(rng.normal(0, 0.002, path.shape), axis=0)
    return path


def photo_backdrop(
    rng: np.random.Generator, shape: tuple[int, int], camera: Signal, material: Material
) -> Iterator[Array]:
    """What the camera sees of a still world, frame by frame, (FINE h, FINE w)."""
    rows, columns = FINE * shape[0], FINE * shape[1]
    far = _texture(rng, (2 * rows, 2 * columns), material)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for look_x, look_y in camera:
        shift = np.array([[1, 0, columns / 2 + look_x * rows], [0, 1, rows / 2 + look_y * rows]])
        seen = cv2.warpAffine(
            far, shift, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        yield np.asarray(seen, np.float32)


def clip_backdrop(
    rng: np.random.Generator, shape: tuple[int, int], times_s: Signal, material: Material
) -> Iterator[Array]:
    """A clip from a random place on, to and fro, maybe mirrored."""
    clip = material.clips[int(rng.integers(len(material.clips)))]
    mirror = 1 - 2 * int(rng.integers(2))
    numbers = rng.integers(len(clip.frames)) + np.round(times_s * clip.fps).astype(int)
    size = FINE * shape[1], FINE * shape[0]
    for number in numbers:
        turned = np.abs((number + len(clip.frames)) % (2 * len(clip.frames)) - len(clip.frames))
        frame = clip.frames[min(turned, len(clip.frames) - 1)][:, ::mirror]
        resized = cv2.resize(frame.astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)
        yield np.asarray(resized, np.float32)


def _texture(rng: np.random.Generator, shape: tuple[int, int], material: Material) -> Array:
    """(H, W), 0..1: a cut of a photo, or blotches."""
    if material.photos and rng.random() < 0.7:
        photo = material.photos[int(rng.integers(len(material.photos)))]
        part = rng.uniform(0.3, 1.0)
        rows, columns = (max(8, int(part * side)) for side in photo.shape)
        top, left = (
            rng.integers(a - b + 1) for a, b in zip(photo.shape, (rows, columns), strict=True)
        )
        cut = photo[top : top + rows, left : left + columns].astype(np.float32) / 255
        return np.asarray(cv2.resize(cut, shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
    blotches = np.zeros(shape, np.float32)
    for cells in (3, 6, 12):
        grid = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        blotches += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((0.45 + rng.uniform(0.03, 0.15) * blotches).clip(0, 1), np.float32)


def render(
    rng: np.random.Generator,
    shape: tuple[int, int],
    things: Sequence[Thing],
    camera: Signal,
    backdrop: Iterator[Array],
) -> tuple[Array, Array]:
    """Luminance and how much of each cell the first thing covers, (T, h, w) each."""
    rows, columns = FINE * shape[0], FINE * shape[1]
    noise, lamp = rng.choice([0.0, 0.002, 0.008]), rng.choice([0.0, 0.0, 0.005])
    frames, covers = [], []
    for t, (look_x, look_y) in enumerate(camera):
        frame = next(backdrop)
        cover = np.zeros((rows, columns), np.float32)
        for i, thing in reversed(list(enumerate(things))):
            mask = _paint(frame, thing, t, (look_x, look_y))
            cover = np.maximum(cover, mask) if i == 0 else cover * (1 - mask)
        frames.append(_coarser(frame, shape) + np.float32(lamp * rng.normal()))
        covers.append(_coarser(cover, shape))
    luminance = np.stack(frames)
    luminance += np.float32(noise) * rng.standard_normal(luminance.shape, np.float32)
    return luminance.clip(0, 1), np.stack(covers)


def _paint(frame: Array, thing: Thing, t: int, look: tuple[float, float]) -> Array:
    """Draws a thing over the frame; returns its mask."""
    rows, columns = frame.shape
    pose, unit = thing.pose, rows * thing.size / PATCH
    texture = thing.texture + np.float32(pose.light[t])
    if pose.opening[t] > 0:
        axes = (PATCH // 6, max(1, int(pose.opening[t] * PATCH / 6)))
        texture = texture.copy()
        cv2.ellipse(texture, (PATCH // 2, 2 * PATCH // 3), axes, 0, 0, 360, 0.05, -1)
    centre = np.array([pose.x[t] - look[0], pose.y[t] - look[1]]) * rows
    cosine, sine = np.cos(pose.angle_rad[t]), np.sin(pose.angle_rad[t])
    turn = np.array([[cosine, -sine], [sine, cosine]]) * unit * pose.scale[t]
    matrix = np.column_stack([turn, centre - turn @ [PATCH / 2, PATCH / 2]])
    size = (columns, rows)
    mask = np.asarray(cv2.warpAffine(thing.mask, matrix, size), np.float32)
    painted = cv2.warpAffine(texture, matrix, size)
    frame += mask * (painted - frame)
    return mask


def _coarser(picture: Array, shape: tuple[int, int]) -> Array:
    return np.asarray(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
