"""The filter over a stream: causality, gaps, changes of prompt and scene, bad input, long runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.fpd import LARGEST_VARIANCE, Fpd, State, initial_state, normalise
from aam_edge.process import resident_bytes

HEIGHT, WIDTH = 24, 32
DT_S = 1 / 30
seeds = st.integers(0, 10_000)


def scene(seed: int, x: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A smooth texture, moved by x whole cells, (1, 1, h, w), 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 4 + 2, (width + 64) // 4, generator=generator)
    fine: Tensor = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")
    return fine.clamp(0, 1)[..., 4 : 4 + height, 40 - x : 40 - x + width]


def hill(x: float, y: float, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """log o of a blob, (1, 1, h, w)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    log = -((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2)
    return normalise((log.exp() + 1e-3).log()[None, None])


def step(
    state: State,
    luminance: Tensor,
    log_evidence: Tensor,
    dt_s: float = DT_S,
    log_r: float = 0.0,
) -> State:
    count, prompts = state.log_density.shape[:2]
    fpd = Fpd()
    predicted, _ = fpd.predict(state, luminance, torch.full((count,), dt_s), identity_ego(count))
    noise = torch.full_like(log_evidence, log_r)
    return fpd.correct(predicted, log_evidence, noise, torch.ones(count, prompts))


def fresh(height: int = HEIGHT, width: int = WIDTH) -> State:
    return initial_state(1, 1, height, width)


def assert_sound(state: State) -> None:
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state)
    density = state.log_density.exp()
    np.testing.assert_allclose(density.sum((2, 3)), 1, atol=1e-5)
    assert float(density.min()) > 0
    assert 0 <= float(state.variance.min()) <= float(state.variance.max()) <= LARGEST_VARIANCE


def difference(state: State, log_evidence: Tensor) -> float:
    """Total variation between a density and the evidence."""
    return float((state.log_density.exp() - log_evidence.exp()).abs().sum()) / 2


def peak(state: State) -> tuple[int, int]:
    row, column = divmod(int(state.log_density[0, 0].argmax()), WIDTH)
    return column, row


def run(frames: list[tuple[Tensor, Tensor, float]], state: State) -> list[State]:
    states = []
    for luminance, log_evidence, dt_s in frames:
        state = step(state, luminance, log_evidence, dt_s)
        states.append(state)
    return states


def moving(count: int, speed: int = 1) -> list[tuple[Tensor, Tensor, float]]:
    return [
        (scene(1, speed * k), hill(6 + speed * k, 12), DT_S if k else 0.0) for k in range(count)
    ]


