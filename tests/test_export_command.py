"""`aam-edge export`: what it writes runs by its path, and mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnxscript", reason="needs the extra [train]")

import aam_edge
from aam_edge.cli.main import main
from aam_edge.engine.package import find_package
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.card import BEGIN, END, put_figures
from aam_edge.training.package import card_text
from tests import corpus_trees as trees


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "last.pt"
    torch.manual_seed(0)
    torch.save({"average": NativeNetwork().state_dict()}, path)
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_what_is_exported_runs_by_its_path_and_its_card_takes_figures(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow: torch.export takes half a minute."""
    out, facts = tmp_path / "out", tmp_path / "facts.json"
    facts.write_text(json.dumps({"version": "7", "licence": "CC0"}))
    out.mkdir()
    card = out / "mine.md"
    card.write_text(f"# Our own words\n{BEGIN}\nNot measured yet\n{END}\n")
    words = ["export", str(checkpoint), "--name", "mine", "--out", str(out), "--json"]
    assert main([*words, "--facts", str(facts)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == {
        "mine.safetensors", "mine.onnx", "mine.json", "mine.md",
    }  # fmt: skip
    assert said["difference"] < 1e-4
    assert said["parameters"] > 3e6
    manifest = json.loads((out / "mine.json").read_text())
    assert manifest["licence"] == "CC0"
    maps = []
    for engine in ("onnx", "eager"):
        model = aam_edge.load(said["model"], engine=engine)
        attention = model.predict(trees.stimulus(3))
        maps.append(attention.density)
        assert (attention.model, attention.weights) == ("mine", said["weights"])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
    discs = trees.native_set(tmp_path / "discs")
    words = ["evaluate", f"native:{discs}", "--model", said["model"], "--card", str(card)]
    assert main([*words, "--engine", "onnx", "--quiet", "--no-rivals"]) == 0
    assert "Not measured" not in card.read_text()
    assert "# Our own words" in card.read_text()
    assert "| discs | 1 | mine | " in card.read_text()


def test_card_says_what_is_known(tmp_path: Path) -> None:
    nano = find_package("nano")
    text = card_text(nano, 3_490_000, "last.pt")
    assert text.startswith(f"# Model card: nano {nano.manifest['version']}\n")
    assert "3.49 M weights, 7.0 MB" in text
    assert "Apache-2.0" in text
    assert f"{BEGIN}\nNot measured yet" in text
    (tmp_path / "card.md").write_text(text)
    put_figures(tmp_path / "card.md", "| a | b |")
    assert (tmp_path / "card.md").read_text() == text.replace(
        text[text.index("Not measured") : text.index(f"\n{END}")], "| a | b |"
    )


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["{tmp}/no.pt"], 4, "checkpoint is not there ("),
        (["{tmp}/broken.pt"], 4, "checkpoint cannot be read ("),
        (["{tmp}/other.pt"], 4, "checkpoint is of another network ("),
        (["{tmp}/plain.pt"], 4, "file is no checkpoint of a fit ("),
        (["{good}", "--hearing", "{tmp}/other.pt"], 4, "checkpoint is of another network ("),
        (["{good}", "--name", "a/b"], 2, "name of a network is none (a/b): give letters"),
        (["{good}", "--facts", "{tmp}/broken.pt"], 6, "facts cannot be read ("),
        (["{good}", "--out", "{tmp}/broken.pt/x"], 5, "package cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    checkpoint: Path, tmp_path: Path, words: list[str], code: int, line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    torch.save({"average": {"body.other": torch.zeros(3)}}, tmp_path / "other.pt")
    torch.save({"weights": {}}, tmp_path / "plain.pt")
    out = tmp_path / "out"
    given = [word.format(tmp=tmp_path, good=checkpoint) for word in words]
    assert main(["export", "--out", str(out), *given]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"aam-edge: {line}")
    assert said.count("\n") == 1
    assert not out.exists()


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "aam-edge export runs/mine/last.pt" in capsys.readouterr().out
