"""Keys with the real program: the commands and the Python of docs/security.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aam_edge
from aam_edge.keys import KeyFolder
from tests.program import DEADLINE_S, Program, run
from tests.test_readme import STOP_AFTER_THREE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "security.md"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, with the client `laptop` whose key lies beside it."""
    folder = tmp_path_factory.mktemp("robot") / "keys"
    key = folder.parent / "laptop.key"
    done = run("keys", "new", "laptop", "--keys", str(folder), "--out", str(key))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def program(keys: Path) -> Iterator[Program]:
    options = ("--camera", "synthetic", "--engine", "onnx", "--set", f"net.keys={keys}")
    with Program(*options) as running:
        running.wait_for("zmq.pub asks for a key (clients allowed: 1")
        running.wait_for("zmq.control asks for a key")
        running.wait_for("first map")
        yield running


def test_subscribe_and_prompt_take_the_key(program: Program, keys: Path) -> None:
    key = str(keys.parent / "laptop.key")
    maps = aam_edge.subscribe(program.pub, key=key, timeout_s=DEADLINE_S)
    assert next(maps).camera == "synthetic"
    maps.close()  # type: ignore[attr-defined]
    done = run("prompt", "search for cup", "--control", program.control, "--key", key)
    assert done.returncode == 0, done.stderr
    for shown in ((), ("--key", str(keys / "server.key"))):
        done = run("prompt", "search for dog", "--control", program.control, *shown)
        assert done.returncode == (2 if shown else 5)
        assert ("not a file with keys for this" if shown else "stream hangs up") in done.stderr
        assert done.stderr.count("\n") == 1


def test_python_of_the_page_runs(program: Program, keys: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    code = code.replace("tcp://robot:5560", program.pub)
    code = code.replace("laptop.key", str(keys.parent / "laptop.key"))
    done = subprocess.run(
        [sys.executable, "-c", f"{STOP_AFTER_THREE}\n{code}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # runs the command five times; test_keyed_sockets does it in short
def test_revoked_client_is_out(program: Program, keys: Path) -> None:
    key = str(keys.parent / "laptop.key")
    public = KeyFolder(keys).clients()["laptop"]
    assert run("keys", "revoke", "laptop", "--keys", str(keys)).returncode == 0
    done = run("prompt", "search for dog", "--control", program.control, "--key", key)
    assert (done.returncode, "stream hangs up" in done.stderr) == (5, True)
    assert run("keys", "allow", "laptop", public, "--keys", str(keys)).returncode == 0
    done = run("prompt", "search for dog", "--control", program.control, "--key", key)
    assert done.returncode == 0, done.stderr


def test_program_does_not_start_with_keys_that_others_can_read(keys: Path) -> None:
    options = ("--camera", "synthetic", "--page", "none", "--set", f"net.keys={keys}")
    server = keys / "server.key"
    server.chmod(0o644)
    done = run(*options, "--quiet", "--pub", "tcp://0.0.0.0:*", "--control", "none")
    server.chmod(0o600)
    assert (done.returncode, done.stderr) == (
        2,
        f"aam-edge: others can read this key ({server}, mode 644): chmod 600 {server}\n",
    )
