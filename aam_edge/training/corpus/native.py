"""Gaze sets in the format of `training.data`, as items: one for each photo and task, one a clip.

Besides what is said there: `task_text` and `trial_task` give each trial's prompt, `trial_observer`,
where it is there, the person; clips have `fps` and `n_frames`, and their fixations `start` and
`duration` in seconds. Sets of published densities
have `maps.npz` instead: `image_id`, `task_text`, and under each id an array (tasks, h, w), uint8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment, Thing
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.corpus.stored import Blob, VideoFile, VideoFrame
from aam_edge.training.metrics import Points
from aam_edge.training.tables import Table, read_arrays, telling

Observers = NDArray[np.integer[Any]] | None
MOST_FRAMES = 100_000
"""Of a clip: an hour."""
SEARCH_FOR = "search for the "


def read_native(folder: Path, split: str, skipped: Skipped) -> Iterator[Item]:
    """All items of one split, in its order; a photo that is missing or unseen is skipped."""
    ids = read_split(folder, split)
    is_maps = (folder / "maps.npz").is_file()
    table = read_table(folder / ("maps.npz" if is_maps else "fixations.npz"))
    with telling(folder):
        index = {str(name): i for i, name in enumerate(table["image_id"])}
        for name in ids:
            path = _stimulus(folder, name)
            if name not in index:
                skipped.add(f"{folder}: {name}", "photo is not in the table")
            elif not path.is_file():
                skipped.add(path, "file is missing")
            elif is_maps:
                yield from _of_maps(folder.name, split, path, table, index[name])
            elif "fps" in table:
                yield _clip(folder.name, split, path, table, index[name])
            else:
                yield from _of_tasks(folder.name, split, path, table, index[name], skipped)


def read_split(folder: Path, split: str) -> list[str]:
    """The ids of a split."""
    with telling(folder / "splits.json"):
        splits = json.loads((folder / "splits.json").read_text())
    if not isinstance(splits, dict) or split not in splits:
        has = " and ".join(splits) if isinstance(splits, dict) and splits else "none"
        raise DataError("data set has no such split", f"{folder}, {split}", f"it has {has}")
    if not isinstance(splits[split], list):
        raise DataError("split is no list of ids", f"{folder}, {split}", "mend splits.json")
    return [str(name) for name in splits[split]]


def read_table(path: Path) -> Table:
    """All columns of fixations.npz or maps.npz; DataError where one is missing."""
    table = read_arrays(path)
    needed = {"image_id", "task_text"}
    if path.name == "fixations.npz":
        needed |= {"sigma", "trial", "order", "x", "y", "trial_image", "trial_task", "trial_box"}
    if lacking := sorted(needed - table.keys()):
        raise DataError("gaze set lacks columns", f"{path}: {', '.join(lacking)}", "add them")
    return table


def _stimulus(folder: Path, name: str) -> Path:
    clip = folder / "clips" / f"{name}.mp4"
    return clip if clip.is_file() else folder / "images" / f"{name}.jpg"


def _of_maps(gaze_set: str, split: str, path: Path, table: Table, image: int) -> Iterator[Item]:
    for task, drawn in zip(table["task_text"], table[path.stem], strict=True):
        _, content = cv2.imencode(".png", drawn)
        saliency_map = Blob(f"{path.stem}, {task}.png", content.tobytes())
        yield Item(
            gaze_set, f"{path.stem}, {task}", split, "image", str(task),
            (Moment(path, saliency_map),), size=_size(table, image),
        )  # fmt: skip


def _of_tasks(
    gaze_set: str, split: str, path: Path, table: Table, image: int, skipped: Skipped
) -> Iterator[Item]:
    """One item a task under which somebody looked at the photo."""
    # In search sets (they have target boxes) the first fixation is a forced start point.
    first = int(np.isfinite(table["trial_box"]).any())
    trials = np.flatnonzero(table["trial_image"] == image)
    tasks = np.unique(table["trial_task"][trials])
    for task in tasks:
        under_it = trials[table["trial_task"][trials] == task]
        seen = np.isin(table["trial"], under_it) & (table["order"] >= first)
        if not seen.any():
            skipped.add(f"{path}, task {task}", "photo has no fixations")
            continue
        prompt = str(table["task_text"][task])
        yield Item(
            gaze_set, path.stem if len(tasks) == 1 else f"{path.stem}, {prompt}", split, "image",
            prompt, (_seen(table, path, seen),),
            sigma=float(table["sigma"][image]), size=_size(table, image),
            things=_things(prompt, table["trial_box"][under_it]),
        )  # fmt: skip


def _things(prompt: str, boxes: NDArray[np.floating[Any]]) -> tuple[Thing, ...]:
    """What was searched for and where it is."""
    if not prompt.startswith(SEARCH_FOR):
        return ()
    known = np.unique(boxes[np.isfinite(boxes).all(1)], axis=0)
    name = prompt.removeprefix(SEARCH_FOR)
    return tuple(Thing(name, (x0, y0, x1, y1)) for x0, y0, x1, y1 in known.tolist())


def _clip(gaze_set: str, split: str, path: Path, table: Table, image: int) -> Item:
    """All frames of a clip, each with the gazes under way when it comes up."""
    fps, video = float(table["fps"][image]), VideoFile(path)
    tasks = table["trial_task"][table["trial_image"] == image]
    moments = []
    frames = int(table["n_frames"][image])
    if not 0 < fps < np.inf or frames > MOST_FRAMES:
        raise ValueError(f"{path.name} has {frames} frames at {fps} a second")
    for number in range(frames):
        points, observers = gazes_at(table, image, number / fps)
        moments.append(Moment(VideoFrame(video, number), None, points, number, observers))
    return Item(
        gaze_set, path.stem, split, "audio-visual",
        str(table["task_text"][tasks[0]] if len(tasks) else "free viewing"), tuple(moments),
        fps=fps, sigma=float(table["sigma"][image]), sound=path, size=_size(table, image),
    )  # fmt: skip


def _seen(table: Table, path: Path, keep: NDArray[np.bool_]) -> Moment:
    points, observers = _gazes(table, keep)
    return Moment(path, None, points, observers=observers)


def gazes_at(table: Table, image: int, time_s: float) -> tuple[Points, Observers]:
    """Gazes under way in a clip at one time, and whose they are."""
    mine = table["trial_image"][table["trial"]] == image
    ends_s = table["start"] + table["duration"]
    return _gazes(table, mine & (table["start"] <= time_s) & (time_s < ends_s))


def _gazes(table: Table, keep: NDArray[np.bool_]) -> tuple[Points, Observers]:
    points = np.stack([table["x"][keep], table["y"][keep]], axis=1).astype(np.float64)
    observers = table.get("trial_observer")
    return points, None if observers is None else observers[table["trial"][keep]]


def _size(table: Table, image: int) -> tuple[int, int] | None:
    if "image_size" not in table:
        return None
    width, height = (int(n) for n in table["image_size"][image])
    return width, height
