"""The decoder: its geometry is the space's own, and each piece does what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native import lorentz
from aam_edge.model.native.decoder import (
    LEVEL_CHANNELS,
    MAX_LOG_VARIANCE,
    MIN_LOG_VARIANCE,
    SPACE,
    USUAL_CELLS,
    Decoder,
    Evidence,
    Film,
    Pieces,
    Pyramid,
    cell_geometry,
    smooth_max,
)
from aam_edge.model.native.prior import Prior
from aam_edge.model.native.vision import TAP_CHANNELS, TAP_STRIDES

HEIGHT, WIDTH = 96, 128
seeds = st.integers(0, 10_000)
curvatures = st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0])


def decoder_of(pieces: Pieces | None = None) -> Decoder:
    """Untrained, always the same, in which prompts matter."""
    torch.manual_seed(0)
    decoder = Decoder(TAP_CHANNELS, pieces).eval().requires_grad_(False)
    for film in (decoder.film_middle, decoder.film_fine):
        film.to_gain_shift.weight.normal_(std=0.2)
    decoder.prior.to_mixture.weight.normal_(std=0.2)
    return decoder


def some_taps(pictures: int = 2, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(pictures, c, HEIGHT // s, WIDTH // s, generator=generator)
        for c, s in zip(TAP_CHANNELS, TAP_STRIDES, strict=True)
    ]


def some_prompts(count: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    prompts: Tensor = F.normalize(torch.randn(count, 128, generator=generator))
    return prompts


def some_points(seed: int, c: float, deepest: float, *shape: int) -> Tensor:
    """Points along dimension 1, float64, at depths of 0.3 to 0.3 + `deepest` over sqrt(c)."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=1, keepdim=True)
    far = torch.rand(shape[0], 1, *shape[2:], generator=generator, dtype=torch.float64)
    tangent = direction * (0.3 + deepest * far) / math.sqrt(c)
    return lorentz.exp_map0(tangent, torch.tensor(c, dtype=torch.float64))


def seen_by(decoder: Decoder, taps: list[Tensor] | None = None) -> Pyramid:
    pyramid: Pyramid = decoder.look(some_taps() if taps is None else taps)
    return pyramid


def asked(decoder: Decoder, prompt: Tensor | None = None) -> Evidence:
    evidence: Evidence = decoder(seen_by(decoder), some_prompts(2) if prompt is None else prompt)
    return evidence


def is_density(evidence: Evidence) -> bool:
    total = evidence.log_density.exp().sum(dim=(1, 2, 3))
    return bool(((total - 1).abs() < 1e-4).all())


@given(seeds, curvatures)
@settings(max_examples=40, deadline=None)
def test_geometry_of_cells_is_that_of_the_space(seed: int, c: float) -> None:
    curvature = torch.tensor(c, dtype=torch.float64)
    cells, point = some_points(seed, c, 4, 2, 8, 3, 4), some_points(seed + 1, c, 4, 2, 8)
    distance, focus = cell_geometry(cells, point, curvature)
    at = point[:, :, None, None]
    angle = lorentz.exterior_angle(at, cells, curvature)
    np.testing.assert_allclose(distance[:, 0], lorentz.distance(at, cells, curvature), rtol=1e-5)
    np.testing.assert_allclose(focus[:, 0], angle.cos(), atol=1e-4)


@given(seeds, curvatures)
@settings(max_examples=20, deadline=None)
def test_single_precision_is_enough_for_the_depths_there_are(seed: int, c: float) -> None:
    cells, point = some_points(seed, c, 3, 2, 8, 3, 4), some_points(seed + 1, c, 3, 2, 8)
    exact = cell_geometry(cells, point, torch.tensor(c, dtype=torch.float64))
    found = cell_geometry(cells.float(), point.float(), torch.tensor(c))
    np.testing.assert_allclose(found[0], exact[0], rtol=2e-3)
    np.testing.assert_allclose(found[1], exact[1], atol=5e-3)


