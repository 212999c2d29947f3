"""Training batches: views of photos, alone or two in a mosaic, and what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.messages import Image
from aam_edge.settings import at_least, setting, within_one
from aam_edge.training.prompts import FREE_VIEWING, NAMES, free_viewing, instruction, word_for
from aam_edge.training.sample import Grid, Sample, View, random_view, relit, thing_density

Embed = Callable[[str], NDArray[np.float32]]
"""A prompt to its vector, (128,)."""
COARSE = 2
"""Cells of the map along one cell of the dense heat."""
PLACE = {name: i for i, name in enumerate(NAMES)}
SHAPES = ((224, 288), (256, 256), (288, 224))
"""Inputs at scale 1."""
VIEWINGS = 2
"""Densities asked of one picture at most: two instructions at once show what they change."""
FREE = 0.5
"""How often free viewing is asked for where a teacher told of instructions too."""
ABSENT_TOO = 0.5
"""How often a row is kept for a name that is not in view, however many are."""
KNOWN, SURELY = 0.98, 0.3
"""By how much less one looks for a thing where another is known to be, from which heat on."""
PEOPLES = 0.5
"""Share of people's density in what is wanted where a teacher tells of the same too.

People looked at few photos: taken as they are, those are learned by heart.
"""
GAZE, TEACHER, SEARCH, ABSENT = range(4)
"""What a row is: people's density, a teacher's, a thing in view, a thing that is not."""


UNKNOWN = -1.0
"""In place of a chance."""
SEEN = 64
"""Heat, of 255, from which on a thing is in view."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How pictures are drawn."""

    batch: int = setting(12, "photos in a batch, over all devices")
    prompts: int = setting(3, "asked of each picture through the whole decoder")
    others: int = setting(2600, "photos without people's gaze in an epoch, drawn anew each time")
    mosaics: float = setting(0.35, "part of them that share their picture with another photo")
    pasted: float = setting(0.0, "part of them onto which a boxed thing of another photo is laid")
    smallest_gaze_crop: float = setting(0.75, "sides of the smallest crop of a photo with gaze")
    smallest_crop: float = setting(0.45, "sides of the smallest crop of another")
    word_noise: float = setting(0.02, "deviation of the noise on each number of a prompt's vector")
    absent: float = setting(0.15, "weight of names that are not in view, 1 of those that are")
    scale: float = setting(1.0, "sides of the input against those of a stream")

    def __post_init__(self) -> None:
        at_least("drawing.batch", self.batch, 1)
        at_least("drawing.prompts", self.prompts, 1)
        at_least("drawing.others", self.others, 0)
        within_one("drawing.mosaics", self.mosaics)
        within_one("drawing.pasted", self.pasted)
        at_least("drawing.absent", self.absent, 0.0)
        at_least("drawing.scale", self.scale, 0.25)


@dataclass(slots=True, eq=False)
class Scene:
    """A training picture and what is known of it; maps are (h, w)."""

    picture: Image
    densities: list[tuple[str, Grid, float, int]] = field(default_factory=list)
    """Prompt, density, weight, kind."""
    searched: Grid | None = None
    """Where people look who have not found what they search for, sum 1."""
    things: dict[str, Grid] = field(default_factory=dict)
    """Heat, 0..255."""
    absent: frozenset[str] = frozenset()
    somewhere: frozenset[str] = frozenset()
    """Names of what is in view, nobody knows where."""
    chances: Grid = field(default_factory=lambda: np.full(len(NAMES), UNKNOWN, np.float32))
    """That each of NAMES is in view."""
    words: NDArray[np.floating] | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """Pictures of one size, N prompts each; rows of a picture's prompts lie behind each other."""

    pictures: Tensor
    """(B, 3, H, W), float, 0..255."""
    prompts: Tensor
    """(B, N, 128)."""
    wanted: Tensor
    """(B * N, 1, h, w), sum 1; where nothing is known to be where the thing is absent."""
    weight: Tensor
    """(B * N,)."""
    kind: Tensor
    """(B * N,), one of GAZE, TEACHER, SEARCH, ABSENT."""
    free: Tensor
    """(B * N,), 1.0 where the prompt is free viewing."""
    names: Tensor
    """(M, 128), a vector for each of NAMES."""
    heat: Tensor
    """(B, M, h/2, w/2), 0..1."""
    present: Tensor
    """(B, M): 1 in view, 2 in view somewhere, 0 absent, -1 unknown."""
    chances: Tensor
    """(B, M), that it is in view; UNKNOWN."""
    words: Tensor
    """(B, W), probabilities of the lexicon; zero where unknown."""
    seeds: Tensor
    """(B,), int64, of what is silenced in each picture."""


