"""tools/bench_gpu, tiny and on the CPU: every engine gives a row, and none stops the others."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [torch]")

from tests.fake_tensorrt import FakeTensorrt

TOOL = Path(__file__).parent.parent / "tools" / "bench_gpu"


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """What it writes; networks and pictures as small as can be."""
    loader = SourceFileLoader("bench_gpu", str(TOOL))
    spec = importlib.util.spec_from_loader("bench_gpu", loader)
    assert spec is not None
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_gpu", tool)
    loader.exec_module(tool)
    small = ["--input", "96x96", "--frames", "4", "--parity", "2", "--device", "cpu"]
    given = ["bench_gpu", *small, "--no-compile", "--json", str(out), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    assert tool.main() == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_every_engine_gives_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, module in FakeTensorrt().modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    found = run(tmp_path / "rows.json", monkeypatch, "--networks", "tiny", "--batch", "2")
    assert found["device"] == "cpu"
    assert [row["engine"] for row in found["rows"]] == ["eager", "compiled", "tensorrt"]
    for row in found["rows"]:
        check(row)
    assert "tiny         compiled  batch 2 f32" in capsys.readouterr().out


def test_public_network_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("--networks", "released-tiny", "--engines", "compiled", "--precision", "bf16")
    rows = run(tmp_path / "rows.json", monkeypatch, *given)["rows"]
    assert [row["batch"] for row in rows] == [1, 4]
    for row in rows:
        check(row, least=1e-6, most=5e-2)


def check(row: dict[str, Any], least: float = 0.0, most: float = 1e-3) -> None:
    """Figures that can be."""
    assert "failed" not in row, row
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert least <= row["gap"] < most
    assert row["frames_per_s"] > 1


def test_engine_that_does_not_run_says_why_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # its import fails
    engines = ("--networks", "tiny", "--engines", "tensorrt", "eager", "--batch", "1")
    first, second = run(tmp_path / "rows.json", monkeypatch, *engines)["rows"]
    assert "tensorrt cannot be loaded" in first["failed"]
    assert second["p50_ms"] > 0
