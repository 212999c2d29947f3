"""Parts of the public network against its own numbers: decoder, time, sound, LoRA, router."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn

from aam_edge.model.released.decoder import OutputHead, SqueezeExcite, UpStage, Widths
from aam_edge.model.released.dinov3 import KeylessBiasLinear
from aam_edge.model.released.lora import LoraLinear
from aam_edge.model.released.names import our_names
from aam_edge.model.released.operators import Condition, ConditionGate, ScaleGate, SpatialOperator
from aam_edge.model.released.router import ExpertLora, HyperbolicRouter
from aam_edge.model.released.sound_fusion import SoundFusion
from aam_edge.model.released.temporal import TemporalBlock
from tests.reference import Tensors, assert_near, below, loaded, reference

WIDTHS = Widths(text=24, hyperbolic=16)
PROMPTS = ("cond", "zero", "big", "small")


@pytest.fixture(scope="module")
def decoder(shared: Path) -> Tensors:
    return reference(shared, "e_decoder")


@pytest.fixture(scope="module")
def time(shared: Path) -> Tensors:
    return reference(shared, "c_fpd")


def turned(weights: Tensors, place: str) -> Tensors:
    """Weights of a part by our names, when it lies at this place of the network."""
    return below(our_names({place + name: tensor for name, tensor in weights.items()}), place)


def block(time: Tensors, *, drifts: bool = True, attends: bool = True) -> TemporalBlock:
    made = TemporalBlock(16, drifts=drifts, attends=attends)
    loaded(made, turned(below(time, "w."), "head.motion_modules.2."))
    return made


@pytest.mark.parametrize("prompt", PROMPTS)
def test_gates(decoder: Tensors, prompt: str) -> None:
    z = decoder[f"z_{prompt}"]
    gate = loaded(ConditionGate(16), below(decoder, "gate.w."))
    assert_near(gate(z, torch.tensor(0.7)), decoder[f"gate/z_{prompt}"])
    scales = ScaleGate(24, 16)
    loaded(scales, below(decoder, "scale.w."))
    assert_near(scales(Condition(decoder["text"], z)), decoder[f"scale/z_{prompt}/weights"])
    assert_near(scales.nearness(z), decoder[f"scale/z_{prompt}/w_hyp"])
    assert_near(scales(Condition(decoder["text"], None)), decoder["scale/none/weights"])


@pytest.mark.parametrize("channels", [16, 1])
def test_operators(decoder: Tensors, channels: int) -> None:
    operator, at = SpatialOperator(channels), f"op{channels}"
    loaded(operator, below(decoder, f"{at}.w."))
    x, z = decoder[f"{at}/x"], decoder["z_cond"]
    assert_near(operator(x, z), decoder[f"{at}/Y"])
    assert_near(operator(x, None), decoder[f"{at}/Y_none"])
    assert_near(operator(1e-3 * x, z), decoder[f"{at}/Y_tiny(x*1e-3)"])
    assert_near(operator(decoder[f"{at}/x_large"], decoder["z_big"]), decoder[f"{at}/Y_large"])
    fused = operator.fuse(decoder[f"{at}/Y"], decoder[f"{at}/weights"])
    assert_near(fused, decoder[f"{at}/fuse"])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_step_up_and_end(decoder: Tensors, prompt: str) -> None:
    condition = Condition(decoder["text"], decoder[f"z_{prompt}"])
    stage = loaded(UpStage(24, 16, WIDTHS), below(decoder, "up.w."))
    assert_near(stage(decoder["up/x"], condition), decoder[f"up/z_{prompt}"])
    assert_near(stage(decoder["up/x"], condition._replace(z=None)), decoder["up/z_none"])
    end = loaded(OutputHead(8, WIDTHS), alive(decoder))
    assert_near(end(decoder["head/x"], condition), decoder[f"head/z_{prompt}"])


def alive(decoder: Tensors) -> Tensors:
    """The output head's weights without the one that nothing reads."""
    return {n: t for n, t in below(decoder, "head.w.").items() if n != "gauss_anchors_tan"}


@pytest.mark.parametrize("swaps", [False, True])
def test_batch_of_six(decoder: Tensors, swaps: bool) -> None:
    end = OutputHead(8, WIDTHS, swaps_six=swaps)
    loaded(end, alive(decoder))
    six = below(decoder, "head/B6/")
    expected = six["out" if swaps else "out_without_swap"]
    assert_near(end(six["x"], Condition(six["text"], six["z"])), expected)


def test_squeeze_and_excitation(decoder: Tensors) -> None:
    squeeze = loaded(SqueezeExcite(16, 8), below(decoder, "se.w."))
    assert_near(squeeze(decoder["se/x"]), decoder["se/out"])


@pytest.mark.parametrize("case", ["T1", "T2", "T3", "T5", "T6", "T16", "T64", "B2T5"])
def test_block_over_time(time: Tensors, case: str) -> None:
    made = block(time)
    features, density = made(time[f"{case}/x"])
    assert_near(features, time[f"{case}/out"])
    assert_near(density, time[f"{case}/density"])
    if case != "B2T5":
        assert_near(made.times(int(case[1:]))[None], time[f"{case}/time_embed"])


