"""Convolutions in 8 bits: nearly the same maps for `model.precision=int8`, or one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.config import ModelConfig
from aam_edge.engine.catalog import is_installed, open_backend, open_text
from aam_edge.engine.package import file_hash, find_package, packaged_folder
from aam_edge.engine.session import Session
from aam_edge.errors import ModelError
from aam_edge.messages import Frame, Observation
from aam_edge.model_api import Model, load
from tests.conftest import scene

Frames = Callable[[int], Frame]
FRAMES = 40
PROMPTS = ("free viewing", "search for cup")
ALL = ("x", "clipped", "y", "sum", "again")
"""Tensors of the small graph that become 8 bits wide: its input, then its outputs."""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """nano's files, to be spoilt."""
    for suffix in (".json", ".onnx", ".int8.onnx", ".safetensors"):
        shutil.copy(packaged_folder() / f"nano{suffix}", tmp_path)
    return tmp_path / "nano.safetensors"


def densities(engine: str, precision: str, frames: Frames) -> NDArray[np.float64]:
    """(FRAMES, prompts, h w)."""
    backend = open_backend(find_package("nano"), engine, precision)
    session = Session(backend, PROMPTS, pixels=96 * 128, embed=open_text())
    steps = (session.step(Observation(frames(i))) for i in range(FRAMES))
    return np.array([[raw.density.ravel() for raw in step] for step in steps], np.float64)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_maps_of_a_stream_correlate_with_single_precision_and_sum_to_one(
    engine: str, moving_frame: Frames
) -> None:
    if not is_installed(engine):
        pytest.skip(f"needs the extra [{engine}]")
    found, whole = densities(engine, "int8", moving_frame), densities(engine, "f32", moving_frame)
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-5)
    assert found.min() > 0
    assert np.abs(found - whole).max() > 1e-6  # it is not the f32 graph that ran
    for n, least in enumerate((0.99, 0.95)):
        pairs = zip(found[:, n], whole[:, n], strict=True)
        correlations = [np.corrcoef(ours, theirs)[0, 1] for ours, theirs in pairs]
        assert np.mean(correlations) > least


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_int8_keeps_cc_within_five_thousandths(shared: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    from aam_edge.training.data import read_gaze_set
    from aam_edge.training.evaluate import GAZE_SETS, evaluate, stills

    predictors = [
        stills(
            Session(open_backend(find_package("nano"), "onnx", p), PROMPTS[:1], embed=open_text())
        )
        for p in ("f32", "int8")
    ]
    for name in GAZE_SETS:
        photos = read_gaze_set(shared / "data" / name, "val")
        whole, rounded = (evaluate(predictor, photos)["CC"] for predictor in predictors)
        assert rounded == pytest.approx(whole, abs=0.005), name


def test_engine_says_what_it_computes_in_and_auto_is_never_int8(moving_frame: Frames) -> None:
    model = Model(ModelConfig(engine="onnx", precision="int8"))
    assert model.engine == "onnx int8"
    assert load(engine="onnx").engine == "onnx f32"


def test_second_looks_run_beside_int8(moving_frame: Frames) -> None:
    backend = open_backend(find_package("nano"), "onnx", "int8")
    session = Session(backend, PROMPTS, pixels=96 * 128, embed=open_text(), looks=True)
    session.step(Observation(moving_frame(0)))
    closer = session.step(Observation(moving_frame(1)), (20, 10, 100, 70))
    assert closer[0].density.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_network_without_the_graph_runs_but_not_in_int8(copied: Path) -> None:
    """As networks exported before there was int8."""
    manifest = copied.with_suffix(".json")
    facts = json.loads(manifest.read_text())
    del facts["int8_sha256"]
    manifest.write_text(json.dumps(facts))
    package = find_package(str(copied))
    open_backend(package, "onnx")
    line = r"network has no int8 graph \(nano\): set model.precision=f32, or make it: python -m"
    with pytest.raises(ModelError, match=line):
        open_backend(package, "onnx", "int8")


def test_engines_without_int8_say_so() -> None:
    if not is_installed("eager"):
        pytest.skip("needs the extra [torch]")
    for engine in ("eager", "compiled", "tensorrt"):
        line = rf"engine has no int8 \({engine}\): take --engine onnx or openvino"
        with pytest.raises(ModelError, match=line):
            open_backend(find_package("nano"), engine, "int8")


def test_damaged_graph_is_refused_by_its_hash(copied: Path) -> None:
    graph = copied.with_suffix(".int8.onnx")
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=r"weights have a wrong hash \(nano.int8.onnx: "):
        find_package(str(copied))