def scene_of(
    sample: Sample, size: tuple[int, int], smallest: float, rng: np.random.Generator
) -> Scene:
    """A random view of a sample at an input size."""
    view = random_view(smallest, rng)
    shape = (size[0] // 4, size[1] // 4)
    scene = Scene(relit(view.picture(sample.image, size), rng), absent=sample.absent)
    if sample.searched is not None:
        scene.searched = view.density(sample.searched, shape)
    scene.densities = _densities(sample, view, shape, scene.searched)
    scene.things = {name: view.heat(heat, shape) for name, heat in sample.things.items()}
    if view.width * view.height > 0.7:
        scene.somewhere = sample.somewhere
    scene.chances = chances_in(scene, sample)
    if sample.words is not None and view.width * view.height > 0.5:
        scene.words = sample.words.astype(np.float32)
    return scene


def _densities(
    sample: Sample, view: View, shape: tuple[int, int], searched: Grid | None
) -> list[tuple[str, Grid, float, int]]:
    """People's, mixed with what a teacher tells of the same prompt; then what it alone tells of."""
    maps = [(text, view.density(whole, shape), weight) for text, whole, weight in sample.maps]
    people = [(text, view.gaze(photo, shape)) for text, photo in sample.gaze]
    people += [(text, seen) for text, seen, weight in maps if weight == 1]
    told = {text: (seen, weight) for text, seen, weight in maps if weight < 1 and seen is not None}
    searches = {text: searched for text, _ in sample.gaze if text != "free viewing"}
    found = []
    for text, seen in people:
        if seen is None:
            continue
        also = told.pop(text)[0] if text in told else searches.get(text)
        mixed = seen if also is None else PEOPLES * seen + (1 - PEOPLES) * also
        found.append((text, mixed, 1.0, GAZE))
    return found + [(text, seen, weight, TEACHER) for text, (seen, weight) in told.items()]


def chances_in(scene: Scene, sample: Sample) -> Grid:
    """The chance of NAMES in a view of a sample: what was cut off may be there or not."""
    if sample.chances is not None:
        chances = sample.chances.copy()
    else:
        chances = np.full(len(NAMES), UNKNOWN, np.float32)
        chances[[PLACE[name] for name in scene.absent]] = 0
        chances[[PLACE[name] for name in scene.somewhere if name in PLACE]] = 1
    for name in sample.things.keys() & PLACE.keys():
        seen, whole = scene.things[name].max(), sample.things[name].max()
        if seen <= SEEN and seen < 0.8 * whole:
            chances[PLACE[name]] = UNKNOWN
        elif sample.chances is None:
            chances[PLACE[name]] = 1 if seen > SEEN else UNKNOWN
    return chances


def either(first: Grid, second: Grid) -> Grid:
    """The chance that a name is in one of two views."""
    one, other = np.maximum(first, 0), np.maximum(second, 0)
    both = 1 - (1 - one) * (1 - other)
    # What is likely in one of them is there, whatever the other holds.
    is_known = ((first >= 0) & (second >= 0)) | (both > 0.8)
    return np.where(is_known, both, UNKNOWN).astype(np.float32)


def mosaic(first: Scene, second: Scene, axis: int) -> Scene:
    """Two pictures side by side (axis 1) or one above the other (0); gaze is not known of it."""
    picture = np.concatenate([first.picture, second.picture], axis)
    nothing = [np.zeros([n // 4 for n in s.picture.shape[:2]], np.float32) for s in (first, second)]
    things = {
        name: np.concatenate(
            [s.things.get(name, zero) for s, zero in zip((first, second), nothing, strict=True)],
            axis,
        )
        for name in first.things | second.things
    }
    words = None
    if first.words is not None and second.words is not None:
        words = (first.words + second.words) / 2
    somewhere = first.somewhere | second.somewhere
    chances = either(first.chances, second.chances)
    searched = _searched_in(first, second, axis)
    absent = first.absent & second.absent
    return Scene(picture, [], searched, things, absent, somewhere, chances, words)


def _searched_in(first: Scene, second: Scene, axis: int) -> Grid | None:
    """As much in each half as it has cells."""
    if first.searched is None or second.searched is None:
        return None
    both = [searched * searched.size for searched in (first.searched, second.searched)]
    whole = np.concatenate(both, axis)
    return np.asarray(whole / whole.sum(), np.float32)


def rows_of(
    scene: Scene, prompts: int, rng: np.random.Generator, absent_weight: float = 0.15
) -> list[tuple[str, Grid, float, int]]:
    """What is asked of one picture: ways of viewing, things in view, a thing that is not."""
    rows = []
    for place in viewings_of(scene, rng)[:prompts]:
        text, density, weight, kind = scene.densities[place]
        text = free_viewing(rng) if text == "free viewing" else instruction(text, rng)
        rows.append((text, density, weight, kind))
    absent = sorted(scene.absent)
    if not absent and scene.searched is not None and not scene.things:
        absent = list(NAMES)  # nobody knows what is there: as in most searches, it is not
    kept = int(bool(absent) and rng.random() < ABSENT_TOO)
    names = list(scene.things)
    rng.shuffle(names)
    for name in names[: max(0, prompts - len(rows) - kept)]:
        density_ = thing_density(scene.things[name])
        if density_ is not None:
            rows.append((word_for(name, rng), density_, 1.0, SEARCH))
    elsewhere = elsewhere_of(scene)
    while len(rows) < prompts:
        if absent:
            rows.append((word_for(str(rng.choice(absent)), rng), elsewhere, absent_weight, ABSENT))
        else:
            rows.append((free_viewing(rng), elsewhere, 0.0, TEACHER))
    return rows


def elsewhere_of(scene: Scene) -> Grid:
    """Where to look for what is not in view, sum 1.

    Where people look in such a search, evenly if nobody knows; less where something else is known
    to be.
    """
    shape = tuple(n // 4 for n in scene.picture.shape[:2])
    known = np.maximum.reduce([np.zeros(shape, np.float32), *scene.things.values()])
    free = 1 - KNOWN * np.minimum(known / (255 * SURELY), 1)
    if scene.searched is not None:
        free = free * scene.searched
    return np.asarray(free / free.sum(), np.float32)


def viewings_of(scene: Scene, rng: np.random.Generator) -> list[int]:
    """Which densities are asked for: two where people looked, theirs first; else one.

    Of a teacher's, free viewing every second time: it is what most streams ask for.
    """
    densities = scene.densities
    order: list[int] = rng.permutation(len(densities)).tolist()
    if any(kind == GAZE for *_, kind in densities):
        order.sort(key=lambda place: densities[place][3] != GAZE)
        return order[:VIEWINGS]
    if rng.random() < FREE:
        order.sort(key=lambda place: densities[place][0] != "free viewing")
    return order[:1]


def size_for(width: int, height: int, scale: float) -> tuple[int, int]:
    """(H, W) of the input for a picture, the nearest of three: few shapes fill their batches."""
    aspect = math.log(width / height)
    size = min(SHAPES, key=lambda shape: abs(math.log(shape[1] / shape[0]) - aspect))
    # Halves go down: 96 x 128 at scale 0.5.
    return 32 * math.ceil(size[0] * scale / 32 - 0.5), 32 * math.ceil(size[1] * scale / 32 - 0.5)


def mosaic_of(
    one: Sample, other: Sample, size: tuple[int, int], smallest: float, rng: np.random.Generator
) -> Scene:
    """Two samples in one picture, cut along its longer side at a multiple of 8 pixels."""
    axis = int(size[1] >= size[0])
    cut = 8 * round(size[axis] * rng.uniform(0.4, 0.6) / 8)
    parts = []
    for sample, length in ((one, cut), (other, size[axis] - cut)):
        part = (size[0], length) if axis else (length, size[1])
        parts.append(scene_of(sample, part, smallest, rng))
    return mosaic(parts[0], parts[1], axis)


def collate(
    drawn: Sequence[tuple[Scene, np.random.Generator]],
    config: BatchConfig,
    embed: Embed,
    rng: np.random.Generator,
) -> Batch:
    """Pictures of one size to a batch.

    Args:
        drawn: each picture with what decides its prompts, so that it is asked the same whichever
            batch it is in.
        config: how it is drawn.
        embed: a prompt to its vector.
        rng: of what all pictures share, the wording of NAMES.
    """
    scenes = [scene for scene, _ in drawn]
    pictures = torch.from_numpy(np.stack([s.picture for s in scenes]).astype(np.float32))
    rows, asked = [], []
    for scene, own in drawn:
        found = rows_of(scene, config.prompts, own, config.absent)
        rows += found
        asked.append(vectors([text for text, *_ in found], embed, config.word_noise, own))
    heat, present = _dense(scenes, rows[0][1].shape)
    known = next((len(s.words) for s in scenes if s.words is not None), 0)
    words = [np.zeros(known, np.float32) if s.words is None else s.words for s in scenes]
    return Batch(
        pictures.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
        torch.stack(asked),
        torch.from_numpy(np.stack([density for _, density, *_ in rows]))[:, None],
        torch.tensor([weight for *_, weight, _ in rows]),
        torch.tensor([kind for *_, kind in rows]),
        torch.tensor([float(text in FREE_VIEWING) for text, *_ in rows]),
        vectors([word_for(name, rng) for name in NAMES], embed, config.word_noise, rng),
        torch.from_numpy(heat),
        torch.from_numpy(present),
        torch.from_numpy(np.stack([s.chances for s in scenes])),
        torch.from_numpy(np.stack(words).astype(np.float32)),
        torch.tensor([int(own.integers(2**62)) for _, own in drawn]),
    )


def _dense(
    scenes: list[Scene], shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heat and presence of NAMES; shape is the map's."""
    heat = np.zeros((len(scenes), len(NAMES), shape[0] // COARSE, shape[1] // COARSE), np.float32)
    present = np.full((len(scenes), len(NAMES)), -1, np.float32)
    for b, scene in enumerate(scenes):
        present[b, [PLACE[name] for name in scene.absent]] = 0
        present[b, [PLACE[name] for name in scene.somewhere if name in PLACE]] = 2
        for name, seen in scene.things.items():
            if name not in PLACE:
                continue
            small = cv2.resize(seen, heat.shape[:1:-1], interpolation=cv2.INTER_AREA)
            heat[b, PLACE[name]] = small / 255
            present[b, PLACE[name]] = 1 if seen.max() > SEEN else -1
    return heat, present


def vectors(texts: list[str], embed: Embed, noise: float, rng: np.random.Generator) -> Tensor:
    """The vectors of texts with noise, (n, 128)."""
    clean = np.stack([embed(text) for text in texts])
    return torch.from_numpy((clean + rng.normal(0, noise, clean.shape)).astype(np.float32))