@pytest.mark.parametrize("case", ["T5", "T6"])
def test_inside_of_block_over_time(time: Tensors, case: str) -> None:
    made, x = block(time), time[f"{case}/x"]
    frames = x.shape[2]
    tokens = x.flatten(3).permute(0, 3, 2, 1) + made.times(frames)
    normed = made.temporal_norm(tokens)
    attended, weights = made.temporal_attn.attend(normed, normed)
    assert_near(attended[0], time[f"{case}/attn_out"])
    assert_near(weights[0], time[f"{case}/attn_mean_heads"])
    logits = made.observed_logits(tokens)[0].T.reshape(frames, 1, *x.shape[3:])
    assert_near(logits, time[f"{case}/obs_logit"])
    assert_near(made.nu_head(normed)[0], time[f"{case}/nu_raw"])
    assert_near(made.lam_head(normed)[0], time[f"{case}/lam_raw"])


def test_block_over_time_with_parts_off_and_under_stress(time: Tensors) -> None:
    x = time["T5/x"]
    assert_near(block(time, drifts=False)(x)[0], time["opt_no_drift_T5/out"])
    assert_near(block(time, attends=False)(x)[0], time["opt_no_feat_attn_T5/out"])
    made = block(time)
    with torch.no_grad():
        made.nu_head.bias.fill_(6)
        made.lam_head.bias.fill_(-4)
        made.sal_obs_head.weight.mul_(6)
    features, density = made(time["T6/x"])
    assert_near(features, time["stress_T6/out"])
    assert_near(density, time["stress_T6/density"])
    assert_near((density == 0).float().mean(), time["stress_T6/zero_fraction"])


def test_slopes_of_block_over_time(time: Tensors) -> None:
    made = block(time)
    x = time["T5/x"].clone().requires_grad_()
    made(x)[0].square().mean().backward()
    assert x.grad is not None
    assert_near(x.grad, time["T5/grad_x_of_mean_sq"])
    expected = below(time, "T5/gradabs.")
    sums: dict[str, Tensor] = {}
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        public = name.replace(".query.", ".qkv.").replace(".key_value.", ".qkv.")
        sums[public] = sums.get(public, torch.zeros(())) + parameter.grad.abs().sum()
    assert set(sums) == set(expected)
    for name, total in sums.items():
        torch.testing.assert_close(total, expected[name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("state", ["", "fresh"])
def test_fusion_with_sound(shared: Path, state: str) -> None:
    expected = reference(shared, "f_audio_fusion")
    weights, at = below(expected, f"{state}.w." if state else "w."), f"{state}/" if state else ""
    fusion = loaded(SoundFusion(24, 20, 32), turned(weights, "head.av_fusion."))
    features, gate = fusion(expected["x_visual"], expected["x_audio"])
    assert_near(features, expected[f"{at}out"])
    assert_near(gate, expected[f"{at}alpha"])
    if not state:
        alone, _ = fusion(expected["x_visual"][:1], expected["x_audio"][:1])
        assert_near(alone, expected["T1/out"])


def without_alias(weights: Tensors) -> Tensors:
    return {name: tensor for name, tensor in weights.items() if name not in ("weight", "bias")}


def test_lora(shared: Path) -> None:
    expected = reference(shared, "d_lora")
    layer = LoraLinear(nn.Linear(24, 40))
    loaded(layer, without_alias(below(expected, "lora.w.")))
    assert_near(layer(expected["lora/x"]), expected["lora/out"])
    assert_near(layer.merged().weight, expected["lora/merged_weight"])
    assert_near(layer.merged()(expected["lora/x"]), expected["lora/merged_out"])
    masked = LoraLinear(KeylessBiasLinear(24), rank=4, alpha=6)
    loaded(masked, without_alias(below(expected, "lora_qkv.w.")))
    assert_near(masked(expected["lora_qkv/x"]), expected["lora_qkv/out"])
    assert_near(masked.merged()(expected["lora_qkv/x"]), expected["lora_qkv/out"])


def test_router_and_its_experts(shared: Path) -> None:
    expected = reference(shared, "d_lora")
    router = HyperbolicRouter(24, 16)
    loaded(router, below(expected, "router.w."))
    assert_near(router(expected["router/text"]), expected["router/weights"])
    z, anchor = router.points(expected["router/text"])
    assert_near(z, expected["router/z_txt"])
    assert_near(anchor, expected["router/z_anc"])
    layer = ExpertLora(nn.Linear(24, 40))
    loaded(layer, without_alias(below(expected, "moe.w.")))
    x, weights = expected["moe/x"], expected["moe/weights"]
    assert_near(layer(x, weights), expected["moe/out"])
    assert_near(layer(x, None), expected["moe/out_no_router_run"])
    merged = torch.einsum("bni,boi->bno", x, layer.merged_weights(weights)) + layer.base.bias
    assert_near(merged, expected["moe/merged_out"])
