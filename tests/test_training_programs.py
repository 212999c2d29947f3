"""The small programs of training, `python -m aam_edge.training.NAME`: mistakes are one line."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnxscript", reason="needs the extra [train]")

from aam_edge.model.native.hearing import Hearing

CASES = {
    "average {tmp}/no.pt --out {tmp}/out": (4, "checkpoint is not there ({tmp}/no.pt)"),
    "average {tmp}/broken.pt --out {tmp}/out": (4, "checkpoint cannot be read ({tmp}/broken.pt)"),
    "average {tmp}/a.pt {tmp}/hearing.pt --out {tmp}/out": (4, "file is no checkpoint of a fit ("),
    "average {tmp}/a.pt {tmp}/b.pt --out {tmp}/out": (
        4,
        "checkpoint is of another network ({tmp}/b.pt: 1 tensors do not fit, first w): give runs",
    ),
    "average {tmp}/a.pt --out {tmp}/no/out": (6, "checkpoint cannot be written, No such file"),
    "fit_sound --out {tmp}/out.pt --start {tmp}/no.pt": (4, "checkpoint is not there ("),
    "fit_sound --out {tmp}/out.pt --start {tmp}/broken.pt": (4, "checkpoint cannot be read ("),
    "fit_sound --out {tmp}/out.pt --start {tmp}/a.pt": (4, "checkpoint is of another network ("),
    "fit_sound --out {tmp}/broken.pt": (4, "checkpoint cannot be read ({tmp}/broken.last)"),
    "fit_sound --out {tmp}/hearing.pt": (4, "checkpoint is of another fit ({tmp}/hearing.last)"),
    "fit_sound --out {tmp}/broken.pt/out.pt": (5, "folder cannot be made ({tmp}/broken.pt)"),
    "fit_sound --out {tmp}/out.pt --photos {tmp}/no": (6, "folder has no .jpg that can be read ("),
    "fit_sound --out {tmp}/out.pt --clips {tmp}/no.mp4": (6, "clip cannot be read ({tmp}/no.mp4)"),
    "evaluate_sound --weights {tmp}/no.pt": (4, "checkpoint is not there ({tmp}/no.pt)"),
    "evaluate_sound --weights {tmp}/broken.pt": (4, "checkpoint cannot be read ("),
    "evaluate_sound --weights {tmp}/a.pt": (4, "checkpoint is of another network ("),
    "evaluate --data {tmp} --model {tmp}/no.json": (4, "{tmp}/no.json"),
    "evaluate --data {tmp}/no": (6, "{tmp}/no"),
    "export --checkpoint {tmp}/no.pt": (4, "checkpoint is not there ({tmp}/no.pt)"),
    "export --look-of {tmp}/no.json": (4, "{tmp}/no.json"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of runs, of another network, of nothing."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("broken.pt", "broken.last"):
        (folder / name).write_bytes(b"PK\3\4 half a file")
    for name, size in (("a", 2), ("b", 3), ("c", 2)):
        weights = {"w": torch.full((size,), float(ord(name)))}
        torch.save({"average": weights, "epoch": ord(name)}, folder / f"{name}.pt")
    torch.save(Hearing().state_dict(), folder / "hearing.pt")
    torch.save({"steps": 3}, folder / "hearing.last")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of one of the programs."""
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"aam_edge.training.{words[0]}", run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
@pytest.mark.parametrize("words", CASES)
def test_mistake_is_one_line_and_writes_nothing(
    words: str, files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = CASES[words]
    before = sorted(files.iterdir())
    assert run(monkeypatch, *words.format(tmp=files).split()) == code
    out, err = capfd.readouterr()
    assert err.startswith("aam-edge: ")
    assert said.format(tmp=files) in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(files.iterdir()) == before


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_mean_of_runs_is_a_checkpoint(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mean.pt"
    words = ("average", str(files / "a.pt"), str(files / "c.pt"), "--out", str(out))
    assert run(monkeypatch, *words) == 0
    mean = torch.load(out, weights_only=True)
    assert mean["epoch"] == ord("c")
    torch.testing.assert_close(mean["average"]["w"], torch.full((2,), float(ord("b"))))


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_fit_to_sound_begins_with_given_weights(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((90, 120), np.uint8))
    out = tmp_path / "new" / "hearing.pt"
    words = ("fit_sound", "--out", str(out), "--photos", str(tmp_path), "--steps", "0")
    assert run(monkeypatch, *words, "--start", str(files / "hearing.pt")) == 0
    assert out.parent.is_dir()
