"""tools/mutate: which faults it puts into a module, and what it says where tests see them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHOW = "import sys, mutants\nfor m in mutants.make_mutants(sys.stdin.read()): print(repr(m.source))"
SOURCE = '''\
def bounded(value: int = 0) -> float:
    """At least -0.5."""
    assert value < 5, "no"
    if value > 1 and not value:
        raise ValueError(f"{value + 1} is odd")
    print(value)
    return max(value * 2, -0.5)
'''
FAULTS = [
    "def bounded(value: int = (1)) -> float:",
    "if (value > 1 or not value):",
    "if (value >= 1) and not value:",
    "if value > (2) and not value:",
    "if value > 1 and (value):",
    "pass",
    "return None",
    "return (min(value * 2, -0.5))",
    "return max((value / 2), -0.5)",
    "return max(value * (3), -0.5)",
    "return max(value * 2, (0.5))",
    "return max(value * 2, -(1.0))",
]


def test_each_fault_changes_one_line_and_words_and_assertions_stay() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=ROOT / "tools",
        input=SOURCE,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    mutants = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    changed = [set(mutant.splitlines()) - set(SOURCE.splitlines()) for mutant in mutants]
    assert sorted(line.strip() for lines in changed for line in lines) == sorted(FAULTS)
    assert all(len(lines) == 1 for lines in changed)


@pytest.mark.slow
def test_faults_of_a_line_are_killed_and_the_tree_stays_as_it_is() -> None:
    before = (ROOT / "aam_edge/sources/mailbox.py").read_text()
    (line,) = (n for n, text in enumerate(before.splitlines(), 1) if "self.dropped += 1" in text)
    done = subprocess.run(
        [sys.executable, ROOT / "tools/mutate", "sources/mailbox", "--line", str(line)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests without a fault: passed" in done.stdout
    assert re.search(r"sources/mailbox: (\d+) of \1 killed", done.stdout), done.stdout
    assert (ROOT / "aam_edge/sources/mailbox.py").read_text() == before
