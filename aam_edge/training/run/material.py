"""What a run learns from: photos and clips that are listed, and shards that stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aam_edge.errors import DataError
from aam_edge.training.batch import Embed
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.layouts import GAZE_SETS
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.prompts import NAMES
from aam_edge.training.run.settings import DataConfig, RunConfig
from aam_edge.training.run.teaching import has_people
from aam_edge.training.sample import Sample
from aam_edge.training.search_data import read_photos
from aam_edge.training.shards import Part, read_shards, samples_by_set
from aam_edge.training.taught import read_lexicon, teach

SHARDS = "shards:"


@dataclass(frozen=True, slots=True)
class Stream:
    """Shards of one index or pattern."""

    source: str
    photos: int
    """Samples of still sets; 0 where there are none or no index says."""
    clips: int

    def laps(self, seed: int, epoch: int, part: Part, skipped: Skipped) -> Iterator[Item]:
        """Its samples, again and again, in an order that seed, epoch and part alone decide."""
        for lap in range(1_000_000):
            is_empty = True
            order = epoch * 1_000_000 + lap
            for item in read_shards(self.source, skipped, epoch=order, seed=seed, part=part):
                is_empty = False
                yield item
            if is_empty:
                raise DataError("shards are empty", self.source, "pack the set again")


@dataclass(eq=False)
class Material:
    """All that is listed, read lazily; and the streams."""

    photos: list[Item | Sample] = field(default_factory=list)
    clips: list[Item] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    lexicon: Tensor | None = None
    skipped: Skipped = field(default_factory=Skipped)

    @cached_property
    def people(self) -> list[int]:
        """Photos that somebody looked at."""
        return [i for i, photo in enumerate(self.photos) if is_looked_at(photo)]

    @cached_property
    def rest(self) -> list[int]:
        """The others."""
        return sorted(set(range(len(self.photos))) - set(self.people))

    def usual(self) -> Tensor:
        """Part of the photos that hold each of NAMES, (M,); half where no chances are known."""
        known = [p.chances for p in self.photos if isinstance(p, Sample) and p.chances is not None]
        if not known:
            return torch.full((len(NAMES),), 0.5)
        return torch.from_numpy(np.mean(known, axis=0))

    @property
    def has_photos(self) -> bool:
        """Or a stream that may have some."""
        return bool(self.photos) or any(s.photos or not s.clips for s in self.streams)

    @property
    def has_videos(self) -> bool:
        """Real clips, listed or streamed."""
        return bool(self.clips) or any(stream.clips for stream in self.streams)

    def photos_an_epoch(self, others: int) -> int:
        """How many photos there are to see."""
        return self.listed_an_epoch(others) + sum(stream.photos for stream in self.streams)

    def listed_an_epoch(self, others: int) -> int:
        """The listed ones of them."""
        return len(self.people) + min(others, len(self.rest))


def is_looked_at(photo: Item | Sample) -> bool:
    """Somebody's gaze is known, as far as lists say."""
    return photo.has_people if isinstance(photo, Sample) else has_people(photo)


def read_material(config: RunConfig, embed: Embed) -> Material:
    """Opens everything that a run learns from.

    Raises:
        DataError: a set is unknown, missing or empty.
    """
    data, material = config.data, Material()
    if data.photos is not None:
        assert data.heat is not None
        words = Path(data.words) if data.words else None
        samples = read_photos(Path(data.photos), Path(data.heat), words)
        if data.views:
            teach(samples, Path(data.views), data.views_weight)
        material.lexicon = read_lexicon(samples, words, embed)
        material.photos += samples
    for spec in data.sets:
        if spec.startswith(SHARDS):
            material.streams.append(open_stream(spec.removeprefix(SHARDS)))
            continue
        for item in read_items(spec, Path(data.root), "train", material.skipped):
            (material.photos if item.kind == "image" else material.clips).append(item)
    return material


def open_stream(source: str) -> Stream:
    """Shards by their index, which says how much there is, or by a pattern."""
    if not source.endswith(".json"):
        return Stream(source, 0, 0)
    photos = clips = 0
    for name, count in samples_by_set(source).items():
        known = GAZE_SETS.get(name)
        if known is None or known.kind == "image":
            photos += count
        else:
            clips += count
    return Stream(source, photos, clips)


def read_held(data: DataConfig) -> dict[str, list[Item]]:
    """Photos and clips of the validation by set, evenly taken where there are too many.

    Raises:
        DataError: a set has no val split.
    """
    held: dict[str, list[Item]] = {}
    if data.val == ("none",):
        return held
    skipped = Skipped()
    for spec in data.val or data.sets:
        if not spec.startswith(SHARDS):
            items = _held_items(spec, data, skipped)
        elif data.val:
            items = list(read_shards(spec.removeprefix(SHARDS), skipped, seed=None))
        else:
            continue  # which shards are of the val split, nobody has said
        label = Path(spec.partition(":")[2] or spec).name
        held[spec if label in held else label] = _evenly(items, data.val_photos)
    return held


def _held_items(spec: str, data: DataConfig, skipped: Skipped) -> list[Item]:
    try:
        return list(read_items(spec, Path(data.root), "val", skipped))
    except DataError as problem:
        if data.val or "no such split" not in problem.what:
            raise
        todo = "name sets that have one with data.val, or switch it off with data.val=none"
        raise DataError("data set has no val split", spec, todo) from problem


def _evenly(items: list[Item], most: int) -> list[Item]:
    step = max(1, math.ceil(len(items) / most))
    return items[::step]
