"""`aam-edge train`: the offline side, for people who bring gaze data: `pack` and `fit`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.cli import train_fit
from aam_edge.cli.offline import module
from aam_edge.cli.parser import add_step, show_steps
from aam_edge.errors import UsageError

if TYPE_CHECKING:  # the base install lacks what they need
    from aam_edge.training.corpus.item import Item
    from aam_edge.training.shards import Index

logger = logging.getLogger(__name__)

LINE_EACH_S = 5.0
EXAMPLES = """\
examples:
  aam-edge train pack native:gaze/osie --split train --out shards
  aam-edge train fit --set data.sets=native:gaze/mine --set out=runs/mine
"""
PACK_EPILOG = """\
example:
  aam-edge train pack OSIE DHF1K native:gaze/osie --root corpus --split train --out shards

A SET is a data set of the AAM corpus below --root, by name, or one of
  native:DIR   photos or clips with fixations.npz and splits.json
  coco:DIR     annotations/instances_SPLIT2017.json and SPLIT2017/
  boxes:DIR    annotations.json, a list of photos with named boxes
  classes:DIR  a folder of photos for each class, below SPLIT/ where there are splits
It makes OUT/SPLIT-000000.tar and so on, WebDataset tars, and last the index OUT/SPLIT.json. What
is missing or broken is named, counted and left out.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the sub-commands."""
    show_steps(parser, EXAMPLES)
    steps = parser.add_subparsers(title="steps", metavar="STEP", dest="step", required=True)
    words = "write data sets as shards that stream from a disk or from object storage"
    add = add_step(steps, "pack", words, PACK_EPILOG).add_argument
    add("sets", metavar="SET", nargs="+", help="data set, as below")
    add("--root", metavar="DIR", type=Path, default=Path(), help="of the AAM corpus (here)")
    add("--split", choices=("train", "val"), default="train", help="(%(default)s)")
    add("--out", metavar="DIR", type=Path, required=True, help="folder of the shards")
    size = "size of a shard at most, in MB (%(default)s)"
    add("--shard-mb", metavar="N", type=int, default=256, help=size)
    frames = "frames of a video in one sample at most (%(default)s)"
    add("--clip-frames", metavar="N", type=int, default=32, help=frames)
    add("--json", action="store_true", help="print the index as JSON")
    train_fit.add_arguments(steps)


def run(options: argparse.Namespace) -> int:
    """Runs the step that is asked for."""
    return {"pack": run_pack, "fit": train_fit.run}[options.step](options)


def run_pack(options: argparse.Namespace) -> int:
    """Packs the sets one after the other; says in the end how much, and what was left out."""
    if min(options.shard_mb, options.clip_frames) < 1:
        value = f"{options.shard_mb} MB, {options.clip_frames} frames"
        raise UsageError("shards would be empty", value, "give numbers above 0")
    shards, reader = module("shards"), module("corpus.reader")
    skipped = module("corpus.skipped").Skipped()
    started_s = time.monotonic()
    # All are opened first: a name that is wrong is told before hours of work.
    opened = [reader.read_items(s, options.root, options.split, skipped) for s in options.sets]
    index: Index = shards.write_shards(
        (item for items in opened for item in items),
        options.out,
        options.split,
        skipped,
        shards.Packing(shard_bytes=options.shard_mb * 1_000_000, clip_frames=options.clip_frames),
        _Counter(is_quiet=options.quiet),
    )
    if options.json:
        print(json.dumps(json.loads((options.out / f"{options.split}.json").read_text())))
    if skipped.count or not options.quiet:
        print(_summary(index, time.monotonic() - started_s), file=sys.stderr)
    if skipped.count:
        print(f"aam-edge: {skipped}", file=sys.stderr)
    return 0


def _summary(index: Index, seconds: float) -> str:
    size_mb = sum(shard["bytes"] for shard in index.shards) / 1e6
    sets = ", ".join(f"{name} {count}" for name, count in index.samples_by_set.items())
    return f"samples: {sets}; shards: {len(index.shards)}, {size_mb:.1f} MB, {seconds:.1f} s"


class _Counter:
    """Says every few seconds how far it is; nobody knows how much is to come."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet, self._samples, self._frames = is_quiet, 0, 0
        self._line_s = time.monotonic()

    def __call__(self, item: Item) -> None:
        """Counts a sample."""
        self._samples, self._frames = self._samples + 1, self._frames + len(item)
        if not self._is_quiet and time.monotonic() - self._line_s >= LINE_EACH_S:
            self._line_s = time.monotonic()
            logger.info("%d samples, %d frames, at %s", self._samples, self._frames, item)
