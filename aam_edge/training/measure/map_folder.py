"""Maps that another model left on the disk, so that it is scored on the same photos."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.photos import PICTURES
from aam_edge.training.measure.predictor import Answer
from aam_edge.training.tables import BROKEN

MOST_STRETCH = 1.2
"""Between the aspects of a map and its picture; square ones are taken for squeezed ones."""
SQUARE = 1.0


class MapFolder:
    """Maps that another model left: .npy (h, w) or grey pictures, named like the photos.

    For photo `a` any of a.npy, a.png, a.jpg, a.jpg.npy, at any depth; for a clip `c` the folder c
    or c.mp4 with a numbered file a frame, from 0. So `aam-edge predict` leaves them. Below a folder
    with the set's name, if there is one, only that is looked at; a folder below with the prompt's
    words joined by `-` (search-for-the-mug) is taken for that prompt alone.
    """

    def __init__(self, name: str, folder: Path):
        if not folder.is_dir():
            raise DataError("folder of maps is missing", folder, "give NAME=DIR")
        self.name, self.folder = name, folder
        self._by_place: dict[Path, dict[str, list[Path]]] = {}
        if not self._files(folder):
            todo = "give a folder with .npy files or pictures"
            raise DataError("folder has no maps", folder, todo)

    def follows(self, gaze_set: str, prompts: Sequence[str]) -> bool:
        """Where there is a folder for one of them."""
        return any((self._place(gaze_set) / slug(prompt)).is_dir() for prompt in prompts)

    def look(
        self, item: Item, indices: Sequence[int], prompts: Sequence[str]
    ) -> Iterator[list[Answer]]:
        """What is on disk for each moment; all maps have the picture's aspect."""
        for index in indices:
            height, width = item.image(index).shape[:2]
            answers = []
            for prompt in prompts:
                path = self._find(item, index, prompt)
                density = read_map(path)
                _check_aspect(path, density.shape, (height, width))
                answers.append(Answer(density))
            yield answers

    def _find(self, item: Item, index: int, prompt: str) -> Path:
        place = self._place(item.gaze_set)
        of_prompt = place / slug(prompt)
        place = of_prompt if of_prompt.is_dir() else place
        key, files = _key(Path(item.stimulus)), self._files(place)
        if len(item) > 1:
            key = f"{key}/{item.moments[index].number}"
        found = files.get(key, [])
        nearer = [path for path in found if _ends(path, item.stimulus)] or found
        if len(nearer) != 1:
            what = "several maps fit a photo" if nearer else "photo has no map"
            todo = "name maps like the photos, one each"
            raise DataError(what, f"{item}, {place}", todo)
        return nearer[0]

    def _place(self, gaze_set: str) -> Path:
        own = self.folder / gaze_set
        return own if own.is_dir() else self.folder

    def _files(self, place: Path) -> dict[str, list[Path]]:
        """Name of the photo, or clip and number of the frame, to its maps."""
        if place not in self._by_place:
            files: dict[str, list[Path]] = {}
            for path in sorted(place.rglob("*")):
                if path.suffix.lower() in (".npy", *PICTURES) and ".overlay" not in path.suffixes:
                    for key in _keys(path):
                        files.setdefault(key, []).append(path)
            self._by_place[place] = {key: _preferred(paths) for key, paths in files.items()}
        return self._by_place[place]


def slug(prompt: str) -> str:
    """`search for the mug` to `search-for-the-mug`."""
    return "-".join(re.findall(r"\w+", prompt.lower()))


def read_map(path: Path) -> NDArray[np.float64]:
    """(h, w), >= 0; DataError where it is no map."""
    try:
        if path.suffix == ".npy":
            drawn = np.load(path, allow_pickle=False)
        else:
            content = np.frombuffer(path.read_bytes(), np.uint8)
            how = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
            drawn = cv2.imdecode(content, how) if len(content) else None
        with np.errstate(invalid="ignore"):  # numbers that are none are refused below
            values = np.squeeze(np.asarray(drawn, np.float64))
    except BROKEN as problem:
        raise DataError("map cannot be read", path, "make it again") from problem
    if values.ndim != 2 or not np.isfinite(values).all():
        raise DataError("map is not (h, w) of numbers", f"{path}: {values.shape}", "make it again")
    return values


def _check_aspect(path: Path, of_map: tuple[int, ...], of_picture: tuple[int, int]) -> None:
    aspects = [shape[1] / shape[0] for shape in (of_map, of_picture)]
    if aspects[0] != SQUARE and abs(np.log(aspects[0] / aspects[1])) > np.log(MOST_STRETCH):
        sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (of_map, of_picture))
        raise DataError("map does not fit its picture", f"{path}: {sizes}", "make it again")


def _key(path: Path) -> str:
    """A file's name without what tells pictures from maps."""
    name = path.name
    while Path(name).suffix.lower() in (".npy", ".map", ".mp4", *PICTURES):
        name = Path(name).stem
    return name


def _keys(path: Path) -> list[str]:
    """As a photo's map, and as a frame's."""
    name = _key(path)
    number = re.search(r"(\d+)$", name)
    return [name, f"{_key(path.parent)}/{int(number[1])}"] if number else [name]


def _preferred(paths: list[Path]) -> list[Path]:
    """Numbers rather than pictures of them, where both are there."""
    return [path for path in paths if path.suffix == ".npy"] or paths


def _ends(path: Path, stimulus: str) -> bool:
    return "/" in stimulus and path.with_name(_key(path)).as_posix().endswith(f"/{stimulus}")
