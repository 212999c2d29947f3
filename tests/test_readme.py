"""What the README tells people to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aam_edge.cli.main import build_parser
from tests.program import DEADLINE_S, Program

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^(aam-edge .*?)(?:#.*)?$", README, re.MULTILINE)
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


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_are_understood(command: str) -> None:
    options = build_parser().parse_args(shlex.split(command)[1:])
    assert options.command in ("stream", "predict", "doctor", "bench")


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).exists()] == []
