"""Photos that teach: a detector's heat, boxes, people's gaze, instructions, a teacher's view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from aam_edge.training.data import Photo, read_gaze_set
from aam_edge.training.prompts import COCO_NAMES, GENERAL, children
from aam_edge.training.sample import Box, Heat, Sample, boxes_heat
from aam_edge.training.tables import read_arrays

SURELY_ABSENT = 0.06
"""A name whose heat peaks below this on a photo is taken to be absent."""
HELD_OUT_OF = 7
"""Every seventh labelled COCO photo is kept for validation."""
LICENSED_BOXES = ("COCO 2017", "Roboflow export")
"""Sources whose boxes may label the shipped network (CC BY)."""
SURE_BOX = 0.5
"""Score from which on what a detector boxed is a thing of its name."""
LONGEST_SIDE = 420
"""Pixels that are kept of a photo in memory; views are smaller."""


def read_photos(root: Path, heat_file: Path, words_file: Path | None = None) -> list[Sample]:
    """All photos that may teach, with what is known of each.

    Args:
        root: the folder with `photos/`, `photos_more/` and `data/`.
        heat_file: `files`, `peaks` (n, 80), and per map `index`, `name`, `maps` (64, 64); per box
            that was found, if there are any, `box_map` (the map it is of), `box_score`, `box` (4,).
        words_file: `files` as in the heat file, and `probabilities` (n, names).
    """
    boxes, coco = labelled_boxes(root), coco_files(root)
    table = read_arrays(heat_file)
    words = read_arrays(words_file)["probabilities"] if words_file else [None] * len(table["files"])
    things: dict[int, dict[str, Heat]] = {}
    for index, name, heat in zip(table["index"], table["name"], heats_of(table), strict=True):
        things.setdefault(int(index), {})[COCO_NAMES[name]] = heat
    certain_boxes = found_boxes(table)
    samples = {}
    for i, file in enumerate(map(str, table["files"])):
        if file in boxes and is_held_out(file):
            continue
        labelled, found = boxes.get(file, {}), things.get(i, {})
        absent = {COCO_NAMES[n] for n in np.flatnonzero(table["peaks"][i] < SURELY_ABSENT)}
        if file in coco:  # all things of its names are boxed
            found, absent = {}, set(COCO_NAMES)
        cut = [] if file in coco else certain_boxes.get(i, [])
        seen = found | {name: boxes_heat(b) for name, b in labelled.items()}
        sample = Sample(small(root / file), words=words[i])
        sample.boxes = cut or [(n, as_box(b)) for n, bs in labelled.items() for b in bs]
        sample.things, sample.absent = with_general(seen, absent - set(labelled))
        certain = np.array([n in labelled for n in COCO_NAMES])
        told = chances_of(table["peaks"][i])
        sample.chances = with_general_chances(
            certain if file in coco else np.maximum(told, certain)
        )
        samples[file] = sample
    _add_people(samples, root / "data")
    return list(samples.values())


def heats_of(table: dict[str, NDArray[Any]]) -> list[Heat]:
    """A detector's heat maps, (64, 64) each, raised within its boxes by how sure it is of them."""
    heats = list(table["maps"])
    if "box" in table:
        for of, score, box in zip(table["box_map"], table["box_score"], table["box"], strict=True):
            raised = np.asarray(score * boxes_heat([box.tolist()]), np.uint8)
            heats[of] = np.maximum(heats[of], raised)
    return heats


def found_boxes(table: dict[str, NDArray[Any]]) -> dict[int, list[tuple[str, Box]]]:
    """Number of a photo to names and boxes of what a detector surely found there."""
    found: dict[int, list[tuple[str, Box]]] = {}
    if "box" in table:
        for of, score, box in zip(table["box_map"], table["box_score"], table["box"], strict=True):
            if score > SURE_BOX:
                name = COCO_NAMES[table["name"][of]]
                found.setdefault(int(table["index"][of]), []).append((name, as_box(box.tolist())))
    return found


def as_box(corners: list[float]) -> Box:
    """Four corners, x0 to y1."""
    x0, y0, x1, y1 = corners
    return x0, y0, x1, y1


def chances_of(peaks: NDArray[np.floating]) -> NDArray[np.float64]:
    """The chance that names are in view, by the peaks of CenterNet's heat; any shape, 0..1.

    A line through log-odds, fitted to the training photos of COCO, where boxes say what is there:
    of peaks of 0.2 to 0.25 half are right, of 0.1 to 0.15 a seventh, above 0.5 nearly all.
    """
    kept = np.clip(peaks.astype(np.float64), 1e-4, 1 - 1e-4)
    return np.asarray(1 / (1 + np.exp(-2.4 * (np.log(kept / (1 - kept)) + 1.24))), np.float64)


