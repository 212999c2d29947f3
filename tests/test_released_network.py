"""The public network whole, in the tiny size: its maps, points and slopes, and what must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open
from torch import Tensor

from aam_edge.model.released import losses
from aam_edge.model.released.lora import add_lora, merge_lora
from aam_edge.model.released.names import merged as merged_names
from aam_edge.model.released.names import our_names
from aam_edge.model.released.network import TINY_SHAPE, ReleasedNetwork
from tests.reference import Tensors, assert_near, below, loaded, reference
from tests.tiny_released import random_released

LOSSES = "losses: task,kld,cc,sim,contrast,ti,at,entail,total"
RUNS = (
    *("static_64x64", "static_48x80", "static_50x71_not_multiple_of_16"),
    *("static_batch2_different_text_32x48", "clip_T5_but_dynamic_false", "clip_T1_32x48"),
    *("clip_T5_32x48", "clip_T6_32x48", "clip_T7_32x48", "clip_sound_T5_32x48"),
)


@pytest.fixture(scope="module")
def state(shared: Path) -> Tensors:
    return reference(shared, "h_tiny_state")


@pytest.fixture(scope="module")
def seen(shared: Path) -> Tensors:
    return reference(shared, "h_tiny_io")


def with_lora(state: Tensors) -> ReleasedNetwork:
    network = ReleasedNetwork(TINY_SHAPE)
    add_lora(network.backbone, rank=4, alpha=6, last=3)
    loaded(network, our_names(state))
    return network


def without_lora(state: Tensors) -> ReleasedNetwork:
    network = ReleasedNetwork(TINY_SHAPE)
    merge_lora(network.backbone)
    loaded(network, merged_names(our_names(state), 6 / 4))
    return network


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("make", [with_lora, without_lora])
def test_maps_are_those_of_the_public_code(
    state: Tensors, seen: Tensors, run: str, make: type
) -> None:
    network, expected = make(state), below(seen, f"{run}/")
    network.head.decoder_out.swaps_six = True
    is_clip = run.startswith("clip") and "false" not in run
    with torch.no_grad():
        found = network(expected["x"], expected["text"], expected.get("audio"), is_clip=is_clip)
    assert_near(found.maps, expected["pred"], atol=2e-5, rtol=0)
    assert_near(found.logits, expected["logits_half_res"], atol=1e-4, rtol=0)
    points = found.points
    for name, point in zip(("img", "txt", "anc"), points[:3], strict=True):
        assert_near(point, expected[f"z_{name}"], rtol=5e-5)
    assert_near(points.c, expected["curv"])


def test_members_of_a_batch_of_six_stay_apart(state: Tensors, seen: Tensors) -> None:
    expected = below(seen, "clip_T6_32x48/")
    with torch.no_grad():
        found = with_lora(state)(expected["x"], expected["text"], is_clip=True)
    assert_near(found.maps, expected["pred_without_batch6_swap"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("run", ["static_64x64", "clip_T5_32x48", "clip_sound_T5_32x48"])
def test_every_stage_is_that_of_the_public_code(state: Tensors, seen: Tensors, run: str) -> None:
    network, expected = with_lora(state), below(seen, f"{run}/")
    found: dict[str, Any] = {}
    for name, module in network.head.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
    network(expected["x"], expected["text"], expected.get("audio"), is_clip="clip" in run)
    ours = {
        "project": "projects.",
        "motion": "motion_modules.",
        "stage": "decoder_stage",
        "fuse": "fuse",
        "se": "se",
        "av_fusion": "av_fusion",
        "start_proj": "start_proj",
    }
    stages = {n: t for n, t in below(expected, "mid/").items() if not n.startswith("block")}
    assert len(stages) >= 11
    for name, tensor in stages.items():
        kind = name.rstrip("0123456789")
        out = found[ours[kind] + name.removeprefix(kind)]
        assert_near(out[0] if isinstance(out, tuple) else out, tensor, atol=3e-5)


def test_slopes_of_a_training_step_are_those_of_the_public_code(
    shared: Path, state: Tensors, seen: Tensors
) -> None:
    expected, given = reference(shared, "h_tiny_grad"), below(seen, "clip_sound_T5_32x48/")
    network = with_lora(state)
    found = network(given["x"], given["text"], given["audio"], is_clip=True)
    task = losses.task_loss(found.maps, expected["mask"])
    order = losses.hierarchy_loss(*found.points)
    total = task.total + order.weighted
    total.backward()
    lines = torch.stack([*task, order.contrast, order.text_image, order.anchor_text, order.entail])
    assert_near(torch.cat([lines, total[None]]), expected[LOSSES], atol=2e-5)
    sums = slopes(network)
    public = below(expected, "gradabs/")
    assert set(sums) == {name for name, total in public.items()}
    for name, slope in sums.items():
        torch.testing.assert_close(slope, public[name], rtol=1e-3, atol=1e-7, msg=name)
    with safe_open(shared / "aam/fixtures/h_tiny_grad.safetensors", "pt") as file:
        untouched = set(json.loads(file.metadata()["no_grad"]))
    assert not untouched & set(our_names(state)), "a tensor that never learns is not loaded"


def slopes(network: ReleasedNetwork) -> dict[str, Tensor]:
    """Sums of absolute slopes under the public names."""
    sums: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is None:
            continue
        public = name.replace(".query.", ".qkv.").replace(".key_value.", ".qkv.")
        public = public.replace("cross_attn.value.", "cross_attn.in_proj_")
        sums[public] = sums.get(public, torch.zeros(())) + parameter.grad.abs().sum()
    return sums


def test_forward_leaves_weights_out_of_range_alone() -> None:
    network = random_released()
    with torch.no_grad():
        network.head.curv.fill_(9.0)
        network.head.textual_alpha.fill_(2.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = network(torch.randn(1, 3, 32, 48), torch.randn(1, 24))
    assert_near(found.points.c, torch.tensor(10.0))
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_pictures_of_a_batch_do_not_see_each_other_and_frames_do() -> None:
    network = random_released()
    pictures, text = torch.randn(6, 3, 32, 48), torch.randn(1, 24).expand(6, -1)
    alone = torch.cat([network(p[None], text[:1]).maps for p in pictures])
    assert_near(network(pictures, text).maps, alone.detach())
    assert (network(pictures, text, is_clip=True).maps - alone).abs().max() > 1e-3
