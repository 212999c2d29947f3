"""Strangers at weights: manifests, safetensors, checkpoints, ONNX graphs, engine files."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper
from safetensors.torch import save

from aam_edge.engine.engine_file import Fit, read_engine
from aam_edge.engine.onnx import OnnxBackend
from aam_edge.engine.package import FORMAT, Package, file_hash, find_package
from aam_edge.engine.weights import read_header, show_weights
from aam_edge.model.released.files import read_weights
from aam_edge.training.run.checkpoint import read as read_checkpoint
from tests.fuzz.attack import Door, attack, replayed, stands, times
from tests.fuzz.mutation import bytes_like, json_like, tree_like

NAME = "stranger"
IMPORTED = {
    "format": 1, "name": NAME, "kind": "aam", "size": "s", "tensors_sha256": "0" * 64,
    "tensors": 1, "parameters": 1, "licence": "none", "from": "a file",
}  # fmt: skip
FIT = Fit("0" * 64, "GPU", "8.7", "10.0", "2.8", 192, 256, "f16")


def small_tensors() -> dict[str, Any]:
    return {
        "body.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
        "body.half": torch.ones(8, dtype=torch.float16),
        "body.count": torch.tensor(3),
    }


SAFE = save(small_tensors(), {"format": "pt"})


def checkpoints() -> list[bytes]:
    """What torch writes: a run's checkpoint, a bare state, and the older form."""
    tensors = small_tensors()
    whole = {"format": 1, "average": tensors, "network": tensors, "scores": [{"nss": 1.0}]}
    found = []
    for content, is_zip in ((whole, True), ({"state_dict": tensors}, True), (tensors, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=is_zip)
        found.append(file.getvalue())
    return found


def graph(location: str = f"{NAME}.safetensors", *, offset: int = 0, length: int = 16) -> bytes:
    """y = x + w, with w outside of the graph."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        weight.external_data.add(key=key, value=str(value))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    made = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def manifest(folder: Path) -> dict[str, Any]:
    """Writes tensors and graph; returns what their manifest says."""
    (folder / f"{NAME}.safetensors").write_bytes(SAFE)
    (folder / f"{NAME}.onnx").write_bytes(graph())
    hashes = {"tensors_sha256": file_hash(folder / f"{NAME}.safetensors")}
    hashes |= {"graph_sha256": file_hash(folder / f"{NAME}.onnx")}
    facts = {"prompt_channels": 128, "size": "nano", "half": "f16", "family": "native"}
    return {"format": FORMAT, "name": NAME, "follows_prompts": True, **facts, **hashes}


def manifest_door(folder: Path) -> Door:
    """The manifest of a package or of imported weights, and what the program asks of it."""

    def door(content: bytes) -> None:
        path = folder / f"{NAME}.json"
        path.write_bytes(content)
        package = find_package(str(path))
        _ = package.size, package.half, package.prompt_channels, package.weights_id
        _ = package.is_released, package.follows_prompts
        assert package.name.isprintable()

    return door


@times()
def test_no_manifest_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    attack(manifest_door(tmp_path), json_like([manifest(tmp_path), IMPORTED]), cases)


@replayed("manifest")
def test_manifests_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    manifest(tmp_path)
    stands(manifest_door(tmp_path), case.read_bytes())


def tensors_door(folder: Path) -> Door:
    """A file of tensors as `weights show` and `import` read it, and as a run does."""

    def door(content: bytes) -> None:
        path = folder / f"{NAME}.safetensors"
        path.write_bytes(content)
        read_header(path)
        show_weights(str(path))

    return door


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Files of tensors with a strange header of the right length."""
    (length,) = struct.unpack("<Q", SAFE[:8])
    tree = draw(tree_like([json.loads(SAFE[8 : 8 + length])], ["F16", "F4", [1 << 40, 1 << 40]]))
    header = json.dumps(tree).encode()
    claimed = draw(st.sampled_from([len(header)] * 5 + [0, 1 << 20, 1 << 40, 2**64 - 1]))
    return struct.pack("<Q", claimed) + header + SAFE[8 + length :]


@times()
def test_no_tensors_break_their_readers(cases: int, tmp_path: Path) -> None:
    attack(tensors_door(tmp_path), st.one_of(headers(), bytes_like([SAFE])), cases)


@replayed("tensors")
def test_tensors_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(tensors_door(tmp_path), case.read_bytes())


def checkpoint_door(folder: Path) -> Door:
    """A file of torch.save, as import, train and export read it."""

    def door(content: bytes) -> None:
        path = folder / f"{NAME}.pt"
        path.write_bytes(content)
        read_checkpoint(path)
        read_weights(path)

    return door


@times()
def test_no_checkpoint_breaks_its_readers(cases: int, tmp_path: Path) -> None:
    attack(checkpoint_door(tmp_path), bytes_like(checkpoints()), cases)


@replayed("checkpoint")
def test_checkpoints_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(checkpoint_door(tmp_path), case.read_bytes())


def graph_door(folder: Path) -> Door:
    """A graph whose hash is right, as a stranger's would be."""

    def door(content: bytes) -> None:
        path = folder / f"{NAME}.onnx"
        path.write_bytes(content)
        OnnxBackend(Package(NAME, path, path.with_suffix(".safetensors"), {}))

    return door


@times()
def test_no_graph_breaks_the_engine(cases: int, tmp_path: Path) -> None:
    manifest(tmp_path)
    whole = [graph(), graph(offset=1 << 40), graph(length=1 << 40), graph("../key")]
    attack(graph_door(tmp_path), bytes_like(whole), cases)


@replayed("graph")
def test_graphs_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    manifest(tmp_path)
    stands(graph_door(tmp_path), case.read_bytes())


@times()
def test_no_manifest_of_an_engine_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    path.write_bytes(b"plan")

    def door(content: bytes) -> None:
        path.with_suffix(".json").write_bytes(content)
        read_engine(path, FIT)

    attack(door, json_like([{"format": 1, "weights": "0" * 64, "sha256": "1", "bytes": 4}]), cases)
