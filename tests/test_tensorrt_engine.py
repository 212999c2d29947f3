"""TensorRT, with a stand-in for it: what is built is checked, what does not fit is said."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from aam_edge.cli.main import main
from aam_edge.engine.build import LARGEST_GAP, build_engine, trial_picture
from aam_edge.engine.catalog import open_text
from aam_edge.engine.compiled import CompiledBackend
from aam_edge.engine.device import CPU, Device
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.engine.tensorrt import TensorrtBackend
from aam_edge.engine.torch_network import load_network
from aam_edge.errors import ModelError
from aam_edge.messages import Frame, Observation
from tests.fake_tensorrt import FakeTensorrt

SIZE = (96, 128)
ORIN = Device(CPU.torch, "Fake Orin", (8, 7))
"""A GPU for whoever asks; torch computes on the CPU."""
Frames = Callable[[int], Frame]


def plain(module: Any) -> Any:
    """Stands where torch.compile does, and is quick."""
    return module


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt:
    made = FakeTensorrt()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeTensorrt]:
    """An engine that was built once, and the library that knows it."""
    made, path = FakeTensorrt(), tmp_path_factory.mktemp("engines")
    kept = {name: sys.modules.get(name) for name in made.modules()}
    sys.modules.update(made.modules())
    try:
        built = build_engine(find_package("nano"), ORIN, "f16", SIZE, path)
    finally:
        for name, module in kept.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    assert 1e-4 < built.gap < LARGEST_GAP
    assert made.asked == {"use_explicit_typing": True}
    return path, made


@pytest.fixture
def built(folder: tuple[Path, FakeTensorrt], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, the library in place."""
    path, made = folder
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return path


class Starts:
    """Stands where builds are started; ends when it is told to."""

    def __init__(self) -> None:
        self.arguments: list[list[str]] = []
        self.code: int | None = None

    def __call__(self, arguments: list[str]) -> Starts:
        self.arguments.append(arguments)
        return self

    def poll(self) -> int | None:
        return self.code


def backend(folder: Path, start: Starts | None = None, device: Device = ORIN) -> TensorrtBackend:
    return TensorrtBackend(
        find_package("nano"),
        device,
        "f16",
        folder=folder,
        builds=start is not None,
        start=start or Starts(),
        compiler=plain,
        look_each=2,
    )


def open_session(made: Any) -> Session:
    return Session(made, ["search for cup"], pixels=SIZE[0] * SIZE[1], embed=open_text())


def one_map(made: Any, frames: Frames, count: int = 2) -> Any:
    session = open_session(made)
    return [session.step(Observation(frames(i)))[0].density for i in range(count)][-1]


def test_engine_gives_the_maps_of_the_network_in_its_precision(
    built: Path, moving_frame: Frames
) -> None:
    made = backend(built)
    found = one_map(made, moving_frame)
    assert (made.name, made.precision, made.device) == ("tensorrt", "f16", "Fake Orin (cpu)")
    other = CompiledBackend(find_package("nano"), CPU, "f16", compiler=plain)
    expected = one_map(other, moving_frame)
    # Half precision rounds otherwise where the exporter has taken a layer apart.
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.ptp(expected))


def test_manifest_says_what_the_engine_is_good_for(built: Path) -> None:
    (file,) = built.glob("*.engine")
    manifest = json.loads(file.with_suffix(".json").read_text())
    assert file.name == f"nano-{find_package('nano').weights_id}-96x128-f16.engine"
    expected = {"gpu": "Fake Orin", "capability": "8.7", "tensorrt": "10.3.0", "precision": "f16"}
    assert expected.items() <= manifest.items()
    assert manifest["torch"] == torch.__version__
    assert manifest["bytes"] == file.stat().st_size


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (
            Device(CPU.torch, "H200", (9, 0)),
            r"engine does not fit \(nano.*gpu Fake Orin, here is H",
        ),
        (Device(CPU.torch, "Fake Orin", (8, 9)), r"built for capability 8.7, here is 8.9"),
    ],
)
def test_engine_of_another_gpu_is_said_and_served_from_compiled(
    built: Path, moving_frame: Frames, caplog: pytest.LogCaptureFixture, device: Device, words: str
) -> None:
    made = backend(built, device=device)
    assert one_map(made, moving_frame).sum() == pytest.approx(1, abs=1e-4)
    assert made.name == "compiled"
    assert len(caplog.messages) == 1
    assert re.search(words, caplog.text)