@pytest.mark.parametrize("depth", [0.0, 1.0, 3.0])
def test_geometry_of_a_cell_at_the_point_itself_is_finite_with_its_gradient(depth: float) -> None:
    point = some_points(0, 1.0, depth, 1, 8).float().requires_grad_()
    cells = point.detach()[:, :, None, None].clone().requires_grad_()
    distance, focus = cell_geometry(cells, point, torch.tensor(1.0))
    (distance + focus).sum().backward()
    assert float(distance.detach()) < 0.01
    assert float(focus.detach().abs()) <= 1 + 1e-5
    for x in (point, cells):
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_nearness_to_many_prompts_is_that_of_each_alone(hyperbolic: bool) -> None:
    decoder = decoder_of(Pieces(hyperbolic=hyperbolic))
    seen, prompts = seen_by(decoder), some_prompts(3)
    points = decoder.point(prompts)
    together = decoder.nearness_to(seen.cells, points)
    assert together.shape == (2, 3, HEIGHT // 8, WIDTH // 8)
    for n in range(3):
        alone, _ = decoder._geometry(seen.cells, points[n : n + 1].expand(2, -1))
        np.testing.assert_allclose(together[:, n], alone[:, 0], rtol=1e-3, atol=1e-3)


def test_presence_that_is_trained_is_the_presence_that_is_given() -> None:
    decoder = decoder_of()
    for layer in decoder.recognition.children():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)
    seen, prompts = seen_by(decoder), some_prompts(2)
    points = decoder.point(prompts)
    nearness = decoder.nearness_to(seen.cells, points)
    trained = decoder.presence_of(seen, nearness, points, prompts)
    for n in (0, 1):
        given_ = decoder(seen, prompts[n : n + 1].expand(2, -1)).presence
        np.testing.assert_allclose(trained[:, n], given_, rtol=1e-3, atol=1e-3)


def test_near_cell_raises_presence_and_the_place_of_evidence() -> None:
    """What stands at the point itself is found there."""
    decoder = decoder_of()
    decoder.search_gain.bias.fill_(20.0)
    seen, prompt = seen_by(decoder), some_prompts(2)
    before = decoder(seen, prompt)
    cells = seen.cells.clone()
    cells[:, :, 3, 5] = decoder.point(prompt)
    after = decoder(seen._replace(cells=cells), prompt)
    assert bool((after.presence > before.presence + 0.5).all())
    for log_density in after.log_density[:, 0]:
        row, column = divmod(int(log_density.argmax()), WIDTH // 4)
        assert (row // 2, column // 2) == (3, 5)


def test_smooth_maximum_is_near_the_maximum_and_knows_the_usual_number_of_cells() -> None:
    rising = torch.linspace(-8, 0, USUAL_CELLS).view(1, 1, 24, 32)
    assert 0 <= float(smooth_max(rising)) < 1
    alone = torch.full((1, 1, 24, 32), -100.0)
    alone[0, 0, 3, 4] = -0.5
    assert float(smooth_max(alone)) == pytest.approx(-0.5, abs=1e-5)
    # In a picture of four times the cells the same share of them counts the same.
    np.testing.assert_allclose(
        smooth_max(rising.repeat_interleave(2, 2).repeat_interleave(2, 3)), smooth_max(rising)
    )


def test_scale_weights_sum_to_four_and_depend_on_the_prompt() -> None:
    decoder = decoder_of()
    decoder.scales.normal_()
    weights = decoder._scale_weights(decoder.point(some_prompts(5)))
    assert weights.shape == (5, len(LEVEL_CHANNELS))
    np.testing.assert_allclose(weights.sum(1), 4, rtol=1e-5)
    assert bool((weights > 0).all())
    assert float((weights[0] - weights[1]).abs().max()) > 0.01


def test_scale_weights_can_be_left_out() -> None:
    decoder = decoder_of(Pieces(scale_weights=False))
    np.testing.assert_array_equal(decoder._scale_weights(decoder.point(some_prompts(2))), 1)
    whole = decoder_of()
    whole.scales.normal_()
    decoder.scales.copy_(whole.scales)
    apart = asked(whole).log_density - asked(decoder).log_density
    assert float(apart.abs().max()) > 1e-3


@pytest.mark.parametrize("left_out", ["search", "focus"])
def test_hints_can_be_left_out_alone(left_out: str) -> None:
    whole, decoder = decoder_of(), decoder_of(replace(Pieces(), **{left_out: False}))
    seen, point = seen_by(whole), whole.point(some_prompts(2))
    hints = dict(zip(("search", "focus"), decoder._geometry(seen.cells, point), strict=True))
    kept = dict(zip(("search", "focus"), whole._geometry(seen.cells, point), strict=True))
    np.testing.assert_array_equal(hints.pop(left_out), 0)
    assert bool(kept.pop(left_out).any())
    for name, hint in hints.items():
        np.testing.assert_array_equal(hint, kept[name])
    apart = asked(whole).log_density - asked(decoder).log_density
    assert float(apart.abs().max()) > 1e-3


def test_prior_can_be_left_out_and_multiplies_what_is_left() -> None:
    whole, without = decoder_of(), decoder_of(Pieces(prior=False))
    prior = whole.prior(some_prompts(2), HEIGHT // 4, WIDTH // 4)
    product = asked(without).log_density + prior
    expected = product - product.logsumexp(dim=(2, 3), keepdim=True)
    np.testing.assert_allclose(asked(whole).log_density, expected, atol=1e-4)


def test_flat_space_is_a_dot_product_and_a_cosine() -> None:
    decoder = decoder_of(Pieces(hyperbolic=False))
    seen, point = seen_by(decoder), decoder.point(some_prompts(2))
    nearness, focus = decoder._geometry(seen.cells, point)
    dot = torch.einsum("bnhw,bn->bhw", seen.cells, point)
    np.testing.assert_allclose(nearness[:, 0], dot, rtol=1e-4, atol=1e-5)
    lengths = seen.cells.norm(dim=1) * point.norm(dim=1)[:, None, None]
    np.testing.assert_allclose(focus[:, 0], dot / lengths, atol=1e-5)


def test_points_lie_where_gradients_live() -> None:
    decoder = decoder_of()
    seen = seen_by(decoder)
    for points in (seen.cells, seen.whole, decoder.point(some_prompts(9))):
        assert points.shape[1] == SPACE
        depth = lorentz.depth(points, decoder.curvature)
        assert 0.2 < float(depth.mean()) < 3
    far = decoder.point(1e6 * some_prompts(1))
    assert float(lorentz.depth(far, decoder.curvature)) == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("log_c", "c"), [(-50.0, 0.1), (0.0, 1.0), (50.0, 10.0)])
def test_curvature_stays_in_bounds(log_c: float, c: float) -> None:
    decoder = decoder_of()
    decoder.log_curvature.fill_(log_c)
    assert float(decoder.curvature) == pytest.approx(c, rel=1e-5)
    evidence = asked(decoder)
    assert all(bool(part.isfinite().all()) for part in evidence)
    assert is_density(evidence)


def test_film_is_the_identity_at_first() -> None:
    x = torch.randn(2, 5, 3, 4)
    film = Film(5).requires_grad_(False)
    np.testing.assert_array_equal(film(x, torch.randn(2, 128)), x)
    torch.nn.init.ones_(film.to_gain_shift.bias)
    np.testing.assert_allclose(film(x, torch.zeros(2, 128)), 2 * x + 1, rtol=1e-6)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (24, 128)])
