"""Clips that teach: frames with gaps between them, and where people looked in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.engine.log_mel import BANDS, HOPS, SILENCE, LogMel
from aam_edge.errors import DataError
from aam_edge.messages import SOUND_RATE_HZ, Image, Sound
from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.batch import Embed
from aam_edge.training.corpus.item import Item
from aam_edge.training.prompts import free_viewing, instruction
from aam_edge.training.run.camera_path import FPS, camera_path, seen_through
from aam_edge.training.run.settings import ClipsConfig
from aam_edge.training.sample import Grid, Sample, View, relit

START_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class Clip:
    """T frames at one size and what is known of each."""

    text: str
    images: list[Image] = field(default_factory=list)
    dt_s: list[float] = field(default_factory=list)
    """Since the frame before; 0 for the first."""
    densities: list[Grid | None] = field(default_factory=list)
    """(h, w), sum 1; None where nobody looked."""
    mels: list[NDArray[np.float32] | None] = field(default_factory=list)

    def add(self, image: Image, dt_s: float, density: Grid | None) -> None:
        """One frame more, silent."""
        self.images.append(image)
        self.dt_s.append(dt_s if len(self.dt_s) else 0.0)
        self.densities.append(density)
        self.mels.append(None)


@dataclass(slots=True, eq=False)
class ClipBatch:
    """B clips of T frames; spans of it are batches too."""

    images: Tensor
    """(B, T, H, W, 3), uint8, BGR."""
    prompts: Tensor
    """(B, 1, 128)."""
    dt_s: Tensor
    """(B, T), 0 for the first frame of a clip."""
    wanted: Tensor
    """(B, T, 1, h, w), sum 1."""
    weight: Tensor
    """(B, T), 0 where nothing is known."""
    mel: Tensor
    """(B, T, 64, 100)."""
    heard: Tensor
    """(B, T), 1.0 where there is sound."""

    def spans(self, length: int) -> Iterator[ClipBatch]:
        """The batch cut along time."""
        for begin in range(0, self.images.shape[1], length):
            cut = {
                f.name: getattr(self, f.name)[:, begin : begin + length]
                for f in fields(self)
                if f.name != "prompts"
            }
            yield ClipBatch(prompts=self.prompts, **cut)


def generated_clip(
    photos: Sequence[Sample], size: tuple[int, int], config: ClipsConfig, rng: np.random.Generator
) -> Clip:
    """A camera moves over one photo, then over the other, if there are two."""
    numbers = frame_numbers(config.frames, config.most_gap, rng)
    count, shape = len(numbers), (size[0] // 4, size[1] // 4)
    cut = int(rng.integers(1, count)) if len(photos) > 1 and count > 1 else count
    light = int(rng.integers(2**31))
    clip = Clip(_text_of(photos[0], rng))
    for photo, part in zip(photos, (slice(0, cut), slice(cut, count)), strict=False):
        path = camera_path(numbers[part] - numbers[part][0], rng)
        for number, view in zip(numbers[part], path, strict=True):
            image = relit(seen_through(view, photo.image, size), np.random.default_rng(light))
            dt_s = (number - (numbers[len(clip.images) - 1] if clip.images else 0)) / FPS
            clip.add(image, float(dt_s), density_in(photo, view, shape))
    return clip


def frame_numbers(frames: int, most_gap: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Numbers of the frames that are shown: from 0, up to `most_gap` apart."""
    gaps = rng.integers(1, most_gap + 1, frames)
    gaps[0] = 0
    return np.asarray(np.cumsum(gaps), np.intp)


def _text_of(photo: Sample, rng: np.random.Generator) -> str:
    told = [text for text, _ in photo.gaze] + [t for t, _, weight in photo.maps if weight == 1]
    text = told[0] if told else FREE_VIEWING
    return free_viewing(rng) if text == FREE_VIEWING else instruction(text, rng)


def density_in(photo: Sample, view: View, shape: tuple[int, int]) -> Grid | None:
    """Where people looked in a view; None where too little of it is inside."""
    if photo.gaze:
        return view.gaze(photo.gaze[0][1], shape)
    if photo.maps:
        return view.density(photo.maps[0][1], shape)
    return None