def test_truncated_engine_is_said_and_served_from_compiled(
    built: Path, tmp_path: Path, moving_frame: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    for file in built.iterdir():
        whole = file.read_bytes()
        (tmp_path / file.name).write_bytes(whole[:100] if file.suffix == ".engine" else whole)
    made = backend(tmp_path)
    one_map(made, moving_frame, 1)
    assert made.name == "compiled"
    assert "engine file is damaged" in caplog.text
    assert "100 of 4" in caplog.text


def test_other_tensorrt_is_said_although_the_manifest_is_right(
    built: Path, moving_frame: Frames, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As after an update that kept the version's words."""
    for file in built.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (plan,) = tmp_path.glob("*.engine")
    plan.write_bytes(plan.read_bytes().replace(b"10.3.0", b"10.2.9"))
    manifest = json.loads(plan.with_suffix(".json").read_text())
    manifest["sha256"] = hashlib.sha256(plan.read_bytes()).hexdigest()
    plan.with_suffix(".json").write_text(json.dumps(manifest))
    made = backend(tmp_path)
    one_map(made, moving_frame, 1)
    assert made.name == "compiled"
    assert "TensorRT refuses the engine (TensorRT 10.3.0" in caplog.text


def test_missing_engine_is_built_in_the_background_and_taken_over(
    built: Path, tmp_path: Path, moving_frame: Frames
) -> None:
    starts = Starts()
    made = backend(tmp_path / "new", starts)
    session = open_session(made)
    session.step(Observation(moving_frame(0)))
    assert made.name == "compiled"
    (arguments,) = starts.arguments
    assert arguments[0] == "build"
    assert arguments[arguments.index("--input") + 1] == "128x96"
    for file in built.iterdir():
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / file.name).write_bytes(file.read_bytes())
    before = session.state()
    session.step(Observation(moving_frame(1)))
    session.restore(before)
    starts.code = 0
    for i in range(1, 4):
        density = session.step(Observation(moving_frame(i)))[0].density
    assert made.name == "tensorrt"
    assert session.state()["variance"].max() < 1e4  # the state went over
    assert density.sum() == pytest.approx(1, abs=1e-4)


def test_build_that_fails_leaves_compiled(
    fake: FakeTensorrt, tmp_path: Path, moving_frame: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    starts = Starts()
    starts.code = 4
    made = backend(tmp_path, starts)
    session = open_session(made)
    for i in range(2):
        session.step(Observation(moving_frame(i)))
    assert made.name == "compiled"
    assert "build of the engine failed (exit code 4)" in caplog.text


def test_half_asked_and_single_built_is_refused(fake: FakeTensorrt, tmp_path: Path) -> None:
    package = find_package("nano")
    refused = pytest.raises(ModelError, match=r"another precision \(asked f16, built f32\): try")
    fake.output_type = torch.float32
    with refused:
        build_engine(package, ORIN, "f16", SIZE, tmp_path)
    fake.output_type = None
    fake.compute = load_network(package, "f32", CPU).body  # rounded only when it leaves
    with refused:
        build_engine(package, ORIN, "f16", SIZE, tmp_path)
    fake.compute = None
    inputs = [{"Format/Datatype": "Row major linear FP32"}]
    fake.layers = [{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": inputs}]
    with refused:
        build_engine(package, ORIN, "f16", SIZE, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_engine_that_computes_other_maps_is_refused(
    fake: FakeTensorrt, tmp_path: Path, factor: float
) -> None:
    body = load_network(find_package("nano"), "f16", CPU).body
    fake.compute = lambda picture: [tap * factor for tap in body(picture)]
    with pytest.raises(ModelError, match=r"other maps \(maps differ by .* 2% is allowed\): try"):
        build_engine(find_package("nano"), ORIN, "f16", SIZE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_broken_import_of_torch_tensorrt_is_one_line(
    fake: FakeTensorrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch_tensorrt.py").write_text("raise Exception('Unable to find\\nlibnvinfer')")
    monkeypatch.delitem(sys.modules, "torch_tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ModelError, match=r"^torch_tensorrt cannot be loaded \(Unable to find\): in"
    ):
        build_engine(find_package("nano"), ORIN, "f16", SIZE, tmp_path)


def test_broken_import_of_tensorrt_is_served_from_compiled(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    moving_frame: Frames,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # its import fails  # type: ignore[arg-type]
    made = backend(tmp_path)
    one_map(made, moving_frame, 1)
    assert made.name == "compiled"
    assert "tensorrt cannot be loaded" in caplog.text


def test_builder_that_raises_is_one_line(fake: FakeTensorrt, tmp_path: Path) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("Conversion of aten.relu6 not supported\nsee the log")

    module = sys.modules["torch_tensorrt"]
    assert isinstance(module, ModuleType)
    module.dynamo.convert_exported_program_to_serialized_trt_engine = broken
    with pytest.raises(
        ModelError, match=r"engine cannot be built \(Conversion of aten.relu6 not s"
    ):
        build_engine(find_package("nano"), ORIN, "f16", SIZE, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_both_commands_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build"]) == 4
    assert "torch sees no CUDA device (cuda" in capsys.readouterr().err
    assert main(["--engine", "tensorrt", "--camera", "demo", "--page", "none"]) == 4
    said = capsys.readouterr().err
    assert "aam-edge: TensorRT needs an NVIDIA GPU (cpu, torch" in said
    assert main(["build", "--input", "100x100"]) == 2
    assert "multiples of 32 from 96 to 512" in capsys.readouterr().err


def test_trial_picture_is_a_picture_and_the_same_each_time() -> None:
    first, second = trial_picture(SIZE), trial_picture(SIZE)
    assert torch.equal(first, second)
    assert first.shape == (1, 3, *SIZE)
    assert 0 <= first.min() < first.max() <= 255
    assert first.std() > 10