def test_graph_that_reads_a_file_of_others_is_refused(copied: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
    graph, manifest = copied.with_suffix(".int8.onnx"), copied.with_suffix(".json")
    model = onnx.load(graph, load_external_data=False)
    outside = next(t for t in model.graph.initializer if t.external_data)
    outside.external_data[0].value = "../key"
    graph.write_bytes(model.SerializeToString())
    facts = json.loads(manifest.read_text()) | {"int8_sha256": file_hash(graph)}
    manifest.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"network reads a file of others \(nano.int8.onnx: "):
        open_backend(find_package(str(copied)), "onnx", "int8")


def test_graph_is_made_anew_from_photos(copied: Path) -> None:
    pytest.importorskip("onnx", reason="needs the extra [train]")
    from aam_edge.errors import DataError, UsageError
    from aam_edge.training.quantise import add_int8, photos_in

    photos = copied.parent / "photos"
    photos.mkdir()
    with pytest.raises(UsageError, match="folder has no photos"):
        photos_in([photos])
    import cv2

    for i in range(6):
        cv2.imwrite(str(photos / f"{i}.png"), scene(20 * i, 320, 240))
    package = find_package(str(copied))
    with pytest.raises(DataError, match="too few photos for int8"):
        add_int8(package, photos_in([photos])[:1])
    before = package.int8_graph().read_bytes()
    done = add_int8(package, photos_in([photos]), count=4)
    assert done.convolutions > 50
    assert done.correlation > 0.98
    made = find_package(str(copied)).int8_graph()
    assert made.read_bytes() != before
    assert made.stat().st_size < 1e6  # the weights lie in the package's tensors
    assert load(str(copied), engine="onnx", precision="int8").engine == "onnx int8"
    assert not list(copied.parent.glob("*-new*"))


def small_model(names: list[str], weights: dict[str, NDArray[np.float32]]) -> Any:
    """Three convolutions of 8 channels, a clip, and a short cut."""
    from onnx import helper, numpy_helper

    def convolution(name: str, given: str, out: str) -> Any:
        both = [f"network.{name}.weight", f"network.{name}.bias"]
        return helper.make_node("Conv", [given, *both], [out], name=f"conv_{out}")

    nodes = [
        convolution(names[0], "x", "wide"),
        helper.make_node("Clip", ["wide", "low", "high"], ["clipped"], name="clip"),
        convolution(names[1], "clipped", "y"),
        helper.make_node("Add", ["x", "y"], ["sum"], name="add"),
        convolution(names[2], "sum", "again"),
    ]
    limits = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    tensors = {f"network.{name}": values for name, values in weights.items()} | limits
    held = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    sides = [helper.make_tensor_value_info(name, 1, (1, 8, 6, 6)) for name in ALL]
    graph = helper.make_graph(nodes, "small", sides[:1], sides[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_small_graph_in_8_bits_gives_what_it_gave_even_with_dead_channels() -> None:
    """A channel of no weight keeps its bias."""
    onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
    import onnxruntime as ort

    from aam_edge.training.quantise_graph import quantise, watched

    rng = np.random.default_rng(0)
    names = [f"body.stages.1.0.{part}" for part in ("expand", "project", "more")]
    weights = {}
    for name in names:
        weights[f"{name}.weight"] = rng.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32)
        weights[f"{name}.weight"][3] = 1e-12
        weights[f"{name}.bias"] = rng.normal(0, 1, 8).astype(np.float32)
    model = small_model(names, weights)
    assert watched(model.graph) == list(ALL)
    given = rng.normal(0, 1, (1, 8, 6, 6)).astype(np.float32)

    def run() -> list[NDArray[np.float32]]:
        content, options = model.SerializeToString(), ort.SessionOptions()
        # As the engine does where the CPU has no VNNI: the fast product saturates.
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return [np.asarray(one) for one in session.run(None, {"x": given})]

    whole = run()
    seen = dict(zip(ALL, (given, *whole), strict=True))
    ranges = {n: (min(0.0, float(v.min())), max(0.0, float(v.max()))) for n, v in seen.items()}
    assert quantise(model.graph, weights, ranges) == 3
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Add", "QuantizeLinear", "DequantizeLinear",
    }  # fmt: skip
    rounded = run()
    assert 1e-6 < np.abs(rounded[-1] - whole[-1]).max() < 0.02 * np.ptp(whole[-1])
    bias = weights["body.stages.1.0.more.bias"][3]
    np.testing.assert_allclose(rounded[-1][:, 3], bias, atol=0.05)
