"""The Python code of the README runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import DEADLINE_S, Program

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
STOP_AFTER_THREE = """
import sys
said = []
def print(*words):
    said.append(words)
    if len(said) == 3:
        sys.exit(0)
"""


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with Program("--camera", "synthetic", "--engine", "onnx") as running:
        running.wait_for("first map")
        yield running


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_of_the_readme_runs(program: Program, number: int) -> None:
    code = PYTHON[number].replace("tcp://127.0.0.1:5560", program.pub)
    assert_sum = "" if "for " in code else "assert abs(density.sum() - 1) < 1e-3"
    whole = f"{STOP_AFTER_THREE}\n{code}\n{assert_sum}"
    done = subprocess.run(
        [sys.executable, "-c", whole],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
