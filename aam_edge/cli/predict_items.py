"""What `aam-edge predict` is given: single photos and videos, each with a name for its results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from aam_edge.errors import SourceError
from aam_edge.sources.catalog import camera_name, unique_names
from aam_edge.sources.folder import natural_key
from aam_edge.sources.media import is_address
from aam_edge.sources.picture import is_picture

DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Item:
    """A photo, a video, or why there is neither."""

    spec: str
    """Path or address, as it is opened."""
    name: PurePath
    """Relative path that all its results begin with; no other item has it."""
    is_photo: bool = False
    problem: SourceError | None = None


def list_items(inputs: Sequence[str], out: Path) -> list[Item]:
    """All photos and videos of the inputs, in the order given, folders in the order people sort.

    A file is named after itself, what lies in a folder after the folder and the path within. Of two
    inputs with one name the second gets a number.

    Args:
        inputs: files, folders, addresses or `demo`.
        out: folder of the results, in which no photos are looked for.
    """
    names = unique_names([_own_name(text) for text in inputs])
    return [
        item
        for text, name in zip(inputs, names, strict=True)
        for item in _items_of(text, PurePath(name), out)
    ]


def _own_name(text: str) -> str:
    if is_address(text):
        return camera_name(text)
    return Path(text).name or Path(text).resolve().name or "root"


def _items_of(text: str, name: PurePath, out: Path) -> Iterator[Item]:
    path = Path(text)
    if is_address(text) or (text == DEMO and not path.exists()):
        yield Item(text, name)
    elif not path.exists():
        todo = "give photos, folders or videos"
        yield Item(text, name, problem=SourceError("no such file", text, todo))
    elif path.is_dir():
        yield from _items_below(path, name, out)
    else:
        yield Item(text, name, is_photo=is_picture(path))


def _items_below(folder: Path, name: PurePath, out: Path) -> Iterator[Item]:
    problems: list[OSError] = []
    photos: list[Path] = []
    results = out.resolve()
    for here, below, files in os.walk(folder, onerror=problems.append):
        below[:] = sorted(
            (child for child in below if (Path(here) / child).resolve() != results),
            key=natural_key,
        )
        paths = (Path(here) / file for file in sorted(files, key=natural_key))
        photos.extend(path for path in paths if is_picture(path))
    for photo in photos:
        yield Item(str(photo), name / photo.relative_to(folder), is_photo=True)
    for problem in problems:
        values = f"{problem.filename}: {problem.strerror}"
        todo = "check its rights"
        yield Item(str(folder), name, problem=SourceError("folder cannot be read", values, todo))
    if not photos and not problems:
        todo = "give one with .jpg, .png or other picture files"
        yield Item(str(folder), name, problem=SourceError("folder has no pictures", folder, todo))
