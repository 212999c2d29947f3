"""Which pictures come in which batch: decided by seed, epoch and place alone, before any is read.

Every process of a run makes the same plan and takes its own rows of each batch, so that one process
and many see the same. A run that goes on passes over what it has seen. Photos come in the order of
a permutation, anew for each lap, those that nobody looked at drawn from all; batches hold photos of
one input size, so a photo waits until there are enough of its kind.

Shards stream: each process reads its own part of them and fills its own rows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.batch import size_for
from aam_edge.training.corpus.item import Item
from aam_edge.training.run.material import Material, Stream, is_looked_at
from aam_edge.training.run.settings import RunConfig
from aam_edge.training.run.teaching import size_of
from aam_edge.training.sample import Sample
from aam_edge.training.shards import Part

Ref = int | Item
"""A listed photo or clip by its number, or an item out of a shard."""
MOST_WAITING = 64
"""Streamed items of the other kind that are kept while one kind is looked for."""
MOST_DRAWS = 100_000
"""Until one of a kind must have come."""
_PHOTOS, _CLIPS, _MIX, _ROWS = range(4)
"""What a generator is for; part of its seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture or clip of a batch."""

    first: Ref
    """The photo, or the video."""
    other: Ref | None
    """A second photo: in a mosaic, or behind a cut."""
    is_looked_at: bool
    is_video: bool
    """`first` is a clip; else one is made of photos where clips are asked for."""
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch."""

    epoch: int
    step: int
    """Within the epoch, from 0."""
    is_clips: bool
    size: tuple[int, int]
    """(H, W) of the input."""
    rows: tuple[Row, ...]
    """Those of this process."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of the processes of a run."""

    rank: int = 0
    count: int = 1

    def of(self, rows: list[Row]) -> tuple[Row, ...]:
        """Its rows of a whole batch."""
        each = len(rows) // self.count
        return tuple(rows[self.rank * each : (self.rank + 1) * each])


class _SizeOf(Protocol):
    def __call__(self, ref: Ref, epoch: int, *, is_video: bool) -> tuple[int, int]: ...


