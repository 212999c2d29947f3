"""Hearing: what moves in time with the sound gets evidence, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the extra [torch]")

from torch import Tensor, nn
from torch.export import Dim

from aam_edge.engine import log_mel
from aam_edge.engine.package import find_package
from aam_edge.model.native.hearing import (
    BANDS,
    CELL,
    HOPS,
    MEMORY_CHANNELS,
    MOST_NATS,
    SILENCE,
    STREAMS,
    VISION,
    Hearing,
    Sight,
    add_evidence,
    correlations,
    initial_memory,
    unpacked,
)
from aam_edge.training.evaluate_sound import tell_all
from aam_edge.training.fit_sound import collate, hear, see
from aam_edge.training.sound_scenes import draw_scene

HEIGHT, WIDTH = 24, 32
CELLS = (HEIGHT // CELL, WIDTH // CELL)
seeds = st.integers(0, 10_000)


def eager(seed: int = 0) -> Hearing:
    """Untrained, and quick to believe: its gate is open wherever it may be."""
    torch.manual_seed(seed)
    hearing = Hearing().eval()
    with torch.no_grad():
        hearing.score.weight.mul_(0.5)
        hearing.score.get_parameter("bias").fill_(3.0)
    return hearing


@pytest.fixture(scope="module")
def shipped() -> Hearing:
    """With the weights of the packaged nano."""
    package = find_package("nano")
    if not package.manifest["uses_sound"]:
        pytest.skip("the packaged nano does not hear")
    stored = safetensors_torch.load_file(package.tensors)
    hearing = Hearing().eval()
    hearing.load_state_dict(
        {n.removeprefix("hearing."): t.float() for n, t in stored.items() if n[:8] == "hearing."}
    )
    return hearing


def clip(seed: int, frames: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Luminance (1, T, h, w) of a square that jumps about, mel (1, T, 64, 100), dt_s (1, T)."""
    rng = np.random.default_rng(seed)
    luminance = np.full((1, frames, HEIGHT, WIDTH), 0.3, np.float32)
    luminance += rng.uniform(0, 0.2, (HEIGHT, WIDTH)).astype(np.float32)
    mel = rng.normal(0, 0.3, (1, frames, BANDS, HOPS)).astype(np.float32)
    for t in range(frames):
        x, loud = 8 + rng.integers(6), rng.uniform(-0.5, 0.5)
        luminance[0, t, 8:16, x : x + 6] = 0.9
        mel[0, t, :, -10:] += loud
    dt_s = rng.uniform(0.02, 0.15, (1, frames)).astype(np.float32)
    dt_s[0, 0] = 0
    return torch.from_numpy(luminance), torch.from_numpy(mel), torch.from_numpy(dt_s)


def frame_of(sight: Sight, t: int) -> Sight:
    return Sight(*(x[t : t + 1] for x in sight))


