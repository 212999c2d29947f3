"""Photos whose things are named: COCO's boxes, and folders of photos for each class.

They teach search: an item has `things`, and nobody's gaze.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment, Thing
from aam_edge.training.corpus.photos import PICTURES
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.search_data import LICENSED_BOXES, is_held_out

SEARCH = "search"
"""Their prompt as long as nothing is asked for: "search for" one of the things."""


def read_coco(root: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """Every photo of a COCO split that is there, with its boxes; photos without boxes too."""
    table = root / "annotations" / f"instances_{split}2017.json"
    try:
        whole = json.loads(table.read_bytes())
        names = {entry["id"]: str(entry["name"]) for entry in whole["categories"]}
        photos, boxes = list(whole["images"]), list(whole["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        todo = "the split needs COCO's instances file of 2017"
        raise DataError("list cannot be read", table, todo) from problem
    of_photo: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in boxes:
        of_photo[entry.get("image_id")].append(entry)
    folder = root / f"{split}2017"
    return (
        Item("COCO", path.stem, split, "image", SEARCH, (Moment(path),), things=things)
        for photo in photos
        for path, things in _photo(photo, folder, of_photo, names, skipped)
    )


def _photo(
    photo: dict[str, Any],
    folder: Path,
    of_photo: dict[Any, list[dict[str, Any]]],
    names: dict[Any, str],
    skipped: Skipped,
) -> Iterator[tuple[Path, tuple[Thing, ...]]]:
    path = folder / str(photo.get("file_name"))
    if not path.is_file():
        skipped.add(path, "file is missing")
        return
    things = []
    for entry in of_photo.get(photo.get("id"), ()):
        with skipped.counting():
            things.append(_thing(entry, photo, names))
    yield path, tuple(things)


def _thing(entry: dict[str, Any], photo: dict[str, Any], names: dict[Any, str]) -> Thing:
    """COCO's box is x, y, width, height in pixels; what lies outside of the photo is cut off."""
    try:
        name, (x, y, w, h) = names[entry["category_id"]], (float(n) for n in entry["bbox"])
        width, height = float(photo["width"]), float(photo["height"])
        edges = (x / width, y / height, (x + w) / width, (y + h) / height)
        x0, y0, x1, y1 = (min(1.0, max(0.0, edge)) for edge in edges)
        if not (x0 < x1 and y0 < y1):
            raise ValueError("empty")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as problem:
        where = f"{photo.get('file_name')}, annotation {entry.get('id')}"
        raise DataError("box cannot be read", where, "take it out of the list") from problem
    return Thing(name, (x0, y0, x1, y1), bool(entry.get("iscrowd")))


def read_boxed(root: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """Photos of `annotations.json` with their boxes, fractions of the photo.

    It lists `photos`: `file`, `source`, and `objects`, each with `name` and `box`. Val is what
    training keeps out, a fixed seventh of COCO's; train the rest of free licences.
    """
    table = root / "annotations.json"
    try:
        photos = json.loads(table.read_bytes())["photos"]
        listed = [(str(photo["file"]), str(photo["source"]), photo["objects"]) for photo in photos]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError("list cannot be read", table, "give another folder") from problem
    if split not in ("train", "val"):
        raise DataError("data set has no such split", f"{root}, {split}", "it has train and val")
    for file, source, objects in listed:
        is_val = source.startswith("COCO") and is_held_out(f"{root.name}/{file}")
        if is_val != (split == "val") or not source.startswith(LICENSED_BOXES):
            continue
        if not (root / file).is_file():
            skipped.add(root / file, "file is missing")
            continue
        things = []
        for thing in objects:
            with skipped.counting():
                things.append(_boxed(thing, file))
        name = Path(file).stem
        yield Item(
            root.name, name, split, "image", SEARCH, (Moment(root / file),), things=tuple(things)
        )


def _boxed(thing: Any, file: str) -> Thing:
    try:
        x0, y0, x1, y1 = (float(edge) for edge in thing["box"])
        return Thing(str(thing["name"]), (x0, y0, x1, y1))
    except (KeyError, TypeError, ValueError) as problem:
        raise DataError("box cannot be read", file, "take it out of the list") from problem


def read_class_folders(root: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """Every photo below a folder that names what is on it; `_` in the name is a space.

    The split's folder holds the classes, or the root itself where no split has a folder; then all
    of it is `train`.
    """
    has_splits = any((root / part).is_dir() for part in ("train", "val"))
    above = root / split if has_splits else root
    if not above.is_dir() or (split != "train" and not has_splits):
        todo = f"make {root / split}, or ask for another split"
        raise DataError("data set has no such split", f"{root}, {split}", todo)
    return (
        Item(
            root.name, path.relative_to(above).with_suffix("").as_posix(), split, "image", SEARCH,
            (Moment(path),), things=(Thing(folder.name.replace("_", " ")),),
        )
        for folder in sorted(entry for entry in above.iterdir() if entry.is_dir())
        for path in _photos_below(folder, skipped)
    )  # fmt: skip


def _photos_below(folder: Path, skipped: Skipped) -> Iterator[Path]:
    photos = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES]
    if not photos:
        skipped.add(folder, "class has no photos")
    yield from photos
