"""A run of size s, b or l begins from what `aam-edge weights import` made; shown on a tiny one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [train]")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the extra [train]")

from aam_edge.errors import ModelError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.sizes import merge_projections
from aam_edge.model.released.stored import FORMAT, file_sha256
from aam_edge.training.run.networks import begun
from aam_edge.training.run.settings import DataConfig, LoraConfig, ModelConfig, RunConfig
from aam_edge.training.run.vectors import Vectors
from tests.tiny_package import tiny_network


def embed(prompt: str) -> NDArray[np.float32]:
    """Stands where CLIP reads prompts."""
    vector = np.random.default_rng(len(prompt)).normal(size=768)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def imported(folder: Path, kind: str, prefix: str) -> tuple[NativeNetwork, RunConfig]:
    """A network whose backbone lies in a file as imported, and a run that begins with it."""
    source = tiny_network(1)
    merge_projections(source)
    tensors = {f"{prefix}{n}": t for n, t in source.body.backbone.state_dict().items()}
    path = folder / f"{kind}.safetensors"
    safetensors.save_file(tensors, path)
    manifest = {"format": FORMAT, "name": kind, "kind": kind, "size": "s", "licence": "test"}
    counts = {"tensors": len(tensors), "parameters": 1, "tensors_sha256": file_sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(manifest | counts))
    data = DataConfig(sets=("native:none",))  # nothing is read here
    return source, RunConfig(start=str(path), model=ModelConfig(size="tiny"), data=data)


@pytest.mark.parametrize(("kind", "prefix"), [("dinov3", ""), ("aam", "backbone.")])
def test_run_begins_with_an_imported_backbone(tmp_path: Path, kind: str, prefix: str) -> None:
    source, config = imported(tmp_path, kind, prefix)
    network = begun(config, embed)
    picture = torch.rand(1, 3, 96, 128) * 255
    with torch.no_grad():
        for a, b in zip(
            network.eval().body.backbone(picture), source.body.backbone(picture), strict=True
        ):
            torch.testing.assert_close(a, b)
    assert all(parameter.requires_grad for parameter in network.body.parameters())


def test_lora_learns_in_the_backbone_and_the_pyramid_whole(tmp_path: Path) -> None:
    _, config = imported(tmp_path, "dinov3", "")
    network = begun(replace(config, lora=LoraConfig(rank=2)), embed)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    inside = {name for name in learning if name.startswith("body.backbone.")}
    assert inside
    assert all(name.endswith(("lora_a", "lora_b")) for name in inside)
    assert {"body.fine.weight", "body.finest.0.weight", "decoder.head.weight"} <= learning


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    _, config = imported(tmp_path, "dinov3", "")
    path = Path(config.start)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="weights have a wrong hash"):
        begun(config, embed)


def test_run_without_clip_says_what_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"CLIP, which reads the prompts, is not there"):
        Vectors("clip-text")