def test_past_does_not_depend_on_the_future() -> None:
    frames = moving(10)
    other = frames[:6] + [(scene(5), hill(3, 3), 2.0)] * 4
    for one, two in zip(run(frames, fresh())[:6], run(other, fresh())[:6], strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_state_kept_in_the_middle_goes_on_with_the_same_bits() -> None:
    frames = moving(10)
    whole = run(frames, fresh())
    kept = State(*(torch.from_numpy(tensor.numpy().copy()) for tensor in whole[4]))
    for one, two in zip(whole[5:], run(frames[5:], kept), strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_cameras_and_prompts_do_not_touch_each_other() -> None:
    streams = [moving(6), [(scene(3, -k), hill(20 - k, 8), DT_S) for k in range(6)]]
    alone = [run(frames, fresh())[-1] for frames in streams]
    state = initial_state(2, 2, HEIGHT, WIDTH)
    for one, two in zip(*streams, strict=True):
        luminance = torch.cat([one[0], two[0]])
        # Each camera follows the evidence of both.
        evidence = torch.cat([torch.cat([one[1], two[1]], 1), torch.cat([two[1], one[1]], 1)])
        fpd, dt_s = Fpd(), torch.tensor([one[2], two[2]])
        predicted, _ = fpd.predict(state, luminance, dt_s, identity_ego(2))
        state = fpd.correct(predicted, evidence, torch.zeros_like(evidence), torch.ones(2, 2))
    for camera, single in enumerate(alone):
        np.testing.assert_allclose(state.log_density[camera, :1], single.log_density[0], atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([0.005, 0.03, 0.1, 0.4, 2.0]), min_size=25, max_size=25))
def test_irregular_frames_of_a_still_scene_end_at_its_observation(steps_s: list[float]) -> None:
    frames = [(scene(2), hill(20, 9), dt_s) for dt_s in steps_s]
    states = run(frames, step(fresh(), scene(2), hill(8, 15), 0.0))
    for state in states:
        assert_sound(state)
    assert difference(states[-1], hill(20, 9)) < 0.1


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_density_follows_what_moves_though_frames_are_missing(missing: int) -> None:
    frames = moving(13)
    seen = [(a, b, dt_s * (missing + 1)) for a, b, dt_s in frames[:: missing + 1]]
    state = run(seen, fresh())[-1]
    k = (len(seen) - 1) * (missing + 1)
    assert math.dist(peak(state), (6 + k, 12)) <= 1.5


def test_new_prompt_is_followed_within_two_frames() -> None:
    state = run([(scene(2), hill(8, 8), DT_S)] * 30, fresh())[-1]
    # What the engine does on a change of prompt: its own part starts anew, the camera's stays.
    new = fresh()
    state = state._replace(log_density=new.log_density, variance=new.variance)
    after = step(state, scene(2), hill(24, 16))
    assert difference(after, hill(24, 16)) < 0.02
    assert difference(step(after, scene(2), hill(24, 16)), hill(24, 16)) < 0.02


def test_new_scene_is_followed_within_two_frames() -> None:
    state = run([(scene(2), hill(8, 8), DT_S)] * 30, fresh())[-1]
    other = 1 - scene(7)
    after = step(state, other, hill(24, 16))
    assert difference(after, hill(24, 16)) < 0.02
    assert difference(step(after, other, hill(24, 16)), hill(24, 16)) < 0.02


def test_variance_grows_while_frames_are_missing_and_shrinks_with_evidence() -> None:
    states = run([(scene(2), hill(16, 12), DT_S)] * 30, fresh())
    falling = [float(state.variance.mean()) for state in states]
    assert falling[0] > falling[3] > falling[10] > falling[29]
    grown = []
    for dt_s in (0.03, 0.3, 3.0):
        predicted, _ = Fpd().predict(states[-1], scene(2), torch.tensor([dt_s]), identity_ego(1))
        grown.append(float(predicted.variance.mean()))
    assert falling[29] < grown[0] < grown[1] < grown[2]


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.001, 10), st.floats(-12, 12))
def test_any_step_and_any_noise_leave_a_sound_state(seed: int, dt_s: float, log_r: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = fresh()
    for k in range(4):
        evidence = normalise(8 * torch.randn(1, 1, HEIGHT, WIDTH, generator=generator))
        state = step(state, scene(seed + k), evidence, dt_s, log_r)
        assert_sound(state)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_pictures_leave_a_sound_state(value: float) -> None:
    constant = torch.full((1, 1, HEIGHT, WIDTH), value)
    state = run([(constant, hill(10, 10), DT_S)] * 5, fresh())[-1]
    assert_sound(state)
    assert difference(state, hill(10, 10)) < 0.02


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", [slice(None), slice(0, 1)])
def test_wrong_numbers_do_not_poison_the_state(wrong: float, part: slice) -> None:
    state = run([(scene(2), hill(16, 12), DT_S)] * 3, fresh())[-1]
    luminance, evidence, noise = scene(2).clone(), hill(16, 12), torch.zeros_like(hill(0, 0))
    luminance[0, 0, part] = wrong
    evidence[0, 0, part] = wrong
    noise[0, 0, :, part] = wrong
    fpd, power = Fpd(), torch.ones(1, 1)
    bad = step(state, luminance, hill(16, 12))
    assert_sound(bad)
    assert_sound(fpd.correct(state, evidence, torch.zeros_like(evidence), power))
    assert_sound(fpd.correct(state, hill(16, 12), noise, power))
    assert_sound(fpd.correct(fresh(), evidence, noise, 3 * power))
    # And it recovers.
    for _ in range(3):
        bad = step(bad, scene(2), hill(16, 12))
    assert difference(bad, hill(16, 12)) < 0.02


def test_cell_whose_evidence_is_no_number_keeps_what_it_has() -> None:
    state = run([(scene(2), hill(16, 12), DT_S)] * 3, fresh())[-1]
    evidence = hill(16, 12)
    evidence[0, 0, :4] = math.nan
    after = Fpd().correct(state, evidence, torch.zeros_like(evidence), torch.ones(1, 1))
    np.testing.assert_array_equal(after.variance[0, 0, :4], state.variance[0, 0, :4])
    np.testing.assert_allclose(after.log_density[0, 0, :4], state.log_density[0, 0, :4], atol=0.01)
    assert float(after.variance[0, 0, 4:].max()) < float(state.variance[0, 0, 4:].min())


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A small map's step takes ten times as long when it is shared out among busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_flat_over(steps: int) -> None:
    """A small map, a scene that moves to and fro, evidence that jitters, some gaps and cuts."""
    height, width = 8, 16
    generator = torch.Generator().manual_seed(0)
    pictures = [scene(k // 16, k % 16, height, width) for k in range(64)]
    state, early, begun = fresh(height, width), [], 0
    fpd, ego, noise = Fpd(), identity_ego(1), torch.zeros(1, 1, height, width)
    power = torch.ones(1, 1)
    for k in range(steps):
        jitter = torch.randn(2, generator=generator)
        evidence = hill(8 + float(jitter[0]), 4 + float(jitter[1]), height, width)
        dt_s = torch.tensor([DT_S if k % 50 else 0.5])
        state, _ = fpd.predict(state, pictures[k % 64], dt_s, ego)
        state = fpd.correct(state, evidence, noise, power)
        if k < 500:
            early.append(float(state.variance.mean()))
            begun = resident_bytes()
        elif k % 100 == 0:
            assert_sound(state)
            assert 0.3 * min(early) < float(state.variance.mean()) < 3 * max(early)
    assert resident_bytes() - begun < 16e6


linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")


@linux
def test_numbers_and_memory_stay_flat_over_five_thousand_steps() -> None:
    assert_flat_over(5_000)


@linux
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_numbers_and_memory_stay_flat_over_a_hundred_thousand_steps() -> None:
    assert_flat_over(100_000)
