"""`aam-edge train pack`: data sets to shards from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

for library in ("scipy", "openpyxl", "h5py", "webdataset"):
    pytest.importorskip(library, reason="needs the extra [train]")

from aam_edge.cli.main import main
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.shards import read_shards
from tests import corpus_trees as trees

WITHOUT_WEBDATASET = """
import sys
sys.modules["webdataset"] = None  # every import of it fails
from aam_edge.cli.main import main
sys.exit(main(["train", "pack", "OSIE", "--out", "out"]))
"""
WHAT_HELP_LOADS = """
import sys
from aam_edge.cli.main import build_parser
build_parser(["train"]).parse_args(["train", "pack", "OSIE", "--out", "out"])
print(sorted({"torch", "scipy", "webdataset", "openpyxl", "h5py"} & set(sys.modules)))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    trees.photo_set(root, "OSIE_256", "{}_id.csv", *trees.SPLIT_FOLDERS)
    trees.dhf1k(root, "train")
    return root


def test_sets_become_shards_that_read_back(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    discs, out = trees.native_set(tmp_path / "discs"), tmp_path / "out"
    line = ["train", "pack", "osie", "DHF1K", f"native:{discs}", "--root", str(corpus)]
    assert main([*line, "--out", str(out), "--json", "--clip-frames", "4"]) == 0
    said = capsys.readouterr()
    index = json.loads(said.out)
    assert index["samples_by_set"] == {"OSIE": 4, "DHF1K": 2 * 3, "discs": 3}
    assert "samples: OSIE 4, DHF1K 6, discs 3; shards: 1, " in said.err
    assert len(list(read_shards(out / "train.json", Skipped()))) == 13
    assert main([*line, "--out", str(out)]) == 6
    assert "there are shards already" in capsys.readouterr().err


def test_what_is_left_out_is_told_even_quietly(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "OSIE_256" / "train" / "train_stimuli" / "p1.jpg").unlink()
    line = ["train", "pack", "OSIE", "--root", str(corpus), "--out", str(tmp_path / "out")]
    assert main([*line, "--quiet"]) == 0
    said = capsys.readouterr().err
    assert "p1.jpg: file is missing" in said
    assert "aam-edge: 1 skipped (file is missing: 1)" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["OSI"], 6, "aam-edge: unknown data set (OSI): did you mean OSIE?"),
        (["nothing:here"], 6, "aam-edge: unknown layout (nothing): known are"),
        (["FIGRIM-Targets", "--split", "val"], 6, "aam-edge: data set has no such split (FIGRIM"),
        (["OSIE", "--root", "no/where"], 6, "aam-edge: folder of the data set is missing (OSIE:"),
        (["OSIE", "--shard-mb", "0"], 2, "aam-edge: shards would be empty (0 MB, 32 frames): give"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", "pack", *arguments, "--out", str(out)]) == code
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert said.count("\n") == 1
    assert not out.exists()


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def test_missing_library_names_the_extra(tmp_path: Path) -> None:
    done = run(WITHOUT_WEBDATASET, tmp_path)
    assert done.returncode == 2
    words = "training needs a library (webdataset): pip install aam-edge[train]"
    assert done.stderr == f"aam-edge: {words}\n"


def test_help_loads_no_library_of_training(tmp_path: Path) -> None:
    assert run(WHAT_HELP_LOADS, tmp_path).stdout == "[]\n"


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "pack", "--help"])
    assert "aam-edge train pack OSIE DHF1K native:" in capsys.readouterr().out
