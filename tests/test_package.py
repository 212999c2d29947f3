"""Weights on disk: found, checked, refused with one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aam_edge.engine.package import find_package, packaged_folder, packaged_names
from aam_edge.errors import ModelError
from aam_edge.model_api import load

SUFFIXES = (".json", ".onnx", ".safetensors")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for suffix in SUFFIXES:
        shutil.copy(packaged_folder() / f"nano{suffix}", tmp_path)
    return tmp_path / "nano.safetensors"


def test_nano_is_packaged_and_whole() -> None:
    assert "nano" in packaged_names()
    package = find_package("nano")
    assert len(package.weights_id) == 12
    size = sum(path.stat().st_size for path in (package.graph, package.tensors))
    assert size < 20e6


def test_network_runs_from_any_folder(copied: Path) -> None:
    model = load(str(copied), engine="onnx")
    assert model.package.weights_id == find_package("nano").weights_id


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"unknown model \(giga\): give one of nano"):
        find_package("giga")


def test_damaged_weights_are_refused_by_their_hash(copied: Path) -> None:
    content = bytearray(copied.read_bytes())
    content[-1] ^= 1
    copied.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights have a wrong hash \(nano.safetensors: "):
        find_package(str(copied))


@pytest.mark.parametrize("lost", SUFFIXES)
def test_each_missing_file_is_named(copied: Path, lost: str) -> None:
    copied.with_suffix(lost).unlink()
    with pytest.raises(ModelError, match=f"nano{lost}"):
        find_package(str(copied))


def test_manifest_that_is_broken_or_of_a_later_format_is_refused(copied: Path) -> None:
    manifest = copied.with_suffix(".json")
    later = json.loads(manifest.read_text()) | {"format": 99}
    manifest.write_text(json.dumps(later))
    with pytest.raises(ModelError, match=r"format 99, known 1 to 2\): update aam-edge"):
        find_package(str(copied))
    manifest.write_text("{")
    with pytest.raises(ModelError, match="manifest of the weights cannot be read"):
        find_package(str(copied))
    manifest.write_text("[1]")
    with pytest.raises(ModelError, match="lacks a key"):
        find_package(str(copied))
