"""The data sets of the AAM corpus "Attention-1.75M": what each is and how it lies on the disk.

One table, `GAZE_SETS`. Paths are below one root and hold `{split}`, the word that the set has for a
split (`splits`), and `{name}`, a video. What the people were asked is in `prompt`; `condition` is
the key of the text that the public model was given (a key that its table lacks means "None").

Layouts are those that the public code reads (its paths, lists and columns; SPEC 2 and 10):

* `PhotoList`: a CSV with a line of headings, then stimulus, map and fixation map, as file names
  below three folders. FIGRIM publishes maps alone.
* `FrameFolders`: a folder of numbered frames a video, one of maps, one of fixation maps.
* `LedovList`: the videos' names in the first column of an .xlsx; `Data.mat` has the gazes in time.
* `FoldList`: a text with name, frames and rate a line; frames, maps, fixations in .mat, and a WAV.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from aam_edge.errors import DataError
from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.corpus.item import Kind

RECOGNISE_ACTION = "recognise the action"
MEMORISE = "remember the picture"


@dataclass(frozen=True, slots=True)
class PhotoList:
    """Photos named in a CSV."""

    table: str
    stimuli: str
    maps: str
    fixations: str | None
    """None where no fixation maps are published."""


@dataclass(frozen=True, slots=True)
class FrameFolders:
    """Videos as folders of frames; the folder with `{name}` tells which there are."""

    frames: str
    maps: str
    fixations: str


@dataclass(frozen=True, slots=True)
class LedovList:
    """Videos named in an .xlsx, gazes in a table over time."""

    table: str
    frames: str
    maps: str
    gazes: str


@dataclass(frozen=True, slots=True)
class FoldList:
    """Videos with sound, named in a text file."""

    table: str
    frames: str
    maps: str
    fixations: str
    sound: str


Layout = PhotoList | FrameFolders | LedovList | FoldList


@dataclass(frozen=True, slots=True)
class GazeSet:
    """One data set."""

    name: str
    kind: Kind
    prompt: str
    condition: str
    layout: Layout
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "val": "val"})
    """Our name of a split (train, val) to the word in its paths."""
    skipped_frames: int = 0
    """At the beginning of each video, where gaze still rests on the mark before it."""
    fps: float | None = None
    """Of all videos, where no list says it; None where it is not known."""

    def word_of(self, split: str) -> str:
        """What a split is called in the paths; DataError where the set has none such."""
        if split not in self.splits:
            has = " and ".join(self.splits)
            raise DataError("data set has no such split", f"{self.name}, {split}", f"it has {has}")
        return self.splits[split]


def _photos(
    name: str, folder: str, table: str, condition: str, below: tuple[str, str, str]
) -> GazeSet:
    paths = [f"{folder}/{part}" for part in (table, *below)]
    return GazeSet(name, "image", FREE_VIEWING, condition, PhotoList(*paths))


def _figrim(part: str) -> GazeSet:
    folder = f"Image/FIGRIM/{part}"
    photos = PhotoList(
        f"{folder}/figrim_data.csv", f"{folder}/{part}", f"{folder}/FIXATIONMAPS", None
    )
    name = f"FIGRIM-{part}"
    return GazeSet(name, "image", MEMORISE, "FIGRIM", photos, {"train": "train"})


def _actions(name: str, folder: str, condition: str) -> GazeSet:
    video = f"{folder}/{{split}}/{{name}}"
    folders = FrameFolders(f"{video}/images", f"{video}/maps", f"{video}/fixation")
    words = {"train": "training", "val": "testing"}
    return GazeSet(name, "video", RECOGNISE_ACTION, condition, folders, words)


def _with_sound(name: str, folder: str, skipped_frames: int, fold: str = "_3") -> GazeSet:
    annotation = f"Audio/annotations/{folder}/{{name}}"
    layout = FoldList(
        f"Audio/fold_lists/{folder}_list_{{split}}{fold}_fps.txt",
        f"Audio/video_frames/{folder}/{{name}}",
        f"{annotation}/maps",
        annotation,
        f"Audio/video_audio/{folder}/{{name}}/{{name}}.wav",
    )
    words = {"train": "train", "val": "test"}
    return GazeSet(name, "audio-visual", FREE_VIEWING, folder, layout, words, skipped_frames)


_IN_SPLIT = ("{split}/{split}_stimuli", "{split}/{split}_saliency", "{split}/{split}_fixation")
_DHF1K = "DHF1K/DHF1K_{split}"

_ALL = (
    _photos(
        "SALICON", "salicon_256", "{split}_ids.csv", "Salicon",
        ("stimuli/{split}", "saliency/{split}", "fixations/{split}_edit"),
    ),
    _photos("MIT1003", "MIT1003_256", "{split}_id.csv", "MIT1003", _IN_SPLIT),
    _photos("CAT2000", "CAT2000_256", "{split}_id.csv", "CAT2000", _IN_SPLIT),
    _photos("OSIE", "OSIE_256", "{split}_id.csv", "OSIE", _IN_SPLIT),
    _figrim("Targets"),
    _figrim("Fillers"),
    _photos(
        "U-EYE", "datasets_UI_256", "{split}_id.csv", "UI",
        ("{split}/{split}_images", "{split}/{split}_saliency", "{split}/{split}_fixation"),
    ),
    _photos(
        "FiWI", "fiwi_256", "{split}_id.csv", "fiwi",
        ("fiwi_{split}/stimuli", "fiwi_{split}/saliency", "fiwi_{split}/fixations"),
    ),
    _photos("SalECI", "SalEC", "{split}_ids.csv", "SalEC", _IN_SPLIT),
    GazeSet(
        "DHF1K", "video", FREE_VIEWING, "DHF1K",
        FrameFolders(
            f"{_DHF1K}/video/{{name}}/images",
            f"{_DHF1K}/annotation/{{name}}/maps",
            f"{_DHF1K}/annotation/{{name}}/fixation",
        ),
        skipped_frames=5, fps=30,
    ),
    _actions("Hollywood-2", "Hollywood2_actions", "Hollywood"),
    _actions("UCF-Sports", "ucf-003", "UCF"),
    GazeSet(
        "LEDOV", "video", FREE_VIEWING, "LEDOV",
        LedovList(
            "LEDOV/LEDOV_{split}VideoList.xlsx",
            "LEDOV/image/{name}", "LEDOV/mask/{name}", "LEDOV/fixation/{name}/Data.mat",
        ),
        {"train": "TrainValid", "val": "Test"},
    ),
    _with_sound("DIEM", "DIEM", 0, fold=""),
    _with_sound("Coutrot-1", "Coutrot_db1", 10),
    _with_sound("Coutrot-2", "Coutrot_db2", 10),
    _with_sound("ETMD", "ETMD_av", 10),
    _with_sound("SumMe", "SumMe", 10),
    _with_sound("AVAD", "AVAD", 5),
)  # fmt: skip

GAZE_SETS: Mapping[str, GazeSet] = {gaze_set.name: gaze_set for gaze_set in _ALL}


def find_gaze_set(name: str) -> GazeSet:
    """The set of that name, in any case; DataError with the nearest one."""
    by_small = {known.lower(): known for known in GAZE_SETS}
    known = by_small.get(name.lower())
    if known is not None:
        return GAZE_SETS[known]
    near = difflib.get_close_matches(name.lower(), by_small, n=1)
    todo = (
        f"did you mean {by_small[near[0]]}?"
        if near
        else f"give native:DIR, coco:DIR or one of {', '.join(GAZE_SETS)}"
    )
    raise DataError("unknown data set", name, todo)