def real_clip(
    item: Item,
    size: tuple[int, int],
    config: ClipsConfig,
    rng: np.random.Generator,
    lost: list[tuple[str, str]],
    *,
    with_sound: bool,
) -> Clip:
    """Frames of a video, some left out; a broken frame is one that is left out.

    Raises:
        DataError: fewer than two frames can be read, or nobody looked at any.
    """
    clip = Clip(free_viewing(rng) if item.prompt == FREE_VIEWING else item.prompt)
    light, is_mirrored = int(rng.integers(2**31)), bool(rng.random() < 0.5)
    shape, before, hears = (size[0] // 4, size[1] // 4), 0, LogMel()
    for index in _indices(len(item), config, rng):
        try:
            image = cv2.resize(item.image(index), size[::-1], interpolation=cv2.INTER_AREA)
            density = item.density(shape, index)
        except DataError as problem:
            lost.append((str(problem.value), problem.what))
            continue
        number = item.moments[index].number
        dt_s = (number - before) / (item.fps or FPS)
        before = number
        clip.add(relit(np.asarray(image, np.uint8), np.random.default_rng(light)), dt_s, None)
        clip.densities[-1] = None if density is None else np.asarray(density, np.float32)
        if with_sound:
            clip.mels[-1] = _heard(item, index, hears, lost)
    if len(clip.images) < 2 or all(density is None for density in clip.densities):
        raise DataError("clip has no frames that teach", item, "take it out of the list")
    return _mirrored(clip) if is_mirrored else clip


def _indices(count: int, config: ClipsConfig, rng: np.random.Generator) -> list[int]:
    numbers = frame_numbers(config.frames, config.most_gap, rng)
    if numbers[-1] >= count:
        numbers = np.arange(min(config.frames, count))
    start = int(rng.integers(0, count - int(numbers[-1])))
    return [start + int(number) for number in numbers]


def _heard(
    item: Item, index: int, hears: LogMel, lost: list[tuple[str, str]]
) -> NDArray[np.float32] | None:
    try:
        samples = item.samples(index)
    except DataError as problem:
        lost.append((str(problem.value), f"{problem.what}, the clip is silent"))
        return None
    if samples is None:
        return None
    assert item.fps is not None
    end_ns = START_NS + round(item.moments[index].number / item.fps * 1e9)
    start_ns = end_ns - round(len(samples) / SOUND_RATE_HZ * 1e9)
    return hears.update(Sound(samples, start_ns))


def _mirrored(clip: Clip) -> Clip:
    clip.images = [np.ascontiguousarray(image[:, ::-1]) for image in clip.images]
    clip.densities = [None if d is None else d[:, ::-1] for d in clip.densities]
    return clip


def collate_clips(clips: Sequence[Clip], frames: int, embed: Embed) -> ClipBatch:
    """Clips of one size to a batch of `frames` frames; a shorter one stands still."""
    shape = tuple(n // 4 for n in clips[0].images[0].shape[:2])
    images, dt_s, wanted, weight, mel, heard = ([] for _ in range(6))
    uniform = np.full(shape, 1 / (shape[0] * shape[1]), np.float32)
    silence = np.full((BANDS, HOPS), SILENCE, np.float32)
    for clip in clips:
        lacking = frames - len(clip.images)
        images.append(np.stack([*clip.images, *[clip.images[-1]] * lacking]))
        dt_s.append([*clip.dt_s, *[1 / FPS] * lacking])
        known = [*clip.densities, *[None] * lacking]
        wanted.append(np.stack([uniform if d is None else d for d in known]))
        weight.append([float(d is not None) for d in known])
        sounds = [*clip.mels, *[None] * lacking]
        mel.append(np.stack([silence if m is None else m for m in sounds]))
        heard.append([float(m is not None) for m in sounds])
    return ClipBatch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack([embed(clip.text) for clip in clips]))[:, None],
        torch.tensor(dt_s, dtype=torch.float32),
        torch.from_numpy(np.stack(wanted).astype(np.float32))[:, :, None],
        torch.tensor(weight),
        torch.from_numpy(np.stack(mel)),
        torch.tensor(heard),
    )
