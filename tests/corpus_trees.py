"""Tiny data sets on disk, each in the layout of its original; the disc of `scene` is looked at."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from tests.conftest import scene

SIZE = (64, 48)
"""Width and height of stimuli; maps and fixation maps have half of it."""
FRAMES = 14
RATE_HZ = 8000
FPS = 25.0


def disc(number: int) -> tuple[int, int]:
    """Column and row of the disc's centre in frame `number`."""
    return (8 + 3 * number) % SIZE[0], SIZE[1] // 2


def stimulus(number: int) -> Image:
    """(48, 64, 3)."""
    image = scene(0, *SIZE)
    image[:] = image // 2
    cv2.circle(image, disc(number), 5, (40, 60, 240), -1)
    return image


def saliency_map(number: int) -> NDArray[np.uint8]:
    """A blob on the disc, half the stimulus's size."""
    x, y = (n // 2 for n in disc(number))
    drawn = np.zeros((SIZE[1] // 2, SIZE[0] // 2), np.float32)
    drawn[y, x] = 1
    blurred = cv2.GaussianBlur(drawn, (0, 0), 2)
    return np.asarray(255 * blurred / blurred.max(), np.uint8)


def fixation_map(number: int, full: int = 255) -> NDArray[np.uint8]:
    """One pixel on the disc."""
    x, y = (n // 2 for n in disc(number))
    drawn = np.zeros((SIZE[1] // 2, SIZE[0] // 2), np.uint8)
    drawn[y, x] = full
    return drawn


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def write_table(path: Path, lines: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def photo_set(
    root: Path, folder: str, table: str, stimuli: str, maps: str, fixations: str, slash: str = ""
) -> None:
    """Four photos in train, two in val."""
    for split, count in (("train", 4), ("val", 2)):
        lines = [["image", "saliency", "fixation"]]
        for i in range(count):
            write(root / folder / stimuli.format(split) / f"p{i}.jpg", stimulus(i))
            write(root / folder / maps.format(split) / f"p{i}.png", saliency_map(i))
            write(root / folder / fixations.format(split) / f"p{i}.png", fixation_map(i))
            lines.append([f"{slash}p{i}.jpg", f"{slash}p{i}.png", f"{slash}p{i}.png"])
        write_table(root / folder / table.format(split), lines)


def figrim(root: Path, part: str) -> None:
    """Windows separators, a map with another ending, and no fixations: as the original."""
    folder = root / "Image" / "FIGRIM" / part
    for i in range(2):
        write(folder / part / "kitchen" / f"p{i}.jpg", stimulus(i))
        write(folder / "FIXATIONMAPS" / "kitchen" / f"p{i}.png", saliency_map(i))
    lines = [["im", "map"], *([f"kitchen\\p{i}.jpg"] * 2 for i in range(2))]
    write_table(folder / "figrim_data.csv", lines)


def frames(
    folder: Path, images: str = "images", maps: str = "maps", fixations: str = "fixation"
) -> None:
    for i in range(FRAMES):
        write(folder / images / f"{i + 1:04d}.png", stimulus(i))
        write(folder / maps / f"{i + 1:04d}.png", saliency_map(i))
        write(folder / fixations / f"{i + 1:04d}.png", fixation_map(i, full=1))


def dhf1k(root: Path, split: str) -> None:
    for name in ("001", "002"):
        frames(
            root / "DHF1K" / f"DHF1K_{split}",
            f"video/{name}/images", f"annotation/{name}/maps", f"annotation/{name}/fixation",
        )  # fmt: skip


def actions(root: Path, folder: str, word: str) -> None:
    for name in ("clip_a", "clip_b"):
        frames(root / folder / word / name)


def ledov(root: Path) -> None:
    from openpyxl import Workbook

    folder = root / "LEDOV"
    for word, names in (("TrainValid", ["cat", "dog"]), ("Test", ["owl"])):
        book = Workbook()
        for row, name in enumerate(names, 1):
            book.worksheets[0].cell(row, 1, name)
            for i in range(FRAMES):
                write(folder / "image" / name / f"{name}_{i:03d}.jpg", stimulus(i))
                write(folder / "mask" / name / f"{i + 1:03d}.png", saliency_map(i))
            write_gazes(folder / "fixation" / name / "Data.mat")
        book.save(folder / f"LEDOV_{word}VideoList.xlsx")


def ledov_lines() -> NDArray[np.float64]:
    """Two people: first on the mark in the centre, then on the disc for 5 frames each."""
    mark = (SIZE[0] / 2, SIZE[1] / 2)
    rows = []
    for person in (1, 2):
        rows.append((person, 0.0, 80.0, *mark))
        rows += [(person, n * 1000 / FPS - 1, 4000 / FPS, *disc(n)) for n in (3, 8)]
        rows.append((person, 500.0, 40.0, -5.0, 7.0))  # outside
    return np.array(rows)


def write_gazes(path: Path) -> None:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "VideoFrameRate": FPS, "VideoFrames": FRAMES,
        "VideoSize": np.array(SIZE), "fixdata": ledov_lines(),
    }  # fmt: skip
    savemat(path, {"Data": data})


def tone(seconds: float) -> NDArray[np.int16]:
    """(n, 2): a beat on each whole quarter second, other loudness left and right."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = np.sin(2 * np.pi * 440 * t) * (t % 0.25 < 0.05)
    return (np.stack([wave, wave / 2], axis=1) * 20_000).astype(np.int16)


def with_sound(root: Path, folder: str, fold: str) -> None:
    from scipy.io import savemat, wavfile

    audio = root / "Audio"
    for word, names in (("train", ["b", "a"]), ("test", ["c"])):
        table = audio / "fold_lists" / f"{folder}_list_{word}{fold}_fps.txt"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("".join(f"{name} {FRAMES} {FPS}\n" for name in names))
        for name in names:
            notes = audio / "annotations" / folder / name
            for i in range(FRAMES):
                write(audio / "video_frames" / folder / name / f"img_{i + 1:05d}.jpg", stimulus(i))
                write(notes / "maps" / f"eyeMap_{i + 1:05d}.jpg", saliency_map(i))
                savemat(notes / f"fixMap_{i + 1:05d}.mat", {"eyeMap": fixation_map(i, full=1)})
            sound = audio / "video_audio" / folder / name / f"{name}.wav"
            sound.parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(sound, RATE_HZ, tone(FRAMES / FPS + 1))


SPLIT_FOLDERS = ("{0}/{0}_stimuli", "{0}/{0}_saliency", "{0}/{0}_fixation")


def whole_corpus(root: Path) -> None:
    """Every data set of the AAM corpus."""
    photo_set(
        root, "salicon_256", "{}_ids.csv", "stimuli/{}", "saliency/{}", "fixations/{}_edit", "/"
    )
    for folder in ("MIT1003_256", "CAT2000_256", "OSIE_256"):
        photo_set(root, folder, "{}_id.csv", *SPLIT_FOLDERS)
    photo_set(root, "SalEC", "{}_ids.csv", *SPLIT_FOLDERS)
    ui = ("{0}/{0}_images", "{0}/{0}_saliency", "{0}/{0}_fixation")
    photo_set(root, "datasets_UI_256", "{}_id.csv", *ui)
    fiwi = ("fiwi_{}/stimuli", "fiwi_{}/saliency", "fiwi_{}/fixations")
    photo_set(root, "fiwi_256", "{}_id.csv", *fiwi)
    for part in ("Targets", "Fillers"):
        figrim(root, part)
    for split in ("train", "val"):
        dhf1k(root, split)
    for folder in ("Hollywood2_actions", "ucf-003"):
        for word in ("training", "testing"):
            actions(root, folder, word)
    ledov(root)
    with_sound(root, "DIEM", "")
    for folder in ("Coutrot_db1", "Coutrot_db2", "ETMD_av", "SumMe", "AVAD"):
        with_sound(root, folder, "_3")


def whole_corpus_part(root: Path) -> None:
    """One set of photos, one of videos with sound."""
    photo_set(root, "OSIE_256", "{}_id.csv", *SPLIT_FOLDERS)
    with_sound(root, "DIEM", "")


def native_set(folder: Path, prompts: tuple[str, ...] = ("free viewing",)) -> Path:
    """Four photos in the native format, three in train; each person looks under one prompt."""
    trials: list[tuple[int, int]] = []
    fixations: list[tuple[float, ...]] = []
    for i in range(4):
        write(folder / "images" / f"p{i}.jpg", stimulus(i))
        for task in range(len(prompts)):
            for order in range(6):
                x, y = disc(i)
                fixations.append((len(trials), order, x / SIZE[0], (y + task) / SIZE[1]))
            trials.append((i, task))
    trial, order_, x_, y_ = np.array(fixations).T
    image, task_ = np.array(trials).T
    np.savez(
        folder / "fixations.npz",
        image_id=np.array([f"p{i}" for i in range(4)]), image_size=np.full((4, 2), SIZE),
        sigma=np.full(4, 0.05), task_text=np.array(prompts), trial_image=image, trial_task=task_,
        trial_box=np.full((len(trials), 4), np.nan),
        trial=trial.astype(int), order=order_.astype(int), x=x_, y=y_,
    )  # fmt: skip
    splits = {"train": ["p0", "p1", "p2"], "val": ["p3"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder
