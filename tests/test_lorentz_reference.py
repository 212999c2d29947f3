"""The released code's values of hyperbolic space, where its definitions are ours.

It clamps distances to at least acosh(1.0001), adds 1e-4 or 1e-8 to divisors, has noise for an angle
at the origin, and takes acosh and acos in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.model.native import lorentz
from tests.lorentz_textbook import curvature


@pytest.fixture(scope="module")
def fixtures(shared: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = shared / "aam" / "fixtures" / "a_lorentz.safetensors"
    if not path.is_file():
        pytest.skip(f"needs the developers' shared/ tensors ({path.name})")
    return dict(load_file(path))


COINCIDE = {
    # name: sets of points, tolerance (relative, or absolute below 1)
    "exp_map0": (
        "zero tiny_1e-6 tiny_1e-4 small_1e-2 mid_0.5 mid_2 big_12 huge_1e3 huge_1e5",
        1e-5,
    ),
    "log_map0": ("zero mid_0.5 mid_2 big_12 huge_1e3 huge_1e5", 1e-5),
    "dist_to_origin": ("zero mid_0.5 mid_2 big_12 huge_1e3 huge_1e5", 1e-5),
    "half_aperture": ("zero tiny_1e-6 tiny_1e-4 small_1e-2 mid_2 big_12 huge_1e3 huge_1e5", 2e-5),
    "pairwise_inner": ("mid_0.5|mid_2 mid_2|big_12 small_1e-2|big_12 tiny_1e-6|mid_0.5", 1e-5),
    "pairwise_dist": ("mid_0.5|mid_2 mid_2|big_12 small_1e-2|big_12 zero|mid_2", 1e-5),
    "oxy_angle": ("mid_0.5|mid_2 mid_2|big_12 small_1e-2|big_12", 1e-4),
}


def ours(name: str, points: list[Tensor], c: Tensor) -> Tensor:
    """Our function under the released code's name."""
    if name in ("pairwise_inner", "pairwise_dist"):
        function = lorentz.inner if name == "pairwise_inner" else lorentz.distance
        return function(points[0][:, None], points[1][None], c, -1)
    if name == "dist_to_origin":
        return lorentz.depth(points[0], c)[:, None]
    if name == "oxy_angle":
        return lorentz.exterior_angle(points[0], points[1], c)
    one: Callable[..., Tensor] = getattr(lorentz, name)
    return one(points[0], c)


@pytest.mark.parametrize("c", [0.35, 1.0, 4.2])
@pytest.mark.parametrize("name", sorted(COINCIDE))
def test_released_code_measures_the_same(fixtures: dict[str, Tensor], name: str, c: float) -> None:
    sets, tolerance = COINCIDE[name]
    for key in sets.split():
        points = [fixtures[f"points/{part}"] for part in key.split("|")]
        found = ours(name, points, curvature(c))
        expected = fixtures[f"c{c}/{name}/{key}"]
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, err_msg=f"{name} {key}"
        )
