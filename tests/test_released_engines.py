"""The public network's stream runs in every engine as it does by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from aam_edge.engine.build import build_encoder, released_encoder, trial_picture
from aam_edge.engine.device import CPU, Device, Work
from aam_edge.engine.engine_file import Fit, read_engine
from aam_edge.engine.package import Package
from aam_edge.engine.plan import Plan
from aam_edge.engine.released_engines import run_in
from aam_edge.engine.released_runner import ReleasedRunner, in_half
from aam_edge.engine.released_session import ReleasedBackend
from aam_edge.messages import Frame, Observation
from aam_edge.model.released.graphs import LookGraph, ReadGraph
from aam_edge.model.released.network import TINY_SHAPE, ReleasedNetwork
from aam_edge.model.released.stream import ReleasedStream
from tests.fake_tensorrt import FakeTensorrt

HEIGHT, WIDTH = 64, 96
WINDOW, LAG = 4, 1
ORIN = Device(CPU.torch, "Fake Orin", (8, 7))


class Recorder(Device):
    """A device that records as a GPU does: it runs the work, and later only replays it."""

    def recorded(self, work: Work) -> Work:
        for _ in range(3):
            work()
        return work


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    torch.manual_seed(0)
    return ReleasedNetwork(TINY_SHAPE).eval().requires_grad_(False)


def frames(count: int = 10) -> Iterator[tuple[Any, Any, Any]]:
    """Picture, texts and, of some frames, sound."""
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(1, 2, TINY_SHAPE.widths.text, generator=generator)
    for i in range(count):
        picture = torch.randn(1, 3, HEIGHT, WIDTH, generator=generator)
        sound = torch.randn(1, TINY_SHAPE.audio, generator=generator)
        yield picture, text, sound if i % 4 < 2 else None


def logits(stepper: Any, starts_anew: int = 7) -> list[Any]:
    state = stepper.init_state(1, HEIGHT, WIDTH)
    found = []
    for i, (picture, text, sound) in enumerate(frames()):
        if i == starts_anew:
            state.restart()
        found.append(stepper.step(picture, text, state, sound).clone())
    return found


@pytest.fixture(scope="module")
def reference(network: ReleasedNetwork) -> list[Any]:
    with torch.no_grad():
        return logits(ReleasedStream(network, WINDOW, LAG))


@pytest.mark.parametrize("device", [CPU, Recorder(CPU.torch, "recorder")])
def test_runner_gives_what_the_stream_gives(
    network: ReleasedNetwork, reference: list[Any], device: Device
) -> None:
    runner = ReleasedRunner(ReleasedStream(network, WINDOW, LAG), device)
    for ours, theirs in zip(logits(runner), reference, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_two_cameras_have_their_own_states(network: ReleasedNetwork, reference: list[Any]) -> None:
    runner = ReleasedRunner(ReleasedStream(network, WINDOW, LAG), Recorder(CPU.torch, "recorder"))
    first, second = (runner.init_state(1, HEIGHT, WIDTH) for _ in range(2))
    for i, (picture, text, sound) in enumerate(frames(5)):
        ours = runner.step(picture, text, first, sound).clone()
        runner.step(picture.flip(3), text, second, None)
        torch.testing.assert_close(ours, reference[i], atol=1e-5, rtol=1e-5)


def test_half_precision_halves_the_backbone_alone(
    network: ReleasedNetwork, reference: list[Any]
) -> None:
    halved = in_half(network, "bf16")
    names = {n for n, p in halved.named_parameters() if p.dtype == torch.bfloat16}
    assert {".".join(name.split(".")[:2]) for name in names} == {
        *("backbone.patch_embed", "backbone.blocks", "head.projects"),
    }
    found = logits(ReleasedRunner(ReleasedStream(halved, WINDOW, LAG), CPU))
    maps = zip(found, reference, strict=True)
    gaps = [float((a.sigmoid() - b.sigmoid()).abs().max()) for a, b in maps]
    assert 0 < max(gaps) < 2e-2
    assert not any(p.dtype == torch.bfloat16 for p in network.parameters())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_both_graphs_export_without_reading_a_number(
    network: ReleasedNetwork, reference: list[Any]
) -> None:
    """A number read on the way would stop a CUDA graph."""
    stream = ReleasedStream(network, WINDOW, LAG)
    picture, text, _ = next(frames())
    state = stream.init_state(1, HEIGHT, WIDTH)
    with torch.no_grad():
        look = torch.export.export(LookGraph(network), (picture,))
        rings = tuple(state.tensors().values())
        read = torch.export.export(ReadGraph(stream), (text, *rings))
    for program in (look, read):
        targets = {str(node.target) for node in program.graph.nodes}
        assert not any("item" in t.split(".") or "_local_scalar" in t for t in targets)


@pytest.mark.parametrize("precision", ["f16", "f32"])
def test_backbone_runs_as_a_tensorrt_engine(
    network: ReleasedNetwork,
    reference: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    fake = FakeTensorrt()
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    fit = Fit("0" * 64, ORIN.name, "8.7", fake.version, torch.__version__, HEIGHT, WIDTH, precision)
    encoder = released_encoder(network, precision, trial_picture((HEIGHT, WIDTH)))
    built = build_encoder(encoder, ORIN, fit, tmp_path / "released.engine")
    assert built.gap < 2e-2
    plan = Plan(read_engine(built.path, fit), ORIN)
    runner = ReleasedRunner(ReleasedStream(network, WINDOW, LAG), CPU, look=plan)
    for ours, theirs in zip(logits(runner), reference, strict=True):
        torch.testing.assert_close(ours.sigmoid(), theirs.sigmoid(), atol=2e-2, rtol=0)


class Words:
    """Reads prompts as random vectors, each its own."""

    def embed(self, prompt: str) -> NDArray[np.float32]:
        rng = np.random.default_rng(len(prompt))
        return rng.normal(size=TINY_SHAPE.widths.text).astype(np.float32)

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        return []


def backend_in(network: ReleasedNetwork, engine: str, folder: Path) -> ReleasedBackend:
    """A stream's backend, its network in an engine."""
    backend = ReleasedBackend(network, Words(), window=WINDOW)
    package = Package("tiny", folder, folder, {"tensors_sha256": "0" * 64, "family": "released"})
    device = ORIN if engine == "tensorrt" else CPU
    run_in(backend, package, engine, "f32", device, folder, compiler=lambda module: module)
    return backend


def test_camera_stream_runs_in_an_engine(
    network: ReleasedNetwork, tmp_path: Path, moving_frame: Callable[[int], Frame]
) -> None:
    plain = ReleasedBackend(network, Words(), window=WINDOW)
    other = backend_in(network, "compiled", tmp_path)
    assert (other.name, other.precision, other.device) == ("compiled", "f32", "cpu")
    ours, theirs = (b.session(["search for cup"]) for b in (plain, other))
    for i in range(2):
        a, b = (s.step(Observation(moving_frame(i)))[0].density for s in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=1e-7)
    theirs.restore(ours.state())
    a, b = (s.step(Observation(moving_frame(2)))[0].density for s in (ours, theirs))
    np.testing.assert_allclose(a, b, atol=1e-7)


def test_missing_tensorrt_engine_is_said_and_compiled_serves(
    network: ReleasedNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, module in FakeTensorrt().modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    assert backend_in(network, "tensorrt", tmp_path).name == "compiled"
    assert "no engine file" in caplog.text
    assert "448x448-f32.engine): aam-edge build makes one" in caplog.text
