"""The door to all data sets: what is asked for by a short text, to items one after the other.

OSIE              a set of the AAM corpus below the root (`layouts.GAZE_SETS`)
native:DIR        a gaze set in the format of `training.data`
coco:DIR          photos with boxes: DIR/annotations/instances_SPLIT2017.json, DIR/SPLIT2017/
boxes:DIR         photos with boxes: DIR/annotations.json (`things.read_boxed`)
classes:DIR       photos in a folder for each class: DIR/SPLIT/CLASS/*.jpg, or DIR/CLASS/*.jpg
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.layouts import (
    FoldList,
    FrameFolders,
    GazeSet,
    LedovList,
    PhotoList,
    find_gaze_set,
)
from aam_edge.training.corpus.native import read_native
from aam_edge.training.corpus.photos import read_photos
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.corpus.things import read_boxed, read_class_folders, read_coco
from aam_edge.training.corpus.videos import read_folders, read_ledov, read_with_sound

OTHERS = {
    "native": read_native,
    "coco": read_coco,
    "boxes": read_boxed,
    "classes": read_class_folders,
}


def read_items(spec: str, root: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """All items of one split of a data set, each when it is asked for.

    Args:
        spec: as above.
        root: folder of the AAM corpus.
        split: train or val.
        skipped: takes note of what is missing or broken.

    Raises:
        DataError: at once if the set is unknown, is not there or has no such split; at the end if
            it turned out to be empty.
    """
    before = skipped.count
    form, colon, folder = spec.partition(":")
    if colon and form in OTHERS:
        items = OTHERS[form](_existing(Path(folder), spec), split, skipped)
    elif colon:
        raise DataError("unknown layout", form, f"known are {', '.join(OTHERS)}")
    else:
        items = read_set(find_gaze_set(spec), root, split, skipped)
    return _not_empty(items, f"{spec}, {split}", skipped, before)


def read_set(gaze_set: GazeSet, root: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """All items of one split of a set of the AAM corpus."""
    gaze_set.word_of(split)
    _existing(root, gaze_set.name)
    match gaze_set.layout:
        case PhotoList() as layout:
            return read_photos(gaze_set, layout, root, split, skipped)
        case FrameFolders() as layout:
            return read_folders(gaze_set, layout, root, split, skipped)
        case LedovList() as layout:
            return read_ledov(gaze_set, layout, root, split, skipped)
        case FoldList() as layout:
            return read_with_sound(gaze_set, layout, root, split, skipped)


def _existing(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise DataError("folder of the data set is missing", f"{name}: {folder}", "name another")
    return folder


def _not_empty(items: Iterable[Item], name: str, skipped: Skipped, before: int) -> Iterator[Item]:
    is_empty = True
    for item in items:
        is_empty = False
        yield item
    if is_empty:
        lost = skipped.count - before
        what = f"data set is empty, {lost} skipped" if lost else "data set is empty"
        raise DataError(what, name, "check that its files are where its lists say")