def test_prior_is_a_mixture_of_mass_one_over_the_plane(size: tuple[int, int]) -> None:
    prior = Prior(128).requires_grad_(False)
    found = prior(torch.zeros(1, 128), *size)
    assert found.shape == (1, 1, *size)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x, y = 2 * x / size[1] - 1, 2 * y / size[0] - 1
    expected = np.zeros(size)
    for centre in np.linspace(-0.3, 0.3, 4):
        expected += 0.25 * np.exp(-0.5 * ((x - centre) ** 2 + y**2) / 0.5**2)
    np.testing.assert_allclose(found[0, 0], np.log(expected + 1e-4), atol=1e-4)


def test_prior_goes_where_the_prompt_places_it() -> None:
    prior = Prior(128).requires_grad_(False)
    places = prior.to_mixture.weight.view(4, 5, 128)
    places[:, 1, 0], places[:, 2, 0], places[:, 3:, 0] = 0.5, -0.5, -1.0
    prompt = torch.zeros(1, 128)
    prompt[0, 0] = 1.0
    log_mass = prior(prompt, 48, 64)[0, 0]
    mass = (log_mass.exp() - 1e-4) / (log_mass.exp() - 1e-4).sum()
    assert float((mass.sum(0) * torch.arange(64)).sum()) == pytest.approx(47.5, abs=1)
    assert float((mass.sum(1) * torch.arange(48)).sum()) == pytest.approx(11.5, abs=1)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("fill", [0.0, 50.0, None])
def test_any_prompt_on_any_picture_gives_a_density(size: float, fill: float | None) -> None:
    decoder = decoder_of()
    taps = some_taps()
    if fill is not None:
        taps = [torch.full_like(tap, fill) for tap in taps]
    evidence = decoder(seen_by(decoder, taps), size * some_prompts(2))
    assert all(bool(part.isfinite().all()) for part in evidence)
    assert is_density(evidence)
    assert evidence.log_density.shape == evidence.log_variance.shape == (2, 1, 24, 32)
    assert float(evidence.log_variance.min()) >= MIN_LOG_VARIANCE
    assert float(evidence.log_variance.max()) <= MAX_LOG_VARIANCE
    assert evidence.presence.shape == evidence.searching.shape == (2,)
