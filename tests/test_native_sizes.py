"""The native network on DINOv3: s, b and l, shown on a tiny one with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from aam_edge.engine.backend import Backend
from aam_edge.engine.catalog import open_backend
from aam_edge.engine.compiled import CompiledBackend
from aam_edge.engine.device import CPU
from aam_edge.engine.package import Package, find_package
from aam_edge.engine.session import Session
from aam_edge.errors import ModelError
from aam_edge.messages import Frame, Observation
from aam_edge.model.native.network import NativeNetwork, silent_moment
from aam_edge.model.native.sizes import (
    begin_from,
    merge_projections,
    network_of,
    size_of,
)
from aam_edge.model.native.step_graph import BodyGraph
from aam_edge.model.native.vit_body import VIT_TAPS
from aam_edge.model.released.lora import LoraLinear, add_lora
from tests.tiny_package import tiny_network, tiny_package

Frames = Callable[[int], Frame]
HEIGHT, WIDTH = 96, 128
BACKBONES = {"s": 21_601_152, "b": 85_669_632, "l": 303_154_176}
"""Parameters of the public DINOv3, with a mask token that only its own training uses."""


def prompts(count: int = 2) -> Any:
    """(1, count, 768), of length 1 like CLIP's."""
    vectors = torch.randn(1, count, 768, generator=torch.Generator().manual_seed(3))
    return vectors / vectors.norm(dim=2, keepdim=True)


