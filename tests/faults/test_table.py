"""docs/faults.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_complaint_has_tests_and_each_of_them_exists() -> None:
    rows = [
        line
        for line in (ROOT / "docs/faults.md").read_text().splitlines()
        if line.startswith("| ") and "`test_" in line
    ]
    numbers = [int(found[1]) for row in rows if (found := re.match(r"\| (\d+)\. ", row))]
    assert numbers == list(range(1, 18))
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
    named = [name for row in rows for name in re.findall(r"`(test_\w+)`", row)]
    assert [name for name in named if name not in there] == []
