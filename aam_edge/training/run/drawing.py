"""Rows of a plan to batches: decoding and augmentation, in processes beside the training.

torch's DataLoader carries the entries to its workers and the batches back, in order, with a bound
on what waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from aam_edge.errors import DataError
from aam_edge.training.batch import Batch, Embed, Scene, collate, mosaic_of, scene_of
from aam_edge.training.corpus.item import Item
from aam_edge.training.paste import Cuttings, cut_out, is_clear, paste
from aam_edge.training.run.clips import Clip, ClipBatch, collate_clips, generated_clip, real_clip
from aam_edge.training.run.material import Material
from aam_edge.training.run.plan import Entry, Ref, Row
from aam_edge.training.run.settings import RunConfig
from aam_edge.training.run.teaching import sample_of
from aam_edge.training.sample import Sample

T = TypeVar("T")
Lost = list[tuple[str, str]]


@dataclass(slots=True, eq=False)
class Drawn:
    """A batch, where it belongs, and what could not be read for it."""

    epoch: int
    step: int
    batch: Batch | ClipBatch
    lost: Lost = field(default_factory=list)
    """Name and reason."""


class Drawer(Dataset[Drawn]):
    """Makes the batch of an entry."""

    def __init__(self, config: RunConfig, material: Material, embed: Embed):
        self._config, self._embed = config, embed
        self._photos, self._clips = material.photos, material.clips
        self._cuttings = Cuttings(material.photos if config.drawing.pasted else ())

    def __getitem__(self, entry: Entry) -> Drawn:
        lost: Lost = []
        batch = self._clip_batch(entry, lost) if entry.is_clips else self._photo_batch(entry, lost)
        return Drawn(entry.epoch, entry.step, batch, lost)

    def _photo_batch(self, entry: Entry, lost: Lost) -> Batch:
        def draw(row: Row, seed: tuple[int, ...]) -> tuple[Scene, np.random.Generator]:
            rng = np.random.default_rng(seed)
            return self._scene(row, entry.size, rng, lost), rng

        drawn = _drawn(entry.rows, draw, lost)
        rng = np.random.default_rng((self._config.seed, entry.epoch, entry.step))
        return collate(drawn, self._config.drawing, self._embed, rng)

    def _scene(
        self, row: Row, size: tuple[int, int], rng: np.random.Generator, lost: Lost
    ) -> Scene:
        drawing = self._config.drawing
        first = self._sample(row.first, lost)
        if row.other is not None:
            other = self._sample(row.other, lost)
            scene = mosaic_of(first, other, size, drawing.smallest_crop, rng)
        else:
            crop = drawing.smallest_gaze_crop if row.is_looked_at else drawing.smallest_crop
            scene = scene_of(first, size, crop, rng)
        if len(self._cuttings) and not row.is_looked_at and rng.random() < drawing.pasted:
            name, ref, box = self._cuttings.draw(rng)
            cut = cut_out(self._sample(ref, lost).image, box)
            if is_clear(cut):
                paste(scene, name, cut, rng)
        return scene

    def _clip_batch(self, entry: Entry, lost: Lost) -> ClipBatch:
        config = self._config.clips
        with_sound = entry.epoch >= self._config.sound.after_epochs

        def draw(row: Row, seed: tuple[int, ...]) -> Clip:
            rng = np.random.default_rng(seed)
            if row.is_video:
                item = self._clips[row.first] if isinstance(row.first, int) else row.first
                return real_clip(item, entry.size, config, rng, lost, with_sound=with_sound)
            refs = [row.first] if row.other is None else [row.first, row.other]
            photos = [self._sample(ref, lost) for ref in refs]
            return generated_clip(photos, entry.size, config, rng)

        return collate_clips(_drawn(entry.rows, draw, lost), config.frames, self._embed)

    def _sample(self, ref: Ref, lost: Lost) -> Sample:
        photo: Sample | Item = self._photos[ref] if isinstance(ref, int) else ref
        if isinstance(photo, Sample):
            return photo
        sample, left_out = sample_of(photo)
        lost += left_out
        return sample


def _drawn(rows: tuple[Row, ...], draw: Callable[[Row, tuple[int, ...]], T], lost: Lost) -> list[T]:
    """What is drawn of each row; a broken one is drawn again from the next that is whole.

    Raises:
        DataError: none of the batch can be used.
    """
    found: list[T | None] = []
    problems = []
    for row in rows:
        try:
            found.append(draw(row, row.seed))
        except DataError as problem:  # noqa: PERF203  # one broken photo costs one row
            found.append(None)
            problems.append(problem)
            lost.append((str(problem.value), problem.what))
    whole = [i for i, one in enumerate(found) if one is not None]
    if not whole:
        first = problems[0]
        value = f"{first.value}: {first.what}, {len(rows)} of {len(rows)}"
        raise DataError("nothing in a batch can be learned from", value, first.todo)
    for i, one in enumerate(found):
        if one is None:
            row = rows[whole[i % len(whole)]]
            found[i] = draw(row, (*rows[i].seed, 1))
    return [one for one in found if one is not None]


class _Guarded(Dataset[Drawn | DataError]):
    """Hands a DataError over instead of raising it: raised in a worker, it would lose its words."""

    def __init__(self, drawer: Drawer):
        self._drawer = drawer

    def __getitem__(self, entry: Entry) -> Drawn | DataError:
        try:
            return self._drawer[entry]
        except DataError as problem:
            return problem


def load(drawer: Drawer, entries: Iterable[Entry], workers: int, queue: int) -> Iterator[Drawn]:
    """The batches of entries in their order; `queue` of each worker wait at most.

    Raises:
        DataError: nothing in a batch can be used.
    """
    options: dict[str, Any] = {}
    if workers:
        # Not fork: a process with threads of torch and OpenCV in it makes children that hang.
        options = {"prefetch_factor": queue, "multiprocessing_context": "forkserver"}
    loader = DataLoader(
        _Guarded(drawer),
        sampler=entries,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_alone,
        **options,
    )
    for drawn in loader:
        if isinstance(drawn, DataError):
            raise drawn
        yield drawn


def _alone(worker: int) -> None:
    """A worker is one thread: their number is the setting."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
