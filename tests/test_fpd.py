"""The Fokker-Planck filter's mathematics (DESIGN 5), in torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.fpd import (
    FLOOR,
    Fpd,
    State,
    cosine_basis,
    diffuse,
    initial_state,
    normalise,
)

HEIGHT, WIDTH = 24, 32
seeds = st.integers(0, 10_000)
amounts = st.floats(0, 200)
steps_s = st.floats(0.001, 10)


def random_density(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalise(3 * torch.randn(1, 1, HEIGHT, WIDTH, generator=generator)).exp()


def picture(seed: int = 0) -> Tensor:
    """A smooth texture, (1, 1, HEIGHT, WIDTH), 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, HEIGHT // 4, WIDTH // 4, generator=generator)
    fine: Tensor = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")
    return fine.clamp(0, 1)


def smooth_density(seed: int) -> Tensor:
    """As smooth as a network's observation is."""
    return normalise(4 * picture(seed)).exp()


def spread(density: Tensor, amount: float) -> Tensor:
    return diffuse(density, torch.full((1, 1, 1, 1), amount))


def test_cosine_basis_is_orthonormal() -> None:
    for n in (3, 24, 64):
        basis, _ = cosine_basis(n, torch.zeros(1))
        np.testing.assert_allclose(basis @ basis.T, np.eye(n), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seeds, amounts)
def test_diffusion_keeps_mass_and_stays_non_negative(seed: int, amount: float) -> None:
    after = spread(random_density(seed), amount)
    assert float(after.sum()) == pytest.approx(1, abs=1e-5)
    assert float(after.min()) > -1e-6  # rounding


@settings(max_examples=40, deadline=None)
@given(seeds, amounts)
def test_two_half_steps_of_diffusion_equal_a_whole_one(seed: int, amount: float) -> None:
    density = random_density(seed)
    halved = spread(spread(density, amount / 2), amount / 2)
    np.testing.assert_allclose(halved, spread(density, amount), atol=1e-6)


def test_diffusion_of_a_point_has_the_variance_of_heat() -> None:
    density = torch.zeros(1, 1, HEIGHT, WIDTH)
    density[0, 0, 12, 16] = 1
    after = spread(density, 2.0)[0, 0]
    x = torch.arange(WIDTH, dtype=torch.float32)
    along_x = after.sum(0)
    variance = (along_x * (x - 16) ** 2).sum()
    assert float(variance) == pytest.approx(2 * 2.0, rel=1e-3)


def test_zero_diffusion_gives_the_density_back() -> None:
    density = random_density(1)
    np.testing.assert_allclose(spread(density, 0), density, atol=1e-6)


def predict(state: State, luminance: Tensor, dt_s: float) -> tuple[State, Tensor]:
    """With the filter as it ships and a camera that is not known to move."""
    return Fpd().predict(state, luminance, torch.tensor([dt_s]), identity_ego(1))


def correct(state: State, log_evidence: Tensor, log_r: float = 0.0, beta: float = 1.0) -> State:
    log_variance = torch.full_like(log_evidence, log_r)
    return Fpd().correct(state, log_evidence, log_variance, torch.full((1, 1), beta))


def start(density: Tensor, luminance: Tensor, variance: float = 1.0) -> State:
    fresh = initial_state(1, 1, HEIGHT, WIDTH)
    return fresh._replace(
        log_density=density.log(),
        variance=torch.full_like(fresh.variance, variance),
        luminance=luminance,
    )


@settings(max_examples=30, deadline=None)
@given(seeds, steps_s)
def test_prediction_is_a_density_for_any_step(seed: int, dt_s: float) -> None:
    state = start(random_density(seed), picture(seed))
    after, _ = predict(state, picture(seed + 1), dt_s)
    assert float(after.log_density.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after)


def test_prediction_without_change_only_diffuses() -> None:
    density, still = random_density(5), picture()
    after, cut = predict(start(density, still), still, 0.5)
    expected = diffuse(density, Fpd().diffusivity.view(1, 1, 1, 1) * 0.5) + FLOOR
    np.testing.assert_allclose(after.log_density.exp(), expected / expected.sum(), atol=1e-6)
    assert not bool(cut)


def test_two_half_predictions_equal_a_whole_one_where_nothing_moves() -> None:
    state, still = start(random_density(6), picture()), picture()
    half, _ = predict(state, still, 0.2)
    halves, _ = predict(half, still, 0.2)
    whole, _ = predict(state, still, 0.4)
    # Each step adds the floor once, to every cell.
    added = FLOOR * HEIGHT * WIDTH
    expected = whole.log_density.exp()
    np.testing.assert_allclose(halves.log_density.exp(), expected, rtol=added, atol=3 * FLOOR)
    np.testing.assert_allclose(halves.variance, whole.variance, rtol=1e-5)


