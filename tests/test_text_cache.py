"""Vectors of prompts on disk: whole or not there, bounded, and never in the way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.engine.text_cache import KEPT, TextCache, user_folder

SIZE = 384
WRITER = """
import sys
import numpy as np
from pathlib import Path
from aam_edge.engine.text_cache import TextCache
cache = TextCache("model", 384, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(400):
    text = f"text {n % 20}"
    cache.put(text, np.full(384, n % 20, np.float32))
    kept = cache.get(text)
    assert kept is not None and (kept == n % 20).all(), text
"""


def vector(value: float) -> NDArray[np.float32]:
    return np.full(SIZE, value, np.float32)


def test_vector_comes_back_bit_by_bit(tmp_path: Path) -> None:
    given = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    TextCache("model", SIZE, tmp_path).put("red mug", given)
    kept = TextCache("model", SIZE, tmp_path).get("red mug")
    assert kept is not None
    np.testing.assert_array_equal(kept, given)


def test_other_texts_and_models_have_none(tmp_path: Path) -> None:
    TextCache("model", SIZE, tmp_path).put("red mug", vector(1))
    assert TextCache("model", SIZE, tmp_path).get("mug red") is None
    assert TextCache("other", SIZE, tmp_path).get("red mug") is None
    assert TextCache("model", 128, tmp_path).get("red mug") is None


def test_damaged_file_is_passed_over_and_written_anew(tmp_path: Path) -> None:
    cache = TextCache("model", SIZE, tmp_path)
    cache.put("cup", vector(1))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:8],
        whole[:-1],
        whole[:100],
        whole[:-4] + b"\0\0\0\1",
        whole + b"x",
    ):
        path.write_bytes(damaged)
        assert cache.get("cup") is None
        cache.put("cup", vector(1))
        assert path.read_bytes() == whole


def test_processes_that_share_a_folder_never_read_half_a_file(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=30)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 20, "and no parts are left"


def test_folder_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    for n in range(KEPT):
        path = tmp_path / f"{n:04d}"
        path.write_bytes(b"old")
        os.utime(path, ns=(n, n))
    cache = TextCache("model", SIZE, tmp_path)
    cache.put("cup", vector(1))
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == KEPT * 3 // 4
    assert "0000" not in names
    assert f"{KEPT - 1:04d}" in names
    assert cache.get("cup") is not None


def test_folder_that_cannot_be_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TextCache("model", SIZE, tmp_path / "file" / "text")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            cache.put("cup", vector(1))
            assert cache.get("cup") is None
    assert [r.getMessage().startswith("prompts are not kept on disk") for r in caplog.records] == [
        True
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_rights_is_no_trouble(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = TextCache("model", SIZE, tmp_path)
    cache.put("cup", vector(1))
    assert cache.get("cup") is None
    tmp_path.chmod(0o700)


def test_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/cache")
    assert user_folder() == Path("/var/tmp/cache/aam-edge/text")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert user_folder() == tmp_path / ".cache/aam-edge/text"


def test_prompts_stay_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "text"
    TextCache("model", SIZE, folder).put("cup", vector(1))
    assert folder.stat().st_mode & 0o077 == 0
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert b"cup" not in path.read_bytes()
