"""What docs/guides/train.md tells people to type works."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("lightning_fabric", reason="needs the extra [train]")

from aam_edge.cli.main import build_parser
from aam_edge.settings import known_settings
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.run.settings import RunConfig
from tests import corpus_trees as trees

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "guides" / "train.md").read_text()
COMMANDS = re.findall(r"^(aam-edge .*)$", GUIDE, re.MULTILINE)


def test_a_table_of_fixations_becomes_a_gaze_set(tmp_path: Path) -> None:
    mine = tmp_path / "gaze" / "mine"
    for i in range(6):
        trees.write(mine / "images" / f"p{i}.jpg", trees.stimulus(i))
    with (mine / "gaze.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["photo", "person", "x", "y"])
        for i in range(6):
            for person in ("ann", "bob"):
                table.writerows([f"p{i}", person, 16 + i, 24] for _ in range(3))
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    train = list(read_items(f"native:{mine}", tmp_path, "train", Skipped()))
    val = list(read_items(f"native:{mine}", tmp_path, "val", Skipped()))
    assert [item.name for item in train] == ["p1", "p2", "p3", "p4"]
    assert [item.name for item in val] == ["p0", "p5"]
    assert train[0].points().tolist() == [[17 / 64, 0.5]] * 6
    assert train[0].prompt == "free viewing"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_guide_are_understood(command: str) -> None:
    options = build_parser().parse_args(shlex.split(command.replace(" ...", ""))[1:])
    for text in getattr(options, "sets", []):
        if "=" in text:
            assert text.partition("=")[0] in known_settings(RunConfig)


def test_settings_of_the_guide_are_settings() -> None:
    rows = re.findall(r"^\| (`[a-z_.`, ]+) \|", GUIDE, re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    assert len(names) > 12
    assert names <= set(known_settings(RunConfig))