def clip(frames: int = 3) -> Any:
    """(1, T, H, W, 3), uint8."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, frames, HEIGHT, WIDTH, 3), generator=generator).byte()


@pytest.fixture(scope="module")
def network() -> NativeNetwork:
    return tiny_network().requires_grad_(False)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_package(tmp_path_factory.mktemp("tiny"), tiny_network())


@pytest.mark.parametrize("size", ["s", "b", "l"])
def test_each_size_has_the_public_backbone_and_our_head(size: str) -> None:
    with torch.device("meta"):
        network = network_of(size)
    assert size_of(network) == size
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts(network)}
    assert counts["backbone"] == BACKBONES[size] - network.body.backbone.shape.width
    assert 500_000 < counts["decoder"] < 2_000_000
    assert network.decoder.to_point.in_features == 768


def parts(network: NativeNetwork) -> list[tuple[str, Any]]:
    return [("backbone", network.body.backbone), ("decoder", network.decoder)]


def test_unknown_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"unknown size of the network \(xl\): give nano, s, b, l"):
        network_of("xl")


def test_taps_come_at_the_four_strides(network: NativeNetwork) -> None:
    taps = network.body(torch.rand(2, 3, HEIGHT, WIDTH) * 255)
    strides = (4, 8, 16, 32)
    expected = [(2, c, HEIGHT // s, WIDTH // s) for c, s in zip(VIT_TAPS, strides, strict=True)]
    assert [tuple(tap.shape) for tap in taps] == expected


def test_step_by_step_equals_forward_and_sums_to_one(network: NativeNetwork) -> None:
    images, asked = clip(), prompts()
    whole = network(images, asked, torch.full((1, 3), 0.04))
    state = network.init_state(1, 2, HEIGHT, WIDTH)
    for t in range(3):
        moment = silent_moment(images[:, t], asked, torch.full((1,), 0.04))
        density, *_, state = network.step(moment, state)
        torch.testing.assert_close(density, whole[:, t])
    torch.testing.assert_close(whole.sum((3, 4)), torch.ones(1, 3, 2))
    assert (whole[:, :, 0] - whole[:, :, 1]).abs().max() > 1e-6  # prompts count
    assert whole.std() > 1e-6


def test_lora_learns_alone_in_the_backbone_and_merges() -> None:
    torch.manual_seed(0)
    network = tiny_network()
    wrapped = add_lora(network.body.backbone, rank=4, dropout=0.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learning = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-2)
    losses = []
    picture, target = torch.rand(1, 3, HEIGHT, WIDTH) * 255, torch.zeros(1, 1, 24, 32)
    target[..., 12, 8] = 1
    network.train()
    for _ in range(5):
        evidence = network.observe(picture, prompts(1))
        loss = -(target * evidence.log_density).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    inside = {name for name in changed if name.startswith("body.backbone.")}
    assert inside
    assert all(".lora_" in name for name in inside)
    assert any(name.startswith("body.fine") for name in changed)
    network.eval()
    with torch.no_grad():
        learned = network.observe(picture, prompts(1)).log_density
        merge_projections(network)
        merged = network.observe(picture, prompts(1)).log_density
    torch.testing.assert_close(merged, learned, atol=1e-4, rtol=1e-4)
    assert len(wrapped) == 8
    assert not any(isinstance(module, LoraLinear) for module in network.modules())


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_network_begins_from_dinov3_or_from_a_public_checkpoint(prefix: str) -> None:
    source, network = tiny_network(1).body.backbone, tiny_network(2)
    # As imported: the mask of the keys' bias is worked in.
    plain = {n: t for n, t in source.state_dict().items() if not n.endswith("bias_mask")}
    tensors = {f"{prefix}{name}": tensor for name, tensor in plain.items()}
    if prefix:
        tensors["head.curv"] = torch.zeros(())
    begin_from(network, tensors, Path("dinov3.safetensors"))
    for name, tensor in network.body.backbone.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_other_files_are_refused_to_begin_from() -> None:
    network, path = tiny_network(), Path("x.safetensors")
    tensors = dict(tiny_network(1).body.backbone.state_dict())
    with pytest.raises(
        ModelError, match=r"holds no DINOv3 \(x.safetensors: \d+ of \d+ .*weights im"
    ):
        begin_from(network, {"a": torch.zeros(3)}, path)
    tensors["cls_token"] = torch.zeros(1, 1, 384)
    with pytest.raises(
        ModelError, match=r"another size \(x.safetensors: cls_token \(1, 1, 384\) fo"
    ):
        begin_from(network, tensors, path)
    with pytest.raises(ModelError, match="nano has no DINOv3"):
        begin_from(NativeNetwork(), tensors, path)


def clip_text(prompt: str) -> NDArray[np.float32]:
    """Stands where CLIP reads prompts: a vector of 768 for each, of length 1."""
    seed = sum(map(ord, prompt))
    vector = np.random.default_rng(seed).normal(size=768).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def densities(backend: Backend, frames: Frames) -> NDArray[np.float32]:
    session = Session(
        backend, ["free viewing", "search for cup"], pixels=HEIGHT * WIDTH, embed=clip_text
    )
    steps = [session.step(Observation(frames(i))) for i in range(3)]
    return np.array([[reading.density for reading in step] for step in steps])


def test_torch_engines_run_it(package: Package, moving_frame: Frames) -> None:
    reference = densities(open_backend(package, "eager"), moving_frame)
    assert reference.shape == (3, 2, 24, 32)
    compiled = CompiledBackend(package, CPU, compiler=lambda module: module)
    np.testing.assert_allclose(densities(compiled, moving_frame), reference, atol=1e-6)
    assert package.half == "bf16"
    half = densities(open_backend(package, "eager", "bf16"), moving_frame)
    gap = np.abs(half - reference).max((2, 3)) / np.ptp(reference, axis=(2, 3))
    assert 0 < gap.max() < 5e-2


def test_its_visual_encoder_can_be_exported(network: NativeNetwork) -> None:
    """What TensorRT builds from."""
    merge_projections(network)
    picture = torch.rand(1, 3, HEIGHT, WIDTH) * 255
    program = torch.export.export(BodyGraph(network), (picture,))
    for ours, theirs in zip(program.module()(picture), network.body(picture), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_onnx_engines_run_an_exported_one(tmp_path: Path, moving_frame: Frames) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra [train]")
    from aam_edge.training.export import export_network

    export_network(
        tiny_network().requires_grad_(False), "tiny", tmp_path, {"follows_prompts": True}
    )
    package = find_package(str(tmp_path / "tiny.json"))
    assert (package.size, package.prompt_channels) == ("tiny", 768)
    reference = densities(open_backend(package, "eager"), moving_frame)
    found = densities(open_backend(package, "onnx"), moving_frame)
    np.testing.assert_allclose(found, reference, atol=1e-5)
