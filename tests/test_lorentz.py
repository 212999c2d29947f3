"""Hyperbolic space: the maps, distance and cones against textbook formulas and exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor, nn

from aam_edge.model.native import lorentz
from aam_edge.model.native.lorentz import LONGEST
from tests.lorentz_textbook import (
    EPS,
    POINTS,
    N,
    ambient,
    curvature,
    exact_distance,
    sizes,
    textbook_angle,
    textbook_distance,
    textbook_exp,
    textbook_inner,
    textbook_log_space,
    vectors,
)

seeds = st.integers(0, 10_000)
curvatures = st.floats(-1, 1).map(lambda power: 10**power)
norms = st.floats(-7, 3).map(lambda power: 10**power)
depths = st.floats(-7, 1).map(lambda power: 10**power)
"""sqrt(c) times a distance, up to 10: where float32 still tells points apart sideways."""
shallow = st.floats(-7, 0.6).map(lambda power: 10**power)
"""The same up to 4: a round trip through two of them, end to end, is still good to 0.01."""
few = settings(max_examples=60, deadline=None)

Function = Callable[..., Tensor]
OF_ONE: list[Function] = [
    lorentz.exp_map0,
    lorentz.log_map0,
    lorentz.depth,
    lorentz.half_aperture,
]
OF_TWO: list[Function] = [
    lorentz.exp_map,
    lorentz.log_map,
    lorentz.inner,
    lorentz.distance,
    lorentz.exterior_angle,
    lorentz.entailment_loss,
]
MAPS = ("exp_map0", "log_map0", "exp_map", "log_map")
"""What returns n numbers a point."""


@few
@given(seeds, norms, curvatures)
def test_log_at_the_origin_undoes_exp_up_to_the_longest_tangent(
    seed: int, norm: float, c: float
) -> None:
    v = vectors(seed, norm)
    back = lorentz.log_map0(lorentz.exp_map0(v, curvature(c)), curvature(c))
    kept = min(1, LONGEST / (math.sqrt(c) * norm))
    np.testing.assert_allclose(back, kept * v, rtol=1e-6, atol=1e-6 * kept * norm)


@few
@given(seeds, norms, curvatures)
def test_exp_at_the_origin_goes_as_far_as_its_tangent_is_long(
    seed: int, norm: float, c: float
) -> None:
    x = lorentz.exp_map0(vectors(seed, norm), curvature(c))
    reached = min(norm, LONGEST / math.sqrt(c))
    np.testing.assert_allclose(lorentz.depth(x, curvature(c)), reached, rtol=1e-6)
    distance = lorentz.distance(torch.zeros_like(x), x, curvature(c))
    np.testing.assert_allclose(distance, reached, rtol=1e-6)


def pair(seed: int, depth: float, length: float, c: float) -> tuple[Tensor, Tensor, float]:
    """Points, tangents there, and how far rounding moves a point two such steps out."""
    x = lorentz.exp_map0(vectors(seed, depth / math.sqrt(c)), curvature(c))
    v = vectors(seed + 1, length / math.sqrt(c))
    return x, v, EPS * math.cosh(depth + length) / math.sqrt(c)


@few
@given(seeds, shallow, shallow, curvatures)
def test_log_at_a_point_undoes_exp_there(seed: int, depth: float, length: float, c: float) -> None:
    x, v, rounding = pair(seed, depth, length, c)
    back = lorentz.log_map(x, lorentz.exp_map(x, v, curvature(c)), curvature(c))
    assert float(sizes(back - v).max()) < 4 * rounding


@few
@given(seeds, shallow, shallow, curvatures)
def test_exp_at_a_point_undoes_log_there(seed: int, depth: float, length: float, c: float) -> None:
    x, v, rounding = pair(seed, depth, length, c)
    y = lorentz.exp_map0(v, curvature(c))
    again = lorentz.exp_map(x, lorentz.log_map(x, y, curvature(c)), curvature(c))
    assert float(lorentz.distance(again, y, curvature(c)).max()) < 64 * rounding


@few
@given(seeds, depths, depths, curvatures)
def test_log_is_as_long_as_the_distance(seed: int, depth: float, length: float, c: float) -> None:
    x, v, _ = pair(seed, depth, length, c)
    y = lorentz.exp_map0(v, curvature(c))
    between = lorentz.distance(x, y, curvature(c))
    rounding = EPS * math.cosh(max(depth, length)) / math.sqrt(c)
    found = sizes(lorentz.log_map(x, y, curvature(c)))
    np.testing.assert_allclose(found, between, rtol=2e-6, atol=2 * rounding)


@few
@given(seeds, depths, depths, curvatures)
def test_distance_is_symmetric_and_zero_for_equal_points(
    seed: int, depth: float, length: float, c: float
) -> None:
    x, v, _ = pair(seed, depth, length, c)
    y = lorentz.exp_map(x, v, curvature(c))
    there, back = (lorentz.distance(*ends, curvature(c)) for ends in ((x, y), (y, x)))
    np.testing.assert_allclose(there, back, rtol=1e-6)
    assert float(lorentz.distance(x, x, curvature(c)).max()) == 0


@few
@given(seeds, depths, depths, depths, curvatures)
def test_a_detour_is_never_shorter(
    seed: int, one: float, two: float, three: float, c: float
) -> None:
    x, y, z = (
        lorentz.exp_map0(vectors(seed + i, min(depth, 6) / math.sqrt(c)), curvature(c))
        for i, depth in enumerate((one, two, three))
    )
    straight = lorentz.distance(x, z, curvature(c))
    detour = lorentz.distance(x, y, curvature(c)) + lorentz.distance(y, z, curvature(c))
    assert bool((straight <= detour * (1 + 1e-6)).all())


@few
@given(seeds, st.floats(-7, 0.7).map(lambda power: 10**power), depths, curvatures)
def test_distance_is_exact_for_near_points_and_far(
    seed: int, depth: float, step: float, c: float
) -> None:
    x, v, _ = pair(seed, depth, step, c)
    y = lorentz.exp_map(x, v, curvature(c))
    for i, found in enumerate(lorentz.distance(x, y, curvature(c)).tolist()):
        expected = exact_distance(x[i], y[i], float(curvature(c)))
        assert found == pytest.approx(expected, rel=1e-6 * max(1, math.cosh(depth)), abs=1e-30)


def test_distance_along_a_ray_is_exact_where_the_textbook_loses_it() -> None:
    x, y = torch.zeros(1, N), torch.zeros(1, N)
    x[0, 0], y[0, 0] = 4096, 4096.5
    exact = exact_distance(x[0], y[0], 1)
    assert exact == pytest.approx(0.5 / 4096, rel=1e-3)
    assert float(lorentz.distance(x, y, curvature(1.0))) == pytest.approx(exact, rel=1e-6)
    assert float(textbook_distance(x, y, curvature(1.0))) != pytest.approx(exact, rel=0.1)


moderate = st.floats(0.1, 4)


@few
@given(seeds, moderate, moderate, curvatures)
def test_maps_and_measures_agree_with_the_textbook(
    seed: int, depth: float, length: float, c: float
) -> None:
    x, v, rounding = pair(seed, depth, length, c)
    k, x64, v64 = curvature(c).double(), x.double(), v.double()
    y = lorentz.exp_map(x, v, curvature(c))
    y64 = textbook_exp(x64, v64, k)
    np.testing.assert_allclose(y, y64, rtol=1e-5, atol=40 * rounding)
    y64 = y.double()
    _, space = ambient(x64, lorentz.log_map(x64, y64, k), k)
    np.testing.assert_allclose(space, textbook_log_space(x64, y64, k), rtol=1e-6, atol=1e-6)
    found = lorentz.distance(x, y, curvature(c))
    np.testing.assert_allclose(found, textbook_distance(x64, y64, k), rtol=1e-4)
    found = lorentz.inner(x, y, curvature(c))
    np.testing.assert_allclose(found, textbook_inner(x64, y64, k), rtol=1e-4)
    found = lorentz.exterior_angle(x, y, curvature(c))
    np.testing.assert_allclose(found, textbook_angle(x64, y64, k), atol=1e-4)


@few
@given(seeds, norms, norms, curvatures)
def test_exterior_angle_lies_between_zero_and_pi(
    seed: int, one: float, two: float, c: float
) -> None:
    x, y = (lorentz.exp_map0(vectors(seed + i, n), curvature(c)) for i, n in enumerate((one, two)))
    for ends in ((x, y), (x, x), (x, -x), (x, 0 * y), (0 * x, y), (0 * x, 0 * y)):
        angle = lorentz.exterior_angle(*ends, curvature(c))
        assert 0 <= float(angle.min()) <= float(angle.max()) <= math.pi + 1e-6


@few
@given(seeds, st.floats(0.01, 5), st.floats(0.01, 3), st.floats(0.001, 3.14), curvatures)
def test_a_step_at_an_angle_to_the_way_out_is_seen_at_that_angle(
    seed: int, depth: float, length: float, angle: float, c: float
) -> None:
    x, v, _ = pair(seed, depth, 1, c)
    out = x / x.norm(dim=1, keepdim=True)
    side = v - out * (out * v).sum(1, keepdim=True)
    side = side / side.norm(dim=1, keepdim=True)
    step = (math.cos(angle) * out + math.sin(angle) * side) * (length / math.sqrt(c))
    found = lorentz.exterior_angle(x, lorentz.exp_map(x, step, curvature(c)), curvature(c))
    rounding = EPS * math.cosh(depth + length) / min(length, 1)
    np.testing.assert_allclose(found, angle, atol=1e-6 + 10 * rounding)


def test_exterior_angle_is_zero_behind_pi_before_and_zero_at_the_point() -> None:
    x, c = vectors(3, 1.0), curvature(1.0)
    for factor, angle in ((2.0, 0), (1.0, 0), (0.5, math.pi), (-1.0, math.pi)):
        found = lorentz.exterior_angle(x, factor * x, c)
        np.testing.assert_allclose(found, angle, atol=1e-6)
    np.testing.assert_allclose(lorentz.exterior_angle(0 * x, x, c), math.pi / 2, atol=1e-6)


@few
@given(seeds, norms, norms, curvatures)
def test_cones_narrow_with_depth(seed: int, one: float, two: float, c: float) -> None:
    shallow, deep = (
        lorentz.half_aperture(vectors(seed, norm), curvature(c)) for norm in sorted((one, two))
    )
    assert bool((shallow >= deep - 1e-6).all())
    assert 0 < float(deep.min()) <= float(shallow.max()) < math.pi / 2
    if 0.21 < math.sqrt(c) * min(one, two) < 0.99 * math.sqrt(c) * max(one, two):
        assert bool((shallow > deep).all())


def test_entailment_costs_nothing_inside_the_cone_and_the_angle_outside() -> None:
    x, side, c = vectors(1, 1.0), vectors(2, 1.0), curvature(1.0)
    inside = lorentz.exp_map(x, x + 0.05 * side, c)
    assert float(lorentz.entailment_loss(x, inside, c).max()) == 0
    # Toward the origin: pi, less the aperture asin(0.2).
    before = lorentz.entailment_loss(x, 0.5 * x, c)
    np.testing.assert_allclose(before, math.pi - math.asin(0.2), atol=1e-5)


def arguments(function: Function, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (x,) if function in OF_ONE else (x, y)


def gradients(
    function: Function, x: Tensor, y: Tensor, c: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The function's values, and the gradients of their sum by x, by y if it has one, and by c."""
    leaves = [leaf.clone().requires_grad_() for leaf in (*arguments(function, x, y), c)]
    value = function(*leaves)
    return value, torch.autograd.grad(value.sum(), leaves)