class Plan:
    """All batches of a run."""

    def __init__(self, config: RunConfig, material: Material, share: Share = Share()):
        """`share` divides batches of both kinds; see `trainer`."""
        self._config, self._material, self._share = config, material, share
        self._is_streamed = bool(material.streams)
        self._sizes: dict[int, tuple[int, int]] = {}
        clips = config.clips
        can_make = clips.generated > 0 and bool(material.people or material.streams)
        self._every = clips.every if material.has_videos or can_make else 0
        if not material.has_photos:
            self._every = -1  # nothing but clips
        self.steps = self._steps()
        """In an epoch, of both kinds."""

    def _steps(self) -> int:
        config, material = self._config, self._material
        if self._every == -1:
            clips = len(material.clips) + sum(stream.clips for stream in material.streams)
            return config.steps or max(1, math.ceil(clips / config.clips.batch))
        photos = config.steps or math.ceil(
            material.photos_an_epoch(config.drawing.others) / config.drawing.batch
        )
        if not photos:
            todo = "say how many batches an epoch has with steps=N"
            raise DataError("length of an epoch is not known", "shards without an index", todo)
        return photos + (photos // self._every if self._every else 0)

    def is_clips(self, step: int) -> bool:
        """Whether a step of an epoch is one of clips; photos and clips alternate."""
        if self._every == -1:
            return True
        return self._every > 0 and step % (self._every + 1) == self._every

    def entries(self, epoch: int = 0, step: int = 0) -> Iterator[Entry]:
        """Everything from a step of an epoch on to the end of the run."""
        for number in range(epoch, self._config.epochs):
            yield from islice(self._epoch(number), step if number == epoch else 0, None)

    def _epoch(self, epoch: int) -> Iterator[Entry]:
        draws = _Draws(self._config, self._material, self._share, epoch, self.size_of)
        for step in range(self.steps):
            is_clips = self.is_clips(step)
            size, rows = draws.batch(is_clips=is_clips)
            mine = tuple(rows) if self._is_streamed else self._share.of(rows)
            yield Entry(epoch, step, is_clips, size, mine)

    def size_of(self, ref: Ref, epoch: int, *, is_video: bool) -> tuple[int, int]:
        """(H, W) of the input for a photo or clip; DataError where its file is broken."""
        scale = self._config.drawing.scale * (0.5 if epoch < self._config.small_epochs else 1.0)
        if not isinstance(ref, int):
            return size_for(*size_of(ref), scale)
        key = ~ref if is_video else ref
        if key not in self._sizes:
            listed = (self._material.clips if is_video else self._material.photos)[ref]
            if isinstance(listed, Sample):
                self._sizes[key] = (listed.image.shape[1], listed.image.shape[0])
            else:
                self._sizes[key] = size_of(listed)
        return size_for(*self._sizes[key], scale)


class _Draws:
    """The batches of one epoch: rows drawn until enough of one size are there."""

    def __init__(
        self, config: RunConfig, material: Material, share: Share, epoch: int, size_of: _SizeOf
    ):
        self._config, self._material, self._epoch = config, material, epoch
        self._size_of = size_of
        is_streamed = bool(material.streams)
        self._share = share if is_streamed else Share()
        """Whose rows are drawn: all, but for streams."""
        self._ranks = share.count if is_streamed else 1
        self._waiting: dict[tuple[bool, tuple[int, int]], list[Row]] = {}
        self._rows = 0
        self._photo_before: Ref | None = None
        part = Part(self._share.rank, self._share.count)
        self._queues = [
            _Queue(stream, stream.laps(config.seed, epoch, part, material.skipped))
            for stream in material.streams
        ]
        self._kinds = [self._kind(is_video=is_video) for is_video in (False, True)]
        self._is_broken = 0

    def batch(self, *, is_clips: bool) -> tuple[tuple[int, int], list[Row]]:
        """Input size and rows of the next batch."""
        whole = self._config.clips.batch if is_clips else self._config.drawing.batch
        wanted = whole // self._ranks
        while True:
            row = self._clip_row() if is_clips else self._photo_row()
            try:
                size = self._size_of(row.first, self._epoch, is_video=row.is_video)
            except DataError as problem:
                self._note(problem)
                continue
            group = self._waiting.setdefault((is_clips, size), [])
            group.append(row)
            if len(group) == wanted:
                del self._waiting[is_clips, size]
                return size, group

    def _note(self, problem: DataError) -> None:
        """Counts a broken file once an epoch at most; gives up where nothing else comes."""
        self._material.skipped.add(problem.value, problem.what)
        self._is_broken += 1
        if self._is_broken > max(100, 2 * len(self._material.photos)):
            raise problem

    def _seed(self, purpose: int) -> tuple[int, ...]:
        return (self._config.seed, self._epoch, self._share.rank, purpose)

    def _row(self, first: Ref, other: Ref | None, looked_at: bool, is_video: bool) -> Row:
        self._rows += 1
        return Row(first, other, looked_at, is_video, (*self._seed(_ROWS), self._rows))

    def _photo_row(self) -> Row:
        photo, looked_at = self._next(is_video=False)
        other = None
        rng = np.random.default_rng((*self._seed(_MIX), self._rows))
        if not looked_at and rng.random() < self._config.drawing.mosaics:
            rest = self._material.rest
            other = int(rng.choice(rest)) if rest else self._photo_before
        self._photo_before = photo
        return self._row(photo, other, looked_at, is_video=False)

    def _clip_row(self) -> Row:
        """A real clip, or a photo that people looked at, at times with another behind a cut."""
        clips = self._config.clips
        rng = np.random.default_rng((*self._seed(_MIX), self._rows))
        has_videos, has_photos = self._material.has_videos, self._material.has_photos
        if has_videos and not (has_photos and rng.random() < clips.generated):
            return self._row(self._next(is_video=True)[0], None, True, is_video=True)
        photo = self._looked_at()
        other = self._looked_at() if rng.random() < clips.cuts else None
        return self._row(photo, other, True, is_video=False)

    def _looked_at(self) -> Ref:
        for _ in range(MOST_DRAWS):
            photo, looked_at = self._next(is_video=False)
            if looked_at:
                return photo
        todo = "switch clips off with clips.every=0, or add photos with gaze"
        raise DataError("clips need photos that people looked at", "there are none", todo)

    def _next(self, *, is_video: bool) -> tuple[Ref, bool]:
        """The next photo or video of one of the sources, and whether somebody looked at it."""
        kind = self._kinds[is_video]
        at = int(np.searchsorted(kind.shares, kind.rng.random(), side="right"))
        return next(kind.sources[min(at, len(kind.sources) - 1)])

    def _kind(self, *, is_video: bool) -> _Kind:
        """All sources of photos or of videos, by what they hold."""
        material = self._material
        listed = material.clips if is_video else material.photos
        sources: list[Iterator[tuple[Ref, bool]]] = []
        weights: list[int] = []
        if listed:
            sources.append(self._clips() if is_video else self._photos())
            others = self._config.drawing.others
            weights.append(len(listed) if is_video else material.listed_an_epoch(others))
        for queue in self._queues:
            stream = queue.stream
            holds = stream.clips if is_video else stream.photos
            if holds or not (stream.clips or stream.photos):
                sources.append(queue.items(is_video=is_video))
                weights.append(holds or 1)
        rng = np.random.default_rng((*self._seed(_MIX), is_video))
        return _Kind(sources, np.cumsum(weights) / max(1, sum(weights)), rng)

    def _photos(self) -> Iterator[tuple[Ref, bool]]:
        """Photos with gaze once a lap, and some of the others."""
        people, rest = self._material.people, self._material.rest
        looked_at = set(people)
        for lap in count():
            rng = np.random.default_rng((*self._seed(_PHOTOS)[:2], _PHOTOS, lap))
            others = min(self._config.drawing.others, len(rest))
            drawn = rng.choice(rest, others, replace=False).tolist() if others else []
            order = rng.permutation([*people, *drawn])
            if not len(order):
                todo = "raise drawing.others, or add photos with gaze"
                raise DataError("no photo is drawn", "drawing.others=0", todo)
            for i in self._dealt(order):
                yield int(i), int(i) in looked_at

    def _clips(self) -> Iterator[tuple[Ref, bool]]:
        for lap in count():
            rng = np.random.default_rng((*self._seed(_CLIPS)[:2], _CLIPS, lap))
            for i in self._dealt(rng.permutation(len(self._material.clips))):
                yield int(i), True

    def _dealt(self, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of this process, where each fills its own rows; all, where there are too few."""
        is_enough = len(order) >= self._share.count
        return order[self._share.rank :: self._share.count] if is_enough else order


@dataclass(slots=True)
class _Kind:
    """Where photos, or videos, come from."""

    sources: list[Iterator[tuple[Ref, bool]]]
    shares: NDArray[np.floating]
    """Cumulative."""
    rng: np.random.Generator


class _Queue:
    """A stream of photos and videos; what is not asked for waits, the newest of it."""

    def __init__(self, stream: Stream, laps: Iterator[Item]):
        self.stream, self._laps = stream, laps
        self._waiting: tuple[deque[Item], deque[Item]] = (
            deque(maxlen=MOST_WAITING),
            deque(maxlen=MOST_WAITING),
        )

    def items(self, *, is_video: bool) -> Iterator[tuple[Ref, bool]]:
        """Those of one kind, and whether somebody looked at them."""
        while True:
            item = self._next(is_video=is_video)
            yield item, is_looked_at(item)

    def _next(self, *, is_video: bool) -> Item:
        if self._waiting[is_video]:
            return self._waiting[is_video].popleft()
        for item in islice(self._laps, MOST_DRAWS):
            of_video = item.kind != "image"
            if of_video == is_video:
                return item
            self._waiting[of_video].append(item)
        kind = "videos" if is_video else "photos"
        todo = "see clips.every and data.sets"
        raise DataError("shards hold none of a kind", f"{self.stream.source}, {kind}", todo)
