"""tools/reproduce_nano: one command for the shipped network, step by step, that goes on."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from aam_edge.cli.main import build_parser
from aam_edge.training.prompts import TASKS
from aam_edge.training.search_data import is_held_out, read_photos
from aam_edge.training.taught import teach
from tests.test_training_data import PHOTOS, tiny_tree

TOOL = Path(__file__).resolve().parents[1] / "tools" / "reproduce_nano"
TEACHERS = """
import numpy as np


class CenterNet:
    def __init__(self, npm):
        pass

    def maps(self, picture):
        heat = np.full((128, 128, 80), 0.01, np.float32)
        heat[16:32, 16:32, 41] = 0.9
        return heat, np.full((128, 128, 4), 32, np.float32)


class Graph:
    # Strides 8, 16 and 32 of the picture itself.

    def run(self, names, given):
        image = given["image"][:, :1]
        return [image[:, :, ::stride, ::stride].repeat(4, 1) for stride in (8, 16, 32)]


class Classifier:
    def __init__(self, size):
        self.model = Graph()

    def run(self, picture):
        return {"logits": np.linspace(0, 1, 1000, dtype=np.float32) * picture.mean() / 255}


class Detector:
    # Strides 4, 16 and 32.

    def run(self, names, given):
        image = given["tower_0/images"]
        return [image[:, ::stride, ::stride].repeat(2, 3) for stride in (4, 16, 32)]


class tfjs2onnx:
    def convert(path, names):
        return None


def session(model):
    return Detector()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All that the steps read, tiny, with teachers that say the same of every picture."""
    root = tiny_tree(tmp_path / "shared")
    (root / "teachers").mkdir()
    (root / "teachers" / "load.py").write_text(TEACHERS)
    more = root / "photos_more"
    (more / "images").mkdir(parents=True)
    names = [Path(file).name for file in PHOTOS[:3]]
    for name in names:
        (more / "images" / name).write_bytes((root / "photos" / "images" / name).read_bytes())
    source = "ZhengyuZhao/Targeted-Transfer"
    photos = [
        {"file": f"images/{name}", "source": source, "objects": [], "label": f"thing {i}"}
        for i, name in enumerate(names)
    ]
    (more / "annotations.json").write_text(json.dumps({"names": [], "photos": photos}))
    (tmp_path / "start.pt").write_bytes(b"")
    return root


def command(root: Path, *words: str) -> list[str]:
    place = root.parent
    given = ["--root", str(root), "--npm", str(root), "--start", str(place / "start.pt")]
    return [sys.executable, str(TOOL), *given, "--out", str(place / "out"), *words]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def test_commands_are_said_and_understood(root: Path) -> None:
    done = run(command(root, "--dry-run"))
    assert done.returncode == 0, done.stderr
    labels, fit, more, views, last, temper, sound, export, look, int8, evaluate = (
        shlex.split(s) for s in done.stdout.splitlines()
    )
    assert labels[1].endswith("tools/make_labels")
    assert "aam_edge.training.fit_sound" in sound
    for words in (fit, more, last, export, evaluate):
        options = build_parser().parse_args(words[3:])
        assert options.command == words[3]
    # Each step reads what the ones before it write.
    assert fit[-1] == f"out={root.parent / 'out' / 'fit'}"
    assert f"start={fit[-1].removeprefix('out=')}/last.pt" in more
    assert f"start={more[-1].removeprefix('out=')}/last.pt" in last
    assert last.index(f"data.views={views[-1]}") > last.index(f"data.photos={root}")
    assert temper[3] == f"{last[-1].removeprefix('out=')}/last.pt"
    assert export[4] == temper[-1]
    assert sound[sound.index("--out") + 1] == export[export.index("--hearing") + 1]
    weights = export[export.index("--out") + 1]
    assert look[-1] == evaluate[evaluate.index("--model") + 1]
    assert look[-1].startswith(weights)
    assert int8[int8.index("--of") + 1] == look[-1]


def test_larger_teacher_tells_of_all_photos(root: Path, tmp_path: Path) -> None:
    table = dict(np.load(root / "heat.npz"))
    table["peaks"][:, 0] = [0.9, *[0.0] * (len(table["peaks"]) - 1)]  # a person in the first
    np.savez(root / "heat.npz", **table)
    file = tmp_path / "views.npz"
    tool = [sys.executable, str(TOOL.with_name("teach_views")), "--root", str(root)]
    heat = ["--npm", str(root), "--heat", str(root / "heat.npz")]
    done = run([*tool, *heat, "--with", "nano", "nano", "--steps", "2", "--out", str(file)])
    assert done.returncode == 0, done.stderr
    views, photos = dict(np.load(file)), read_photos(root, root / "heat.npz")
    assert views["instructed"].shape == (len(photos), len(views["instructions"]), 48, 64)
    searched = [any(text not in ("free viewing", *TASKS) for text, _ in p.gaze) for p in photos]
    assert any(searched)
    assert views["free"].max((1, 2)).tolist() == [255] * len(photos)
    people = [photo.chances is not None and photo.chances[0] > 0.4 for photo in photos]
    assert people[0]
    assert not all(people)
    assert views["instructed"].any((1, 2, 3)).tolist() == people
    assert views["searched"].max((1, 2)).tolist() == [255] * len(photos)
    teach(photos, file)
    assert all(photo.searched is not None for photo in photos)
    room = photos[searched.index(True)]  # freely as well, that the two are told apart
    assert [text for text, *_ in room.maps] == ["free viewing"]
    by_teachers = {text for text, _, weight in photos[0].maps if weight < 1}
    assert by_teachers == {*TASKS, "free viewing"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_slice_is_labelled_and_what_is_done_is_not_done_again(root: Path) -> None:
    """Slow: six starts of Python. The step behind fails at once: its start is no network."""
    out = root.parent / "out"
    first = run(command(root, "--slice", "1"))
    assert first.returncode == 1
    assert (
        "reproduce_nano: fit failed (exit code 4): mend it and run the same again" in first.stderr
    )
    assert {path.name for path in (out / "done").iterdir()} == {"labels"}
    listing = json.loads((out / "slice" / "photos" / "annotations.json").read_text())
    held = [is_held_out(f"photos/{photo['file']}") for photo in listing["photos"]]
    assert sorted(held) == [False, True]
    splits = json.loads((out / "slice" / "data" / "osie" / "splits.json").read_text())
    assert {len(ids) for ids in splits.values()} == {1}
    labels = (out / "labels" / "heat.npz").stat().st_mtime_ns
    again = run(command(root, "--slice", "1"))
    assert "reproduce_nano: labels: done before" in again.stderr
    assert (out / "labels" / "heat.npz").stat().st_mtime_ns == labels
    other = run(command(root, "--slice", "1", "--teacher", "other"))
    assert "labels was made by another command: remove" in other.stderr


def test_what_is_not_there_is_one_line(root: Path) -> None:
    line = command(root)
    line[line.index("--npm") + 1] = "no/where"
    done = run(line)
    assert done.returncode == 1
    assert done.stderr.startswith("reproduce_nano: --npm is not there (")
    assert done.stderr.count("\n") == 1


def test_instructions_are_told_further_apart_around_the_same_mean() -> None:
    spec = importlib.util.spec_from_file_location("looks", TOOL.with_name("looks.py"))
    assert spec is not None
    assert spec.loader is not None
    looks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(looks)
    logs = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    told = looks.apart(logs, 0.4)
    np.testing.assert_allclose(told.mean(0), logs.mean(0), atol=1e-6)
    np.testing.assert_allclose(told[0] - told[2], 1.4 * (logs[0] - logs[2]), atol=1e-5)