def run(
    hearing: Hearing, luminance: Tensor, mel: Tensor, dt_s: Tensor, heard: float = 1.0
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Evidence and gate of each frame of one clip, and the last memory."""
    memory, sight = initial_memory(1, *luminance.shape[2:]), see(luminance, dt_s)
    evidence, gates = [], []
    for t in range(dt_s.shape[1]):
        with torch.no_grad():
            there = torch.full((1,), heard)
            found = hearing(memory, mel[:, t], there, frame_of(sight, t), dt_s[:, t])
        memory = found.memory
        evidence.append(found.evidence)
        gates.append(found.gate)
    return evidence, gates, memory


def test_it_hears_what_log_mel_makes() -> None:
    assert (BANDS, HOPS, SILENCE) == (log_mel.BANDS, log_mel.HOPS, log_mel.SILENCE)


def test_untrained_but_eager_gate_opens_where_something_moves() -> None:
    evidence, gates, _ = run(eager(), *clip(0))
    assert max(float(gate) for gate in gates) > 0.5
    assert any(bool(e.any()) for e in evidence)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_without_microphone_nothing_is_added_bit_for_bit(seed: int) -> None:
    evidence, gates, _ = run(eager(seed), *clip(seed), heard=0.0)
    log_density = torch.randn(1, 3, HEIGHT, WIDTH).flatten(2).log_softmax(2).view(1, 3, HEIGHT, -1)
    for e, gate in zip(evidence, gates, strict=True):
        assert not e.any()
        assert float(gate) == 0
        assert torch.equal(add_evidence(log_density, e), log_density)


def test_silence_adds_nothing() -> None:
    luminance, mel, dt_s = clip(1)
    evidence, _, _ = run(eager(), luminance, torch.full_like(mel, SILENCE), dt_s)
    assert not any(bool(e.any()) for e in evidence)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_still_picture_gets_nothing_whatever_is_heard(seed: int) -> None:
    luminance, mel, dt_s = clip(seed)
    evidence, _, _ = run(eager(seed), luminance[:, :1].expand_as(luminance), mel, dt_s)
    assert not any(bool(e.any()) for e in evidence)


def test_steady_sound_adds_nothing() -> None:
    luminance, mel, dt_s = clip(2)
    steady = torch.linspace(-0.5, 0.5, BANDS)[:, None].expand_as(mel)
    evidence, _, _ = run(eager(), luminance, steady, dt_s)
    assert not any(bool(e.any()) for e in evidence)


@settings(max_examples=20, deadline=None)
@given(
    seeds,
    st.sampled_from(["nan", "inf", "huge", "constant", "none"]),
    st.sampled_from(["nan", "inf", "huge", "none"]),
    st.sampled_from([0.0, 0.001, 1.0, 10.0]),
)
def test_any_input_gives_finite_numbers_in_range(
    seed: int, picture: str, sound: str, step_s: float
) -> None:
    bad = {"nan": float("nan"), "inf": float("inf"), "huge": 1e30, "constant": 0.5}
    luminance, mel, dt_s = clip(seed, frames=12)
    if picture in bad:
        luminance[:, 4:6] = bad[picture]
    if sound in bad:
        mel[:, 5:7, ::3] = bad[sound]
    dt_s[:, 7] = step_s
    hearing, memory = eager(seed), initial_memory(1, HEIGHT, WIDTH)
    sight = see(luminance, dt_s)
    with torch.no_grad():
        for t in range(12):
            heard = torch.tensor([float(t % 4 != 3)])
            found = hearing(memory, mel[:, t], heard, frame_of(sight, t), dt_s[:, t])
            memory = found.memory
            assert memory.isfinite().all()
            assert 0 <= found.gate.item() <= 1
            assert found.evidence.isfinite().all()
            assert found.evidence.min() >= 0
            assert found.evidence.max() <= MOST_NATS
            assert correlations(unpacked(memory)).abs().max() <= 1.0001


def test_cut_starts_the_memory_anew() -> None:
    luminance, mel, dt_s = clip(3)
    luminance[:, 12:] = 1 - luminance[:, 12:].flip(3)
    sight = see(luminance, dt_s)
    assert sight.fresh[12] == 0
    _, _, memory = run(eager(), luminance[:, :13], mel[:, :13], dt_s[:, :13])
    assert not memory.any()


def test_many_frames_at_once_equal_frame_by_frame() -> None:
    scenes = [draw_scene(np.random.default_rng(i), (HEIGHT, WIDTH), 12) for i in (4, 5)]
    hearing, batch = eager(), collate(scenes)
    with torch.no_grad():
        whole = hear(hearing, batch, initial_memory(2, HEIGHT, WIDTH))
    for i, scene in enumerate(scenes):
        seen, mel, dt_s = (
            torch.from_numpy(x)[None] for x in (scene.luminance, scene.mel, scene.dt_s)
        )
        evidence, gates, _ = run(hearing, seen, mel, dt_s, float(scene.heard[0]))
        for t, (e, gate) in enumerate(zip(evidence, gates, strict=True)):
            alone = add_evidence(batch.silent[i : i + 1], e).exp()[0, 0]
            np.testing.assert_allclose(whole.density[i, t], alone, atol=1e-6)
            np.testing.assert_allclose(whole.judged.gate[i, t].max(), gate[0], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_remembered_moments_are_the_weighted_ones(seed: int) -> None:
    hearing, frames = eager(), 25
    luminance, mel, dt_s = clip(seed, frames)
    still = see(luminance, dt_s)
    still = still._replace(displacement=torch.zeros_like(still.displacement))
    traces, streams, memory = [], [], initial_memory(1, HEIGHT, WIDTH)
    with torch.no_grad():
        for t in range(frames):
            sight = frame_of(still, t)
            heard_now, _, _ = hearing.listen(mel[:, t], dt_s[:, t])
            cells = hearing.look(sight, dt_s[:, t])
            memory = hearing.remember(memory, cells, heard_now, sight.fresh, sight, dt_s[:, t])
            traces.append(unpacked(memory).trace[0].double().numpy())
            streams.append(heard_now[0].double().numpy())
    steps = dt_s[0].double().numpy()
    tau = float(hearing.log_tau.detach().exp())
    later_s = np.cumsum(steps[::-1])[::-1] - steps
    weights = np.minimum(steps, 0.2) * np.exp(-later_s / tau)
    weights[0] = 0  # the first frame has nothing to compare with
    v, s = np.stack(traces), np.stack(streams)
    share = weights / weights.sum()
    v_mean, s_mean = np.tensordot(share, v, 1), np.tensordot(share, s, 1)
    covariance = np.einsum("t,tixy,tj->ijxy", share, v - v_mean, s - s_mean)
    found = unpacked(memory)
    np.testing.assert_allclose(found.weight.mean(), weights.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.vision_mean[0], v_mean, atol=1e-4)
    expected = covariance.reshape(VISION * STREAMS, *CELLS)
    np.testing.assert_allclose(found.covariance[0], expected, atol=1e-4)


def test_turn_of_the_camera_is_no_motion_of_any_cell() -> None:
    rng = np.random.default_rng(0)
    wide = torch.from_numpy(rng.uniform(0, 1, (1, 1, 12, 30)).astype(np.float32))
    wide = nn.functional.interpolate(wide, scale_factor=4, mode="bicubic")[0, 0]
    luminance = torch.stack([wide[:, 2 * t : 2 * t + 64] for t in range(8)])[None]
    dt_s = torch.full((1, 8), 1 / 30)
    dt_s[:, 0] = 0
    turning = see(luminance, dt_s)
    luminance = luminance.clone()
    for t in range(8):
        luminance[0, t, 16:32, 20 + 3 * t : 32 + 3 * t] = 0.95
    besides = see(luminance, dt_s)
    hearing = eager()
    speed = hearing.look(turning, dt_s[0])[2:, 0]
    of_thing = hearing.look(besides, dt_s[0])[2:, 0]
    assert speed[:, :, 1:-2].quantile(0.9) < 0.5
    assert of_thing.amax(dim=(1, 2)).min() > 3 * speed[:, :, 1:-2].quantile(0.9)


def test_cameras_of_a_batch_do_not_hear_each_other() -> None:
    hearing, (luminance, mel, dt_s) = eager(), clip(6)
    _, _, alone = run(hearing, luminance, mel, dt_s)
    other_luminance, other_mel, _ = clip(7)
    both = torch.cat([luminance, other_luminance]), torch.cat([mel, other_mel])
    sight, memory = see(both[0], dt_s.expand(2, -1)), initial_memory(2, HEIGHT, WIDTH)
    frames = dt_s.shape[1]
    with torch.no_grad():
        for t in range(frames):
            now = Sight(*(x.view(2, frames, *x.shape[1:])[:, t] for x in sight))
            memory = hearing(memory, both[1][:, t], torch.ones(2), now, dt_s[:, t].expand(2)).memory
    np.testing.assert_allclose(memory[:1], alone, atol=1e-4)


class HearingGraph(nn.Module):
    """Tensors in, tensors out, as an export wants it."""

    def __init__(self, hearing: Hearing):
        super().__init__()
        self.hearing = hearing

    def forward(
        self, memory: Tensor, mel: Tensor, heard: Tensor, dt_s: Tensor, *sight: Tensor
    ) -> tuple[Tensor, ...]:
        return tuple(self.hearing(memory, mel, heard, Sight(*sight), dt_s))


def test_exported_program_of_any_size_equals_eager() -> None:
    cameras, rows, columns = (
        Dim("cameras", min=1, max=16),
        Dim("rows", min=3),
        Dim("columns", min=3),
    )
    one = {0: cameras}
    cells = {0: cameras, 2: 2 * rows, 3: 2 * columns}
    maps = {0: cameras, 2: 8 * rows, 3: 8 * columns}
    graph = HearingGraph(eager()).eval()

    def arguments(count: int, height: int, width: int) -> tuple[Tensor, ...]:
        luminance = torch.rand(count, 2, height, width)
        sight = see(luminance, torch.full((count, 2), 0.03))
        now = (x.view(count, 2, *x.shape[1:])[:, 1] for x in sight)
        memory = torch.rand(count, MEMORY_CHANNELS, height // CELL, width // CELL)
        return memory, torch.randn(count, BANDS, HOPS), torch.ones(count), torch.ones(count), *now

    shapes = (cells, one, one, one, (maps, maps, maps, maps, maps, one))
    program = torch.export.export(graph, arguments(2, 48, 64), dynamic_shapes=shapes).module()
    for size in ((1, 40, 72), (3, 24, 32)):
        given = arguments(*size)
        for found, expected in zip(program(*given), graph(*given), strict=True):
            np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-5)


def test_size_is_small() -> None:
    assert sum(p.numel() for p in Hearing().parameters()) <= 30_000


def test_density_rises_on_what_sounds_and_not_with_the_sound_of_another_scene(
    shipped: Hearing,
) -> None:
    right = tell_all(shipped, "sounding", 12, frames=80)
    wrong = tell_all(shipped, "sounding", 12, frames=80, shuffled=True)
    assert right.mass.nanmean() > 2 * right.silent_mass.nanmean()
    assert wrong.mass.nanmean() < 1.5 * wrong.silent_mass.nanmean()
    risen = right.mass > right.silent_mass
    assert risen[~right.mass.isnan()].float().mean() > 0.7


def test_sound_that_belongs_to_nothing_in_view_hardly_changes_the_map(shipped: Hearing) -> None:
    assert tell_all(shipped, "still", 6, frames=80).stray.max() < 0.02
    assert tell_all(shipped, "elsewhere", 10, frames=80).stray.mean() < 0.1
    assert tell_all(shipped, "silent", 4, frames=80).stray.max() == 0
