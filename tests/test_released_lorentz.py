"""The public code's hyperbolic space and maps into it: its numbers, its clamps, its faults."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aam_edge.model.native import lorentz as ours
from aam_edge.model.released import lorentz
from aam_edge.model.released.maps import GlobalMap, PixelMap
from tests.reference import assert_near, reference

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "pairwise_inner": lorentz.inner,
    "pairwise_dist": lorentz.distance,
    "diag_dist": lorentz.pair_distance,
    "exp_map0": lorentz.exp0,
    "log_map0": lorentz.log0,
    "half_aperture": lorentz.half_aperture,
    "oxy_angle": lorentz.exterior_angle,
    "dist_to_origin": lorentz.radius,
}
UNDONE: dict[str, Callable[[Tensor], Tensor]] = {
    "oxy_angle": torch.cos,
    "dist_to_origin": torch.cosh,
}
"""The last step, undone. Where it is steep, one rounding before it moves what comes out of it, and
processors round differently."""
curvatures = st.floats(0.1, 10.0).map(torch.tensor)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_slopes_are_those_of_the_public_code(shared: Path, name: str) -> None:
    expected = reference(shared, "a_lorentz")
    cases = [n for n in expected if n.split("/")[1] == name and "gradabs" not in n]
    assert len(cases) >= 18
    for case in cases:
        curvature, _, sets = case.split("/")
        c = torch.tensor(float(curvature[1:]))
        points = [expected[f"points/{s}"].clone().requires_grad_() for s in sets.split("|")]
        found = FUNCTIONS[name](*points, c)
        # Deep points: the product of two times of 1e5 leaves five digits.
        rtol, slope_rtol = (1e-3, 2e-2) if "huge" in sets else (1e-5, 1e-3)
        steep = steep_part(name, found.detach(), expected[case], c)
        assert_near(found[~steep], expected[case][~steep], rtol=rtol)
        found.sum().backward()
        if steep.any():
            continue  # of the slope there, one processor says 8 and another infinity
        for point, kind in zip(points, ("_x", "_y") if len(points) > 1 else ("",), strict=True):
            slope = expected.get(f"{case}/gradabs{kind}")
            if slope is not None and point.grad is not None:
                total = point.grad.abs().sum()
                torch.testing.assert_close(total, slope, rtol=slope_rtol, atol=1e-6, equal_nan=True)


def steep_part(name: str, found: Tensor, expected: Tensor, c: Tensor) -> Tensor:
    """Where the two differ, yet by no more than three roundings of what they were made of."""
    apart: Tensor = ~torch.isclose(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    if name not in UNDONE:
        return apart & False
    scale = c.sqrt() if name == "dist_to_origin" else torch.ones(())
    undo = UNDONE[name]
    ours, theirs = undo((scale * found).double()), undo((scale * expected).double())
    near: Tensor = torch.isclose(ours, theirs, rtol=3e-7, atol=0)
    return apart & near


@pytest.mark.parametrize("state", range(3))
def test_pixel_maps_are_those_of_the_public_code(shared: Path, state: int) -> None:
    expected, at = reference(shared, "a_maps"), f"pix/{state}"
    pixels = PixelMap(8)
    pixels.curv.data, pixels.alpha.data = (
        expected[f"{at}/curv_log_before"],
        expected[f"{at}/alpha_before"],
    )
    x = expected["pix/x"]
    points, far = pixels.to_hyp(x), pixels.to_hyp(40 * x)
    assert_near(points, expected[f"{at}/to_hyp"])
    assert_near(pixels.to_tan(points), expected[f"{at}/to_tan"])
    assert_near(pixels.sanitise(points), expected[f"{at}/sanitize"])
    assert_near(far, expected[f"{at}/to_hyp_of_40x"])
    assert_near(pixels.to_tan(far), expected[f"{at}/to_tan_of_that"])
    # Clamped where they are read, and left as they were.
    assert_near(pixels.c.log(), expected[f"{at}/curv_log_after"])
    assert pixels.curv == expected[f"{at}/curv_log_before"]


def test_global_map_is_that_of_the_public_code(shared: Path) -> None:
    expected = reference(shared, "a_maps")
    vectors = GlobalMap(16)
    vectors.alpha.data = expected["glob/alpha"]
    assert_near(vectors.to_hyp(expected["glob/x"]), expected["glob/to_hyp"])
    assert_near(vectors.to_hyp(30 * expected["glob/x"]), expected["glob/to_hyp_of_30x"])


@settings(max_examples=25)
@given(curvatures, st.integers(0, 1000))
def test_it_is_the_geometry_of_the_native_network_where_nothing_is_clamped(
    c: Tensor, seed: int
) -> None:
    torch.manual_seed(seed)
    v, w = 0.3 * torch.randn(2, 4, 8)
    x, y = lorentz.exp0(v, c), lorentz.exp0(w, c)
    # float32: the public formulas cancel, ours do not.
    assert_near(x, ours.exp_map0(v, c), rtol=1e-4)
    assert_near(lorentz.log0(x, c), v, atol=1e-3, rtol=1e-3)
    apart = lorentz.pair_distance(x, y, c)[:, 0]
    assert_near(apart, ours.distance(x, y, c), atol=0.03, rtol=1e-2)
    assert_near(lorentz.radius(x, c)[:, 0], ours.depth(x, c), atol=1e-2, rtol=1e-2)


@given(curvatures)
def test_equal_points_are_a_little_apart(c: Tensor) -> None:
    x = lorentz.exp0(torch.full((1, 8), 0.01), c)
    least = math.acosh(1 + 1e-4) / math.sqrt(float(c))
    assert_near(lorentz.pair_distance(x, x, c), torch.tensor([[least]]), rtol=1e-2)


def test_left_column_alone_is_lifted() -> None:
    pixels = PixelMap(4)
    z = torch.randn(2, 4, 3, 5)
    mended = pixels.sanitise(z)
    assert torch.equal(mended[..., 1:], z[..., 1:])
    assert (mended[..., 0] >= 1).all()


def test_what_is_no_number_is_taken_out() -> None:
    z = torch.tensor([0.0, torch.nan, torch.inf, -torch.inf]).view(1, 1, 1, 4)
    assert PixelMap(1).sanitise(z)[..., 1:].flatten().tolist() == [0.0, 1e6, -1e6]


def test_there_and_back_scales_once() -> None:
    pixels = PixelMap(4)
    x = torch.randn(1, 4, 3, 5)
    assert_near(pixels.to_tan(pixels.to_hyp(x)), 0.5 * x, atol=1e-3, rtol=1e-2)