lengths = st.one_of(st.just(0.0), st.floats(-30, 5).map(lambda power: 10**power))
beside: dict[str, Callable[[Tensor], Tensor]] = {
    "equal": lambda x: x.clone(),
    "opposite": lambda x: -x,
    "on the ray": lambda x: 0.5 * x,
    "near": lambda x: x * (1 + 1e-6) + 1e-7,
}


@pytest.mark.parametrize("function", [*OF_ONE, *OF_TWO])
@settings(max_examples=80, deadline=None)
@given(seeds, lengths, st.one_of(lengths, st.sampled_from(sorted(beside))), curvatures)
def test_values_and_gradients_are_finite_everywhere(
    function: Function, seed: int, length: float, other: float | str, c: float
) -> None:
    x = vectors(seed, length)
    y = beside[other](x) if isinstance(other, str) else vectors(seed + 1, other)
    value, found = gradients(function, x, y, curvature(c))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (value, *found))


@pytest.mark.parametrize("function", [*OF_ONE, *OF_TWO])
@settings(max_examples=25, deadline=None)
@given(seeds, moderate, st.floats(0.1, 2), curvatures)
def test_gradients_are_those_of_double_precision(
    function: Function, seed: int, depth: float, length: float, c: float
) -> None:
    x, y, _ = pair(seed, depth, length, c)
    _, single = gradients(function, x, y, curvature(c))
    _, double = gradients(function, x.double(), y.double(), curvature(c).double())
    for found, expected in zip(single, double, strict=True):
        scale = float(expected.abs().max())
        # The one by c is a sum whose terms, up to 10, may cancel: what is left of it is rounded.
        np.testing.assert_allclose(found, expected, atol=2e-3 * scale + 2e-5)


