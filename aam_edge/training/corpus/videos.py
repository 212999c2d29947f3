"""Videos as folders of frames: DHF1K, Hollywood-2, UCF Sports, LEDOV, and those with sound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment
from aam_edge.training.corpus.layouts import FoldList, FrameFolders, GazeSet, LedovList
from aam_edge.training.corpus.ledov import read_gazes, read_names
from aam_edge.training.corpus.photos import PICTURES
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.corpus.stored import Stored
from aam_edge.training.metrics import Points

Files = Mapping[int, Path]
"""Numbered files."""
DEFAULT_FPS = 30.0
"""Where a line of a list has none, as in the public code."""


def read_folders(
    gaze_set: GazeSet, layout: FrameFolders, root: Path, split: str, skipped: Skipped
) -> Iterator[Item]:
    """One item for each video folder that is there, in the order of their names."""
    word = gaze_set.word_of(split)
    above, _, below = layout.frames.format(split=word, name="{name}").partition("/{name}/")
    if not (root / above).is_dir():
        raise DataError("folder of the split is missing", root / above, "check --root and split")
    for folder in sorted(path for path in (root / above).iterdir() if path.is_dir()):
        frames, maps, fixations = (
            root / part.format(split=word, name=folder.name)
            for part in (layout.frames, layout.maps, layout.fixations)
        )
        if not frames.is_dir():
            skipped.add(folder, f"video has no folder {below}")
            continue
        shown, drawn = numbered(frames, PICTURES), numbered(maps, PICTURES)
        fixated = aligned(shown, numbered(fixations, PICTURES))
        moments = moments_of(frames, shown, drawn, fixated, skipped)
        yield from _item(gaze_set, split, folder.name, moments, skipped, gaze_set.fps)


def read_ledov(
    gaze_set: GazeSet, layout: LedovList, root: Path, split: str, skipped: Skipped
) -> Iterator[Item]:
    """One item for each video of the list."""
    for name in read_names(root / layout.table.format(split=gaze_set.word_of(split))):
        frames, maps, table = (
            root / part.format(name=name) for part in (layout.frames, layout.maps, layout.gazes)
        )
        fps: float | None = None
        gazes: dict[int, Points] = {}
        with skipped.counting():
            fps, gazes = read_gazes(table)
        shown, drawn = numbered(frames, PICTURES), numbered(maps, PICTURES)
        first = min(shown, default=0)
        under_way = {number + first: points for number, points in gazes.items()}
        moments = moments_of(frames, shown, drawn, under_way, skipped)
        yield from _item(gaze_set, split, name, moments, skipped, fps)


def read_with_sound(
    gaze_set: GazeSet, layout: FoldList, root: Path, split: str, skipped: Skipped
) -> Iterator[Item]:
    """One item for each video of the list; where the WAV is missing, a silent one."""
    for name, fps in read_fold(root / layout.table.format(split=gaze_set.word_of(split)), skipped):
        frames, maps, fixations, sound = (
            root / part.format(name=name)
            for part in (layout.frames, layout.maps, layout.fixations, layout.sound)
        )
        heard: Path | None = sound
        if not sound.is_file():
            skipped.add(sound, "sound is missing, the clip is kept silent")
            heard = None
        shown, drawn = numbered(frames, PICTURES), numbered(maps, PICTURES)
        moments = moments_of(frames, shown, drawn, numbered(fixations, (".mat",)), skipped)
        yield from _item(gaze_set, split, name, moments, skipped, fps, heard)


def _item(
    gaze_set: GazeSet, split: str, name: str, moments: list[Moment], skipped: Skipped,
    fps: float | None, sound: Path | None = None,
) -> Iterator[Item]:  # fmt: skip
    """The item of a video, unless nothing of it is left."""
    kept = tuple(m for m in moments if m.number >= gaze_set.skipped_frames)
    if kept:
        yield Item(
            gaze_set.name, name, split, gaze_set.kind, gaze_set.prompt, kept,
            condition=gaze_set.condition, fps=fps, sound=sound,
        )  # fmt: skip
    else:
        skipped.add(f"{gaze_set.name}/{split}/{name}", "video has no frame with a map")


def read_fold(table: Path, skipped: Skipped) -> Iterator[tuple[str, float]]:
    """Name and frames a second of each video of a fold list, by name."""
    try:
        lines = table.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError("list cannot be read", table, "check --root and the split") from problem
    for words in sorted(line.split() for line in lines if line.strip()):
        try:
            fps = float(words[2]) if len(words) > 2 else DEFAULT_FPS
        except ValueError:
            fps = 0.0
        if 0 < fps <= 1000:
            yield words[0], fps
        else:
            skipped.add(f"{table}: {' '.join(words)}", "rate is no number above 0")


def moments_of(
    name: Path,
    frames: Files,
    maps: Files,
    fixations: Mapping[int, Stored | Points],
    skipped: Skipped,
) -> list[Moment]:
    """The frames of a video that have a map, in time, numbered from 0 at its first frame."""
    maps = aligned(frames, maps)
    without = [number for number in sorted(frames) if number not in maps]
    if without:
        where = f"{name}, frame {without[0]} and {len(without) - 1} more"
        skipped.add(where, "frame has no map", len(without))
    first = min(frames, default=0)
    return [
        Moment(frames[n], maps[n], fixations.get(n), n - first) for n in sorted(frames) if n in maps
    ]


def aligned(frames: Files, others: Files) -> Files:
    """Maps under the frames' numbers, also where one counts from 0 and the other from 1.

    That is known only if both are whole and of one length; else numbers mean what they say.
    """
    if len(frames) != len(others) or not (_is_whole(frames) and _is_whole(others)):
        return others
    shift = min(frames) - min(others)
    return {number + shift: path for number, path in others.items()}


def _is_whole(files: Files) -> bool:
    return bool(files) and max(files) - min(files) + 1 == len(files)


def numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Files by the number at the end of their names; none where the folder is missing."""
    if not folder.is_dir():
        return {}
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        digits = re.search(r"(\d+)$", path.stem)
        if digits and path.suffix.lower() in suffixes and not path.name.startswith("."):
            found[int(digits[1])] = path
    return found
