"""The native network as a whole, in torch: causal, and the same frame by frame as a clip."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

import torch.nn.functional as F
from torch import Tensor

from aam_edge.engine import buffers, log_mel
from aam_edge.engine.buffers import STATE_NAMES, Shape, initial_state
from aam_edge.model.native import hearing
from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.network import (
    SEARCH_BETA,
    Moment,
    NativeNetwork,
    State,
    Step,
    silent_moment,
)
from aam_edge.model.native.vision import TAP_CHANNELS, TAP_STRIDES
from tests.conftest import scene

HEIGHT, WIDTH = 96, 128
TRAINING_ONLY = {"decoder.cell_line", "decoder.log_sharpness", "decoder.anchor"}
"""What only losses read: a stream has no use for it."""


@pytest.fixture(scope="module")
def network() -> NativeNetwork:
    torch.manual_seed(0)
    return asking(NativeNetwork()).eval().requires_grad_(False)


def asking(network: NativeNetwork) -> NativeNetwork:
    """An untrained network in which prompts matter: at first they shift and scale nothing."""
    decoder = network.decoder
    with torch.no_grad():
        for film in (decoder.film_middle, decoder.film_fine):
            film.to_gain_shift.weight.normal_(std=0.3)
        decoder.prior.to_mixture.weight.normal_(std=0.3)
    return network


def clip(first: int, frames: int) -> Tensor:
    pictures = [scene(i, WIDTH, HEIGHT) for i in range(first, first + frames)]
    stacked: Tensor = torch.from_numpy(np.stack(pictures))
    return stacked[None]


def some_prompts(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    prompts: Tensor = F.normalize(torch.randn(*shape, 128, generator=generator), dim=-1)
    return prompts


def play(network: NativeNetwork, moments: list[Moment]) -> list[Step]:
    """Steps from a fresh state."""
    cameras, prompts, _ = moments[0].prompt.shape
    state = network.init_state(cameras, prompts, HEIGHT, WIDTH)
    steps = []
    for moment in moments:
        steps.append(network.step(moment, state))
        state = steps[-1].state
    return steps


def silent_clip(frames: int, prompt: Tensor) -> list[Moment]:
    pictures = clip(0, frames)
    dt_s = [torch.full((1,), 0.033 if t else 0.0) for t in range(frames)]
    return [silent_moment(pictures[:, t], prompt, dt_s[t]) for t in range(frames)]


def eager_to_hear(readiness: float) -> NativeNetwork:
    """Untrained, its gate open wherever it may be."""
    torch.manual_seed(0)
    network = asking(NativeNetwork())
    with torch.no_grad():
        network.hearing.score.weight.mul_(0.5)
        network.hearing.score.get_parameter("bias").fill_(readiness)
    return network


def jumps_and_bangs(frames: int) -> list[Moment]:
    """A disc jumps at each frame, as loud as it likes."""
    rng, prompt, moments = np.random.default_rng(0), some_prompts(1, 2), []
    for t in range(frames):
        mel = rng.normal(0, 0.3, (1, 64, 100)).astype(np.float32)
        mel[:, :, -10:] += rng.uniform(-0.5, 0.5)
        moment = silent_moment(clip(int(rng.integers(20)), 1)[:, 0], prompt, torch.zeros(1))
        moment = moment._replace(dt_s=torch.full((1,), 0.1 if t else 0.0))
        moments.append(moment._replace(mel=torch.from_numpy(mel), heard=torch.ones(1)))
    return moments


def test_taps_have_their_strides_and_channels(network: NativeNetwork) -> None:
    taps = network.body(torch.zeros(1, 3, HEIGHT, WIDTH))
    shapes = [tuple(tap.shape) for tap in taps]
    assert shapes == [
        (1, c, HEIGHT // s, WIDTH // s) for c, s in zip(TAP_CHANNELS, TAP_STRIDES, strict=True)
    ]


def test_stream_equals_the_same_frames_as_one_clip(network: NativeNetwork) -> None:
    frames, prompt = clip(0, 6), some_prompts(1, 2)
    dt_s = torch.tensor([[0, 0.03, 0.1, 0.033, 0.5, 0.03]])
    whole = network(frames, prompt, dt_s)
    moments = [silent_moment(frames[:, t], prompt, dt_s[:, t]) for t in range(6)]
    for t, step in enumerate(play(network, moments)):
        np.testing.assert_array_equal(step.density, whole[:, t])


def test_state_kept_in_the_middle_goes_on_bit_for_bit(network: NativeNetwork) -> None:
    moments = silent_clip(4, some_prompts(1, 1))
    steps = play(network, moments)
    again = network.step(moments[3], State(*(part.clone() for part in steps[2].state)))
    for ours, theirs in zip(again.state, steps[3].state, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_filter_leaves_a_still_picture_as_it_was_observed(network: NativeNetwork) -> None:
    """Raised to the beta that the prompt asks for."""
    frames, prompt = clip(3, 1), some_prompts(1, 1)
    step = play(network, [silent_moment(frames[:, 0], prompt, torch.zeros(1))])[0]
    evidence = network.observe(frames[:, 0].permute(0, 3, 1, 2).float(), prompt)
    expected = (float(step.beta) * evidence.log_density).flatten().softmax(0).view(1, 1, 24, 32)
    # The floor adds 1e-6 to every cell, the prior knowledge of nothing a ten-thousandth of R.
    np.testing.assert_allclose(step.density, expected, rtol=0.02, atol=2e-6)
    assert float((step.density - expected).abs().sum()) < 5e-3


def test_beta_goes_from_free_viewing_to_search_for_what_is_there(network: NativeNetwork) -> None:
    step = play(network, silent_clip(1, some_prompts(1, 3)))[0]
    is_search = (2 * step.searching - 1).clamp_min(0)
    np.testing.assert_allclose(step.beta, 1 + (SEARCH_BETA - 1) * is_search * step.presence)
    for chance in (step.searching, step.presence):
        assert chance.shape == (1, 3)
        assert bool(((chance >= 0) & (chance <= 1)).all())


def test_past_does_not_depend_on_the_future(network: NativeNetwork) -> None:
    prompt, dt_s = torch.zeros(1, 1, 128), torch.full((1, 6), 0.033)
    frames = clip(0, 6)
    other = torch.cat([frames[:, :3], clip(40, 3)], dim=1)
    np.testing.assert_array_equal(
        network(frames, prompt, dt_s)[:, :3], network(other, prompt, dt_s)[:, :3]
    )


def test_cameras_in_one_batch_do_not_touch_each_other(network: NativeNetwork) -> None:
    frames, dt_s = torch.cat([clip(0, 3), clip(20, 3)]), torch.full((2, 3), 0.033)
    together = network(frames, torch.zeros(2, 1, 128), dt_s)
    alone = network(frames[1:], torch.zeros(1, 1, 128), dt_s[1:])
    np.testing.assert_allclose(together[1:], alone, atol=1e-6)


def test_many_prompts_at_once_equal_each_alone(network: NativeNetwork) -> None:
    pictures = torch.cat([clip(0, 1), clip(20, 1)], dim=1)[0].permute(0, 3, 1, 2).float()
    prompts = some_prompts(2, 3)
    together = network.observe(pictures, prompts)
    assert together.log_density.shape == (6, 1, 24, 32)
    for b in (0, 1):
        for n in range(3):
            alone = network.observe(pictures[b : b + 1], prompts[b : b + 1, n : n + 1])
            for many, one in zip(together, alone, strict=True):
                np.testing.assert_allclose(many[3 * b + n], one[0], rtol=1e-4, atol=1e-5)
    apart = together.log_density[0] - together.log_density[1]
    assert float(apart.abs().max()) > 0.01


@pytest.mark.parametrize("noise", ["loud", "nan", "inf"])
def test_without_microphone_it_is_the_silent_network_exactly(
    network: NativeNetwork, noise: str
) -> None:
    moments = silent_clip(4, some_prompts(1, 2))
    shape = moments[0].mel.shape
    mel = torch.rand(shape) if noise == "loud" else torch.full(shape, float(noise))
    deaf = [moment._replace(mel=mel) for moment in moments]
    for silent, step in zip(play(network, moments), play(network, deaf), strict=True):
        np.testing.assert_array_equal(step.density, silent.density)
        np.testing.assert_array_equal(step.state.hearing, silent.state.hearing)
        assert float(step.gate) == 0


def test_sound_changes_the_map_where_the_gate_is_open() -> None:
    network = eager_to_hear(3.0).eval().requires_grad_(False)
    heard = jumps_and_bangs(20)
    silent = play(network, [moment._replace(heard=torch.zeros(1)) for moment in heard])
    loud = play(network, heard)
    assert max(float(step.gate) for step in loud) > 0.1
    apart = [float((a.density - b.density).abs().sum()) for a, b in zip(silent, loud, strict=True)]
    assert max(apart) > 1e-3
    for step in loud:
        np.testing.assert_allclose(step.density.sum((2, 3)), 1, atol=1e-5)


def test_identity_and_any_multiple_of_it_is_no_motion(network: NativeNetwork) -> None:
    moments = silent_clip(4, some_prompts(1, 1))
    plain = play(network, moments)[-1].density
    own = play(network, [m._replace(ego=torch.eye(3)[None]) for m in moments])[-1].density
    np.testing.assert_array_equal(own, plain)
    scaled = play(network, [m._replace(ego=2 * identity_ego(1)) for m in moments])[-1].density
    np.testing.assert_allclose(scaled, plain, atol=1e-6)


def test_ego_motion_reaches_the_filter(network: NativeNetwork) -> None:
    moments = silent_clip(2, some_prompts(1, 1))
    turned = identity_ego(1)
    turned[0, 0, 2] = 0.5
    plain = play(network, moments)
    moved = play(network, [moments[0], moments[1]._replace(ego=turned)])
    np.testing.assert_array_equal(moved[0].density, plain[0].density)
    # A quarter of the picture has come in anew: nothing is known of it.
    came_in = moved[1].state.variance[0, 0, :, :4]
    assert float((came_in - plain[1].state.variance[0, 0, :, :4]).max()) > 0.01


def test_cut_is_told_and_the_first_frame_is_none(network: NativeNetwork) -> None:
    moments = silent_clip(3, some_prompts(1, 1))
    noise = np.random.default_rng(3).integers(0, 255, (12, 16, 3), np.uint8)
    other = torch.from_numpy(noise.repeat(8, 0).repeat(8, 1))[None]
    steps = play(network, [*moments, moments[-1]._replace(image=other)])
    assert [float(step.cut) for step in steps] == [0, 0, 0, 1]


@pytest.mark.parametrize("shade", [0, 255])
def test_huge_prompts_and_blank_pictures_stay_finite(network: NativeNetwork, shade: int) -> None:
    picture = torch.full((1, HEIGHT, WIDTH, 3), shade, dtype=torch.uint8)
    prompt = torch.stack([torch.zeros(128), torch.full((128,), 1e3)])[None]
    dt_s = (0.0, 0.001, 10.0, 0.033)
    steps = play(network, [silent_moment(picture, prompt, torch.full((1,), dt)) for dt in dt_s])
    for step in steps:
        assert all(bool(part.isfinite().all()) for part in (*step[:-1], *step.state))
        np.testing.assert_allclose(step.density.sum((2, 3)), 1, atol=1e-5)


def test_engines_begin_with_the_network_s_own_state(network: NativeNetwork) -> None:
    ours = network.init_state(1, 2, HEIGHT, WIDTH)
    theirs = initial_state(Shape(2, HEIGHT, WIDTH))
    for name in STATE_NAMES:
        np.testing.assert_allclose(theirs[name], getattr(ours, name), rtol=1e-6)


def test_engines_know_the_network_s_inputs_outputs_and_sizes() -> None:
    assert Moment._fields == buffers.INPUTS
    assert (*buffers.OUTPUTS, "state") == Step._fields
    assert State._fields == buffers.STATE_NAMES
    assert buffers.HEARING_CHANNELS == hearing.MEMORY_CHANNELS
    assert (log_mel.BANDS, log_mel.HOPS) == (hearing.BANDS, hearing.HOPS)
    assert log_mel.SILENCE == hearing.SILENCE


def test_gradients_reach_every_weight_through_a_clip() -> None:
    network = eager_to_hear(3.0)
    torch.nn.init.normal_(network.decoder.recognition.ask_keys.weight)  # at 0 no key learns
    torch.nn.init.normal_(network.decoder.recognition.ask_gist.weight)
    steps = play(network, jumps_and_bangs(8))
    last = steps[-1]
    outputs = [last.density, last.state.variance, last.presence, last.searching]
    outputs += [step.gate for step in steps]
    torch.stack([(part * torch.rand(part.shape)).sum() for part in outputs]).sum().backward()
    missing = {n for n, p in network.named_parameters() if p.grad is None}
    assert missing == TRAINING_ONLY
    grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert all(bool(grad.isfinite().all()) for grad in grads.values())
    dead = {name for name, grad in grads.items() if not bool(grad.any())}
    assert dead == set()
