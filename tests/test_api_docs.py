"""docs/api.md is up to date, and the docstrings it is made of say what a caller cannot see."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aam_edge

ROOT = Path(__file__).resolve().parents[1]
TOOL: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "make_api_docs"))
NAMES = [
    pytest.param(module, name, id=name)
    for modules in TOOL["PUBLIC"].values()
    for module, names in modules.items()
    for name in names
]
ARRAYS = re.compile(r"\b(NDArray|Image|Map|Samples|Floats|Tensor|Pictures|Points)\b")
SHAPE = re.compile(r"\([\w. ]+,[\w ,.]*\)|homography")


def test_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_api_docs", "--check"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_all_that_leaves_the_package_is_on_the_page() -> None:
    on_page = {param.values[1] for param in NAMES}
    assert set(aam_edge.__all__) - {"__version__"} <= on_page


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_each_public_name_is_told_with_all_its_parameters(module: str, name: str) -> None:
    node = TOOL["find"](module, name)
    assert ast.get_docstring(node), name
    methods = list(TOOL["methods"](node)) if isinstance(node, ast.ClassDef) else [node]
    for function in methods:
        told = ast.get_docstring(function)
        assert told, f"{name}.{function.name}"
        if "\nArgs:" not in told:
            continue
        arguments = told.partition("\nArgs:\n")[2].partition("\n\n")[0]
        for argument in TOOL["parameters"](function):
            word = argument.partition(":")[0].lstrip("*")
            if word not in ("", "self", "cls"):
                assert re.search(rf"^ {{4}}\*{{0,2}}{word}: ", arguments, re.MULTILINE), word


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_arrays_tell_their_shape(module: str, name: str) -> None:
    node = TOOL["find"](module, name)
    for field, kind, words in TOOL["fields_of"](node) if isinstance(node, ast.ClassDef) else ():
        assert not ARRAYS.search(kind) or SHAPE.search(words), field
    methods = list(TOOL["methods"](node)) if isinstance(node, ast.ClassDef) else [node]
    for function in methods:
        back = ast.unparse(function.returns) if function.returns else ""
        kinds = f"{ast.unparse(function.args)} {back}"
        if ARRAYS.search(kinds):
            assert SHAPE.search(ast.get_docstring(function) or ""), f"{name}.{function.name}"
