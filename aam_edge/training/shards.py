"""Items in WebDataset shards: tars of bounded size that stream from a disk or from object storage.

A folder has `NAME-000000.tar`, `NAME-000001.tar` and so on, and `NAME.json`, the index, which is
written last: where it is, all shards are whole. A sample is an item, or a piece of at most
`Packing.clip_frames` frames of one (`corpus.packed`); keys are running numbers. The last member of
each shard, `end.json`, holds its count of samples, so that a shard that was cut is noticed.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from webdataset import TarWriter
from webdataset.gopen import gopen
from webdataset.shardlists import expand_urls
from webdataset.tariterators import group_by_keys

from aam_edge.errors import DataError
from aam_edge.training.corpus.check import checked
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.packed import Members, pack, unpack
from aam_edge.training.corpus.skipped import Skipped

SCHEMA = 1
END = "end"
"""Key of the member that closes a shard."""
LARGEST_MEMBER_BYTES = 1 << 30
BROKEN = (OSError, ValueError, EOFError, OverflowError, MemoryError, RecursionError)
"""What a broken shard or index raises, besides tarfile's own."""
_TAR_BLOCK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How shards are cut."""

    shard_bytes: int = 256_000_000
    """At most, but for a sample that is larger alone."""
    clip_frames: int = 32
    """Of a video in one sample."""


@dataclass(slots=True)
class Index:
    """What lies in the shards of one name."""

    shards: list[dict[str, Any]] = field(default_factory=list)
    """`file`, `samples`, `bytes` of each."""
    samples_by_set: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    """What was left out in packing, by reason."""
    schema: int = SCHEMA

    @property
    def samples(self) -> int:
        """Of all shards."""
        return sum(shard["samples"] for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Part:
    """One of several readers that share the samples: number `index` of `count`."""

    index: int = 0
    count: int = 1


def write_shards(
    items: Iterable[Item],
    folder: Path,
    name: str,
    skipped: Skipped,
    packing: Packing = Packing(),
    on_sample: Callable[[Item], None] = lambda item: None,
) -> Index:
    """Packs all items that can be read; returns the index, which is written too.

    Raises:
        DataError: the folder has shards of that name, or cannot be written. Whole shards stay,
            a half one does not, and there is no index.
    """
    _make_empty(folder, name)
    index = Index()
    writer = _ShardWriter(folder, name, index, packing.shard_bytes)
    try:
        for item in pieces(checked(items, skipped), packing.clip_frames):
            writer.write(pack(item))
            counts = index.samples_by_set
            counts[item.gaze_set] = counts.get(item.gaze_set, 0) + 1
            on_sample(item)
        writer.close()
        index.skipped = dict(skipped.reasons)
        _write_index(folder / f"{name}.json", index)
    except OSError as problem:
        todo = "make room and pack again into an empty folder"
        what = f"shard cannot be written, {problem.strerror or problem}"
        raise DataError(what, writer.path, todo) from problem
    finally:
        writer.discard()
    return index


def pieces(items: Iterable[Item], clip_frames: int) -> Iterator[Item]:
    """Each item in pieces of at most that many frames."""
    for item in items:
        for start in range(0, len(item), clip_frames):
            yield item.clip(start, clip_frames)


def _make_empty(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        has_shards = next(folder.glob(f"{name}-*.tar"), None) is not None
    except OSError as problem:
        raise DataError("folder cannot be made", folder, "give another") from problem
    if has_shards or (folder / f"{name}.json").exists():
        todo = "remove them or give another folder"
        raise DataError("there are shards already", folder / f"{name}-*.tar", todo)


def _write_index(path: Path, index: Index) -> None:
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(asdict(index), indent=1) + "\n")
    part.replace(path)


class _ShardWriter:
    """Writes samples into one shard after the other; a shard gets its name when it is whole."""

    def __init__(self, folder: Path, name: str, index: Index, shard_bytes: int):
        self._folder, self._name, self._index = folder, name, index
        self._shard_bytes = shard_bytes
        self._file: BinaryIO | None = None
        self._samples = self._bytes = 0

    @property
    def path(self) -> Path:
        """Of the shard at hand."""
        return self._folder / f"{self._name}-{len(self._index.shards):06d}.tar"

    @property
    def _part(self) -> Path:
        return self.path.with_suffix(".tar.part")

    def write(self, members: Members) -> None:
        """Adds a sample, in a new shard if this one would become too large."""
        size = sum(_tar_size(content) for content in members.values())
        if self._samples and self._bytes + size > self._shard_bytes:
            self.close()
        if self._file is None:
            self._file = self._part.open("wb")
            self._tar = TarWriter(self._file, encoder=False, mtime=0)
            self._bytes = 22 * _TAR_BLOCK  # the end mark, and what tar fills up to
        key = f"{self._index.samples + self._samples:08d}"
        self._tar.write({"__key__": key, **members})
        self._samples += 1
        self._bytes += size

    def close(self) -> None:
        """Completes the shard at hand."""
        if self._file is None:
            return
        self._tar.write({"__key__": END, "json": json.dumps({"samples": self._samples}).encode()})
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        self._part.replace(self.path)
        self._index.shards.append({"file": self.path.name, "samples": self._samples, "bytes": size})
        self._file, self._samples = None, 0

    def discard(self) -> None:
        """Removes a shard that was not completed."""
        if self._file is None:
            return
        for opened in (self._tar, self._file):
            with suppress(OSError):  # what could not be written before cannot now
                opened.close()
        self._part.unlink(missing_ok=True)
        self._file = None


def _tar_size(content: bytes) -> int:
    return _TAR_BLOCK + -(-len(content) // _TAR_BLOCK) * _TAR_BLOCK


def read_shards(
    source: str | Path,
    skipped: Skipped,
    *,
    epoch: int = 0,
    seed: int | None = 0,
    part: Part = Part(),
    buffered: int = 100,
) -> Iterator[Item]:
    """One epoch of samples, streamed, in an order that seed, epoch and part alone decide.

    Shards are shuffled and dealt out among the parts; where there are fewer shards than parts,
    every part reads all shards and keeps its own samples. Each sample goes to one part.

    Args:
        source: an index, `shards/train.json`, as path or URL; or shards themselves, as WebDataset
            writes them: `https://host/train-{000000..000012}.tar`, `pipe:aws s3 cp s3://... -`.
        skipped: takes note of samples that are broken or missing.
        epoch: from 0.
        seed: of the order; None leaves it as packed.
        part: this reader's.
        buffered: samples that are shuffled among each other.
    """
    shards = shard_urls(source)
    order = np.arange(len(shards))
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(len(shards))
    is_dealt = len(shards) >= part.count
    mine = order[part.index :: part.count] if is_dealt else order
    samples = (item for i in mine for item in _read_shard(shards[i], skipped))
    if not is_dealt:
        samples = (item for n, item in enumerate(samples) if n % part.count == part.index)
    if seed is None:
        return samples
    return _shuffled(samples, buffered, np.random.default_rng((seed, epoch, part.index)))


def shard_urls(source: str | Path) -> list[str]:
    """The shards of an index, or of a pattern."""
    text = str(source)
    if not text.endswith(".json"):
        return [str(url) for url in expand_urls(text)]
    files = [str(shard["file"]) for shard in _read_index(text).shards]
    # An index comes from elsewhere, and a shard's name may be a command (`pipe:`).
    if any(name != Path(name).name or ":" in name for name in files):
        raise DataError("index names shards elsewhere", text, "pack again")
    above = text.rpartition("/")[0]
    return [f"{above}/{name}" if above else name for name in files]


def samples_by_set(index: str) -> dict[str, int]:
    """How many samples of each data set an index lists."""
    return dict(_read_index(index).samples_by_set)


def _read_index(text: str) -> Index:
    try:
        with gopen(text) as stream:
            told = json.loads(stream.read())
        shards = [dict(shard) | {"file": _name(shard["file"])} for shard in told["shards"]]
        counts = {str(name): int(n) for name, n in told.get("samples_by_set", {}).items()}
    except (*BROKEN, KeyError, TypeError, AttributeError) as problem:
        todo = "name the .json that packing wrote at its end"
        raise DataError("index of shards cannot be read", text, todo) from problem
    return Index(shards, counts)


def _name(given: object) -> str:
    """The name of a shard; a text, printable and not empty, or ValueError."""
    if not isinstance(given, str) or not given.isprintable() or not given.strip("."):
        raise ValueError("a shard has no name")
    return given


def _read_shard(url: str, skipped: Skipped) -> Iterator[Item]:
    """All whole samples of a shard; the rest is noted."""

    def note(problem: Exception) -> bool:
        skipped.add(url, f"shard cannot be read on ({type(problem).__name__})")
        return True

    seen, expected = 0, None
    try:
        with gopen(url) as stream:
            for sample in group_by_keys(_files(stream, url, note), handler=note):
                members = {k: v for k, v in sample.items() if not k.startswith("__")}
                if sample["__key__"] == END:
                    expected = _samples_told(members)
                    continue
                seen += 1
                with skipped.counting():
                    yield unpack(members, f"{url}:{sample['__key__']}")
    except OSError as problem:
        note(problem)
    if expected is None:
        skipped.add(url, "shard ends too early")
    elif expected != seen:
        skipped.add(url, "samples are missing in the shard", abs(expected - seen))


def _files(
    stream: BinaryIO, url: str, note: Callable[[Exception], bool]
) -> Iterator[dict[str, Any]]:
    """The plain files of a tar, to their end or to where it is broken.

    Nothing is unpacked to the disk. Links, and files that are larger than their bytes in the tar
    (sparse or compressed ones), are not ours, and might be endless.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not member.isreg() or member.issparse() or member.size > LARGEST_MEMBER_BYTES:
                    raise ValueError(f"{member.name} is no plain file of a shard")
                file = tar.extractfile(member)
                assert file is not None, "a regular file has content"
                yield {"fname": member.name, "data": file.read(), "__url__": url}
                # They would be kept for a second reading.
                tar.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, *BROKEN) as problem:
        note(problem)


def _samples_told(members: Members) -> int | None:
    try:
        return int(json.loads(members["json"])["samples"])
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _shuffled(samples: Iterator[Item], buffered: int, rng: np.random.Generator) -> Iterator[Item]:
    """Gives a random one of the next `buffered` samples each time."""
    waiting: list[Item] = []
    for item in samples:
        waiting.append(item)
        if len(waiting) >= buffered:
            yield _taken(waiting, rng)
    while waiting:
        yield _taken(waiting, rng)


def _taken(waiting: list[Item], rng: np.random.Generator) -> Item:
    place = int(rng.integers(len(waiting)))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()
