"""What docs/frame.md names of the code is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "frame.md").read_text()
PAIRS = re.findall(r"`(aam_edge/[\w/]+\.py)`\s+`([\w.]+)`", PAGE)


def defined(path: Path) -> set[str]:
    """Functions, classes and methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inside = (m for m in node.body if isinstance(m, ast.FunctionDef))
            names |= {f"{node.name}.{method.name}" for method in inside}
    return names


@pytest.mark.parametrize(("file", "name"), PAIRS)
def test_step_of_the_page_is_in_the_code(file: str, name: str) -> None:
    assert name in defined(ROOT / file)


def test_every_file_on_the_page_has_its_function_beside_it() -> None:
    files = re.findall(r"`(aam_edge/[\w/]+\.py)`", PAGE)
    assert len(files) == len(PAIRS) > 20
