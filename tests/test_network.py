"""The native network as a whole, in torch: causal, and the same frame by frame as a clip."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.engine.buffers import STATE_NAMES, Shape, initial_state
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.vision import TAP_CHANNELS, TAP_STRIDES
from tests.conftest import scene

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def network() -> NativeNetwork:
    torch.manual_seed(0)
    return NativeNetwork().eval().requires_grad_(False)


def clip(first: int, frames: int) -> Tensor:
    pictures = [scene(i, WIDTH, HEIGHT) for i in range(first, first + frames)]
    stacked: Tensor = torch.from_numpy(np.stack(pictures))
    return stacked[None]


def test_taps_have_their_strides_and_channels(network: NativeNetwork) -> None:
    taps = network.body(torch.zeros(1, 3, HEIGHT, WIDTH))
    shapes = [tuple(tap.shape) for tap in taps]
    assert shapes == [
        (1, c, HEIGHT // s, WIDTH // s) for c, s in zip(TAP_CHANNELS, TAP_STRIDES, strict=True)
    ]


def test_stream_equals_the_same_frames_as_one_clip(network: NativeNetwork) -> None:
    frames, prompt = clip(0, 6), torch.zeros(1, 2, 128)
    dt_s = torch.tensor([[0, 0.03, 0.1, 0.033, 0.5, 0.03]])
    whole = network(frames, prompt, dt_s)
    state = network.init_state(1, 2, HEIGHT, WIDTH)
    for t in range(6):
        density, _, state = network.step(frames[:, t], prompt, dt_s[:, t], state)
        np.testing.assert_array_equal(density, whole[:, t])


def test_filter_leaves_a_still_picture_as_it_was_observed(network: NativeNetwork) -> None:
    frames, prompt = clip(3, 1), torch.zeros(1, 1, 128)
    state = network.init_state(1, 1, HEIGHT, WIDTH)
    step = network.step(frames[:, 0], prompt, torch.zeros(1), state)
    log_density, _ = network.observe(frames[:, 0].permute(0, 3, 1, 2).float(), prompt[:, 0])
    # The floor adds 1e-6 to every cell, the prior knowledge of nothing a ten-thousandth of R.
    np.testing.assert_allclose(step.density, log_density.exp(), rtol=0.02, atol=2e-6)
    assert float((step.density - log_density.exp()).abs().sum()) < 5e-3


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


def test_engines_begin_with_the_network_s_own_state(network: NativeNetwork) -> None:
    ours = network.init_state(1, 2, HEIGHT, WIDTH)
    theirs = initial_state(Shape(2, HEIGHT, WIDTH))
    for name in STATE_NAMES:
        np.testing.assert_allclose(theirs[name], getattr(ours, name), rtol=1e-6)


def test_gradients_reach_every_weight_through_a_clip() -> None:
    torch.manual_seed(0)
    network = NativeNetwork()
    density = network(clip(0, 2), torch.ones(1, 1, 128), torch.full((1, 2), 0.033))
    (-(density[:, -1] * torch.rand(density[:, -1].shape)).sum()).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert missing == []
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters())
