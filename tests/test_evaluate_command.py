"""`aam-edge evaluate` with the packaged network on tiny sets, and its mistakes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aam_edge.cli.main import main
from aam_edge.training.card import BEGIN, END
from tests import corpus_trees as trees

FAST = ["--engine", "onnx", "--no-rivals", "--resamples", "50", "--quiet"]
METRICS = ["CC", "KLD", "SIM", "NSS", "AUC-J", "sAUC", "IG"]
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["scipy"] = None
from aam_edge.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return trees.native_set(tmp_path / "discs")


def measured(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert main(["evaluate", *map(str, words), *FAST, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_table_has_model_rival_and_prior_with_intervals(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    for i in range(3):
        np.save(maps / f"p{i}.npy", trees.saliency_map(i))
    table = tmp_path / "out" / "photos.csv"
    words = ["--split", "train", "--maps", f"oracle={maps}", "--csv", str(table)]
    found = measured(capsys, f"native:{discs}", *words)
    rows = found["gaze"]["discs"]["rows"]
    assert list(rows) == ["nano", "oracle", "centre prior"]
    assert found["gaze"]["discs"]["n"] == 3
    assert rows["oracle"]["CC"][0] > 0.6
    for figures in rows.values():
        assert list(figures) == METRICS
        assert all(low <= mean <= high for mean, low, high in figures.values())
    assert rows["centre prior"]["IG"] == [0, 0, 0]
    assert found["models"]["nano"]["engine"] == "onnx f32"
    with table.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9
    mean = np.mean([float(line["NSS"]) for line in lines if line["who"] == "oracle"])
    assert mean == pytest.approx(rows["oracle"]["NSS"][0], abs=1e-4)


def test_text_and_markdown_show_the_same_figures(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.md"
    card.write_text(f"# Card\n{BEGIN}\nold\n{END}\nrest\n")
    rows = measured(capsys, f"native:{discs}")["gaze"]["discs"]["rows"]
    assert main(["evaluate", f"native:{discs}", *FAST, "--card", str(card)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["discs,", "n", "1", *METRICS]
    assert f"{rows['nano']['CC'][0]:.3f}" in text
    written = card.read_text()
    assert written.startswith("# Card\n")
    assert written.endswith(f"{END}\nrest\n")
    assert "old" not in written
    assert f"| discs | 1 | nano | {rows['nano']['CC'][0]:.3f} (" in written


def test_sets_of_the_corpus_photos_and_videos_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.whole_corpus_part(tmp_path)
    found = measured(capsys, "OSIE", "DIEM", "--root", tmp_path)
    assert {name: part["n"] for name, part in found["gaze"].items()} == {"OSIE": 2, "DIEM": 1}
    assert found["gaze"]["OSIE"]["rows"]["nano"]["sAUC"] is not None
    assert found["gaze"]["DIEM"]["rows"]["nano"]["sAUC"] is None  # there is no other video
    assert found["skipped"] == {}


def test_right_and_wrong_prompts_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trees.native_set(tmp_path / "tasks", ("free viewing", "search for the cup"))
    rows = measured(capsys, f"native:{folder}", "--split", "train")["gaze"]["tasks"]["rows"]
    assert list(rows) == [
        "nano", "nano, another prompt", "nano, free viewing", "centre prior",
        "people, another prompt",
    ]  # fmt: skip
    assert rows["nano"]["CC"] != rows["nano, another prompt"]["CC"]


def test_photos_with_boxes_are_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    images, boxes = [], []
    for i, kind in enumerate((1, 2)):
        trees.write(folder / "val2017" / f"{i}.jpg", trees.stimulus(i))
        images.append({"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48})
        boxes.append({"id": i, "image_id": i, "category_id": kind, "bbox": [8, 8, 30, 20]})
    listing = {
        "images": images, "annotations": boxes,
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}],
    }  # fmt: skip
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(listing))
    found = measured(capsys, f"coco:{folder}")
    assert found["gaze"] == {}
    rows = found["search"]["COCO"]["rows"]
    assert list(rows) == ["nano", "centre prior"]
    assert found["search"]["COCO"]["n"] == 2
    assert 0 <= rows["nano"]["presence_auc"][0] <= 1
    assert rows["centre prior"]["presence_auc"] is None
    assert rows["centre prior"]["peak"][0] == 1  # all things lie in one place


def test_broken_photo_is_named_and_left_out(
    discs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (discs / "images" / "p1.jpg").write_bytes(b"no picture")
    assert main(["evaluate", f"native:{discs}", "--split", "train", *FAST]) == 0
    said = capsys.readouterr()
    assert "discs, n 2" in said.out
    assert "aam-edge: 1 skipped (picture cannot be read: 1)" in said.err


def test_photos_need_no_torch_and_no_scipy(discs: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, "evaluate", f"native:{discs}", *FAST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert "centre prior" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["OSI"], 6, "unknown data set (OSI): did you mean OSIE?"),
        (["nothing:here"], 6, "unknown layout (nothing): known are"),
        (["FIGRIM-Targets"], 6, "data set has no such split (FIGRIM-Targets, val): it has train"),
        (["OSIE", "--root", "no/where"], 6, "folder of the data set is missing (OSIE: no/where):"),
        (["{discs}", "--model", "nan"], 4, "unknown model (nan): give one of"),
        (["{discs}", "--model", "released-x"], 2, "unknown model (released-x): give released-s"),
        (
            ["{discs}", "--model", "released-s"],
            4,
            "weights are not there (released-s): give a name",
        ),
        (["{discs}", "--maps", "maps"], 2, "maps need a name (maps): give --maps NAME=DIR"),
        (["{discs}", "--maps", "a=no/where"], 6, "folder of maps is missing (no/where): give"),
        (["{discs}", "--maps", "a={tmp}"], 6, "folder has no maps ("),
        (["{discs}", "--maps", "a={photos}"], 6, "no photo could be scored (native:"),
        (["{discs}", "--maps", "nano={photos}"], 2, "two rows have one name (nano): give"),
        (["{discs}", "--most", "0"], 2, "nothing would be measured (--most 0): give 1 or more"),
        (["{discs}", "--csv", "{tmp}/empty/a/b.csv"], 5, "result cannot be written"),
        (["{discs}", "--card", "{tmp}/no.md"], 6, "card cannot be written ("),
        (["native:{tmp}/empty"], 6, "gaze set cannot be read ("),
        (["native:{tmp}/void"], 6, "data set is empty (native:"),
    ],
)
def test_mistakes_are_one_line(
    discs: Path, tmp_path: Path, words: list[str], code: int, line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "work" / "empty").mkdir(parents=True)
    (tmp_path / "work" / "empty" / "a").touch()
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "elsewhere.png"), trees.saliency_map(0))
    void = trees.native_set(tmp_path / "work" / "void")
    (void / "splits.json").write_text('{"train": [], "val": []}')
    for entry in (*void.glob("images/*"), void / "images"):
        entry.unlink() if entry.is_file() else entry.rmdir()
    places = {"discs": f"native:{discs}", "tmp": tmp_path / "work", "photos": other}
    given = [word.format(**places) for word in words]
    assert main(["evaluate", *given, *FAST]) == code
    said = [text for text in capsys.readouterr().err.splitlines() if "skipped:" not in text]
    assert len(said) == 1, said
    assert said[0].startswith(f"aam-edge: {line}")


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "aam-edge evaluate native:gaze/osie" in capsys.readouterr().out


def test_nano_is_between_prior_and_people_on_the_shared_photos(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(capsys, f"native:{shared / 'data' / 'fiwi_web'}", "--most", "6")
    rows = found["gaze"]["fiwi_web"]["rows"]
    prior, people = rows["centre prior"], rows["human ceiling, half of the people"]
    assert rows["nano"]["sAUC"][0] > prior["sAUC"][0] + 0.05
    assert people["NSS"][0] > rows["nano"]["NSS"][0] > prior["NSS"][0]
    assert 0.4 < prior["sAUC"][0] < 0.6