def blob(x: float, y: float, sigma: float = 2.0) -> Tensor:
    column, row = torch.arange(WIDTH).float(), torch.arange(HEIGHT).float()[:, None]
    log = -((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2)
    return normalise(log[None, None]).exp()


def test_density_moves_with_the_picture() -> None:
    large = picture(3)
    before, now = large[..., :], torch.roll(large, shifts=(1, 2), dims=(2, 3))
    after, _ = predict(start(blob(15, 11), before), now, 1 / 30)
    # Of the hill alone: at the border something unknown came in.
    hill = (after.log_density.exp()[0, 0] - 2 / (HEIGHT * WIDTH)).clamp_min(0)
    x = float((hill.sum(0) * torch.arange(WIDTH)).sum() / hill.sum())
    y = float((hill.sum(1) * torch.arange(HEIGHT)).sum() / hill.sum())
    assert math.hypot(x - 17, y - 12) < 0.7


def test_another_scene_is_a_cut_and_resets_the_variance() -> None:
    after, cut = predict(start(blob(5, 5), picture(1)), 1 - picture(2), 0.03)
    assert bool(cut)
    assert float(after.variance.min()) > 1e3


def test_state_has_the_same_shapes_before_the_first_step_and_after_it() -> None:
    state = initial_state(1, 2, HEIGHT, WIDTH)
    after, _ = predict(state, picture(), 0.1)
    assert [tensor.shape for tensor in state] == [tensor.shape for tensor in after]


def test_doubt_about_what_changed_grows_with_the_square_of_the_step_up_to_a_second() -> None:
    state, now = start(smooth_density(1), picture(1)), picture(1).clone()
    now[..., 8:12, 8:12] = 1 - now[..., 8:12, 8:12]

    def doubt(dt_s: float) -> float:
        """What a spot that changed adds to the variance, time's own part taken off."""
        (after, cut), (still, _) = predict(state, now, dt_s), predict(state, picture(1), dt_s)
        assert not bool(cut)
        return float((after.variance - still.variance).max())

    assert doubt(0.05) > 0.1
    assert doubt(0.1) / doubt(0.05) == pytest.approx(4, rel=0.05)
    assert doubt(2.0) == pytest.approx(doubt(1.0), rel=0.05)


def test_first_frame_is_no_cut() -> None:
    _, cut = predict(initial_state(1, 1, HEIGHT, WIDTH), picture(1), 0.0)
    assert not bool(cut)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(1e-3, 1e4), st.floats(-6, 4))
def test_correction_lies_between_memory_and_evidence(
    seed: int, variance: float, log_r: float
) -> None:
    memory, evidence = random_density(seed), random_density(seed + 1)
    state = start(memory, picture(), variance)
    after = correct(state, evidence.log(), log_r)
    assert float(after.log_density.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert bool((after.variance <= state.variance * (1 + 1e-5)).all())
    assert bool((after.variance >= 0).all())
    gain = variance / (variance + math.exp(log_r))
    expected = normalise((1 - gain) * memory.log() + gain * (evidence + FLOOR).log())
    np.testing.assert_allclose(after.log_density, expected, atol=1e-4)


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_still_scene_converges_to_its_observation_to_the_power_of_beta(beta: float) -> None:
    still, evidence = picture(), smooth_density(9)
    state = start(random_density(8), still)
    for _ in range(60):
        state, _ = predict(state, still, 1 / 30)
        state = correct(state, evidence.log(), beta=beta)
    expected = normalise(beta * evidence.log()).exp()
    # The rest is what diffusion smooths between two frames.
    assert float((state.log_density.exp() - expected).abs().sum()) < 0.03 * beta


def test_beta_of_two_is_the_evidence_seen_squared() -> None:
    state, evidence = start(random_density(1), picture(), 1e4), smooth_density(2)
    squared = correct(state, evidence.log(), beta=2.0)
    expected = correct(state, normalise(2 * evidence.log()))
    np.testing.assert_allclose(squared.log_density, expected.log_density, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(1, 3), st.floats(1e-3, 1e4))
def test_correction_is_a_density_for_any_beta(seed: int, beta: float, variance: float) -> None:
    state = start(random_density(seed), picture(), variance)
    after = correct(state, random_density(seed + 1).log(), beta=beta)
    assert float(after.log_density.exp().sum()) == pytest.approx(1, abs=1e-5)
    # A place without evidence keeps the floor, whatever power it is raised to.
    least = min(FLOOR, float(state.log_density.exp().min()))
    assert float(after.log_density.exp().min()) > 0.99 * least


def test_noise_of_the_evidence_is_averaged_out() -> None:
    still, truth = picture(), blob(16, 12, 5)
    state = initial_state(1, 1, HEIGHT, WIDTH)
    generator = torch.Generator().manual_seed(0)
    errors: list[tuple[float, float]] = []
    for i in range(40):
        noise = torch.randn(truth.shape, generator=generator)
        evidence = normalise((truth + FLOOR).log() + noise)
        state, _ = predict(state, still, 1 / 30 if i else 0.0)
        state = correct(state, evidence)
        errors.append(
            tuple(float((d.exp() - truth).abs().sum()) for d in (state.log_density, evidence))  # type: ignore[arg-type]
        )
    filtered, raw = np.mean(errors[10:], axis=0)
    assert filtered < 0.6 * raw