def with_general_chances(chances: NDArray[Any]) -> NDArray[np.float32]:
    """Of NAMES, from those of COCO_NAMES: a general word is there with one of those below it."""
    none = [
        np.prod([1 - chances[COCO_NAMES.index(name)] for name in children(general)])
        for general in GENERAL
    ]
    return np.concatenate([chances, 1 - np.array(none)]).astype(np.float32)


def with_general(
    things: dict[str, Heat], absent: set[str]
) -> tuple[dict[str, Heat], frozenset[str]]:
    """Things and absent names, the general words above them among them."""
    things, absent = dict(things), set(absent)
    for general in GENERAL:
        below = children(general)
        seen = [things[name] for name in below if name in things]
        if seen:
            things[general] = np.maximum.reduce(seen)
        elif all(name in absent for name in below):
            absent.add(general)
    return things, frozenset(absent)


def _add_people(samples: dict[str, Sample], data: Path) -> None:
    """Gaze of free viewing, of the search set, and the maps of the task set."""
    for gaze_set in ("osie", "eyecrowd", "scene500"):
        for photo in read_gaze_set(data / gaze_set, "train"):
            samples[_key(photo, data)].gaze.append(("free viewing", photo))
    for text, photo in read_search_gaze(data / "interiors_search", "train"):
        key = _key(photo, data)
        samples.setdefault(key, Sample(small(photo.path))).gaze.append((text, photo))
    for path, text, density in read_task_maps(data / "task_based", "train"):
        key = path.relative_to(data.parent).as_posix()
        sample = samples.setdefault(key, Sample(small(path)))
        sample.maps.append((text, density, 1.0))


def read_search_gaze(folder: Path, split: str) -> list[tuple[str, Photo]]:
    """The instruction of each room and the fixations of people who searched it."""
    table = read_arrays(folder / "fixations.npz")
    image, task = table["trial_image"], table["trial_task"]
    ids, texts = table["image_id"], table["task_text"]
    text_of = {str(ids[i]): str(texts[t]) for i, t in zip(image, task, strict=True) if t >= 0}
    return [(text_of[p.image_id], p) for p in read_gaze_set(folder, split)]


def read_task_maps(folder: Path, split: str) -> list[tuple[Path, str, NDArray[np.float32]]]:
    """Photo, instruction and the people's density under it, (96, 128), sum 1."""
    ids = json.loads((folder / "splits.json").read_text())[split]
    found = []
    table = read_arrays(folder / "maps.npz")
    for image_id in ids:
        for text, whole in zip(table["task_text"], table[image_id], strict=True):
            density = whole.astype(np.float32) / max(1, whole.sum())
            found.append((folder / "images" / f"{image_id}.jpg", str(text), density))
    return found


def labelled_boxes(root: Path) -> dict[str, dict[str, list[list[float]]]]:
    """File to name to boxes, of sources with a stated free licence."""
    listing = json.loads((root / "photos" / "annotations.json").read_text())
    found: dict[str, dict[str, list[list[float]]]] = {}
    for photo in listing["photos"]:
        if photo["source"].startswith(LICENSED_BOXES):
            names = found.setdefault(f"photos/{photo['file']}", {})
            for thing in photo["objects"]:
                names.setdefault(thing["name"], []).append(thing["box"])
    return found


def coco_files(root: Path) -> list[str]:
    """The photos of COCO."""
    listing = json.loads((root / "photos" / "annotations.json").read_text())
    return [f"photos/{p['file']}" for p in listing["photos"] if p["source"].startswith("COCO")]


def held_out_photos(root: Path) -> list[tuple[Path, dict[str, list[list[float]]]]]:
    """COCO photos kept for validation, with all their boxes."""
    boxes = labelled_boxes(root)
    return [(root / name, boxes[name]) for name in coco_files(root) if is_held_out(name)]


def is_held_out(name: str) -> bool:
    """A fixed seventh, by the digits of the name."""
    return sum(name.encode()) % HELD_OUT_OF == 0


def small(path: Path) -> Image:
    """A photo, (H, W, 3) BGR, its long side LONGEST_SIDE at most."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    part = LONGEST_SIDE / max(image.shape[:2])
    if part < 1:
        image = cv2.resize(image, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8)


def _key(photo: Photo, data: Path) -> str:
    return photo.path.relative_to(data.parent).as_posix()