def test_gradients_at_the_origin_are_those_beside_it() -> None:
    origin, c = torch.zeros(POINTS, N), curvature(2.0)
    y = vectors(5, 1.5)
    for function in (lorentz.distance, lorentz.exp_map, lorentz.log_map):
        at, near = (gradients(function, x, y, c)[1] for x in (origin, vectors(6, 1e-6)))
        for found, expected in zip(at, near, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@few
@given(seeds, st.floats(-14, -0.72).map(lambda power: 10**power), moderate, curvatures)
def test_entailment_by_a_point_near_the_origin_has_a_bounded_gradient(
    seed: int, norm: float, length: float, c: float
) -> None:
    x, y = vectors(seed, norm / math.sqrt(c)), vectors(seed + 1, (length + 2) / math.sqrt(c))
    _, (by_x, *_) = gradients(lorentz.entailment_loss, x, y, curvature(c))
    assert float(by_x.norm(dim=1).max()) < 20 * math.sqrt(c)


@pytest.mark.parametrize("function", [*OF_ONE, *OF_TWO])
@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1])
def test_any_axis_can_hold_the_coordinates(function: Function, dim: int) -> None:
    x, y = torch.randn(2, 2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    moved = arguments(function, x.movedim(-1, dim), y.movedim(-1, dim))
    found = function(*moved, curvature(0.7), dim)
    expected = function(*arguments(function, x, y), curvature(0.7), -1)
    if function.__name__ in MAPS:
        expected = expected.movedim(-1, dim)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_map_is_measured_against_one_point() -> None:
    cells, prompts = torch.randn(2, 1, N, 3, 4), torch.randn(2, 5, N, 1, 1)
    found = lorentz.distance(cells, prompts, curvature(1.0), 2)
    assert found.shape == (2, 5, 3, 4)
    one = lorentz.distance(cells[1, 0, :, 2, 3][None], prompts[1, 4, :, 0, 0][None], curvature(1.0))
    assert float(found[1, 4, 2, 3]) == pytest.approx(float(one), rel=1e-5)


class Everything(nn.Module):
    """One graph of all that a decoder may ask."""

    def forward(self, v: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        x, y = lorentz.exp_map0(v, c), lorentz.exp_map0(u, c)
        return (
            lorentz.exp_map(x, u, c),
            lorentz.log_map(x, y, c),
            lorentz.inner(x, y, c),
            lorentz.depth(x, c),
            lorentz.distance(x, y, c),
            lorentz.exterior_angle(x, y, c),
            lorentz.half_aperture(x, c),
            lorentz.entailment_loss(x, y, c),
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_exported_maps_compute_the_same(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(-7, 0, 12).view(1, 1, 3, 4)
    v = sizes * torch.randn(2, N, 3, 4, generator=generator) / 4
    inputs = (v, torch.randn(2, N, 1, 1, generator=generator) / 4, curvature(0.6))
    path = tmp_path / "lorentz.onnx"
    graph = Everything().eval()
    torch.onnx.export(graph, inputs, path, dynamo=True, opset_version=20, verbose=False)
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_inputs()]
    found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    for result, expected in zip(found, graph(*inputs), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)
