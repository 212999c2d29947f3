"""What docs/extend.md shows works: a source, a sink, an engine and a metric of one's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import corpus_trees as trees

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])


def code(*sections: str) -> str:
    return "\n".join(block for name in sections for block in BLOCK.findall(SECTIONS[name]))


def said(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_own_source_and_own_sink_run_in_the_stream() -> None:
    lines = said(code("A camera type", "A sink"))
    assert lines == [f"bars {n} (56, 72) True" for n in range(5)]


def test_own_engine_wording_and_synonym_do_as_the_page_says() -> None:
    lines = said("import numpy as np\n" + code("An engine", "A wording of prompts", "A synonym"))
    assert lines == ["counting f32 (56, 72) 1", "cup", "('red cup',)"]


def test_own_metric_is_in_the_table_of_evaluate(tmp_path: Path) -> None:
    discs = trees.native_set(tmp_path / "discs")
    words = ["evaluate", f"native:{discs}", "--split", "train", "--engine", "onnx"]
    words += ["--no-rivals", "--resamples", "50", "--quiet", "--json"]
    program = f"import numpy as np\n{code('A metric')}\nfrom aam_edge.cli.main import main\n"
    found = json.loads("\n".join(said(f"{program}raise SystemExit(main({words!r}))")))
    rows = found["gaze"]["discs"]["rows"]
    for figures in rows.values():
        assert list(figures)[-1] == "peak"
        assert 0 <= figures["peak"][0] <= 1


@pytest.mark.parametrize("section", SECTIONS)
def test_each_answer_names_files_and_words_that_exist(section: str) -> None:
    text = BLOCK.sub("", SECTIONS[section])
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    files = list(ROOT.glob("aam_edge/**/*.py"))
    for name in named:
        is_there = (ROOT / name).exists() or (ROOT / "aam_edge" / name).exists()
        assert is_there or any(file.name == name for file in files), name
    code_words = "\n".join(file.read_text() for file in files)
    for word in re.findall(r"`([A-Za-z_]+)`", text):
        assert re.search(rf"\b{word}\b", code_words), word
