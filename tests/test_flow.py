"""Drift between two frames against displacements that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.model.native import flow

HEIGHT, WIDTH = 48, 64


def wall(seed: int) -> Tensor:
    """A texture of several scales, larger than the map on all sides, 0..1."""
    generator = torch.Generator().manual_seed(seed)
    total: Tensor = torch.zeros(1, 1, HEIGHT + 32, WIDTH + 32)
    for cell in (4, 8, 16):
        coarse = torch.rand(1, 1, 80 // cell + 1, 96 // cell + 1, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, scale_factor=cell, mode="bicubic")
        total = total + fine[..., : HEIGHT + 32, : WIDTH + 32] / 3
    return total


def view(whole: Tensor, x: float, y: float) -> Tensor:
    """The map-sized part of a wall whose content is moved by (x, y) cells."""
    shift = torch.tensor([[x], [y]]).view(1, 2, 1, 1).expand(1, 2, *whole.shape[2:])
    return flow.warp(whole, shift)[..., 16:-16, 16:-16]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-6, 6), st.floats(-6, 6))
def test_displacement_of_a_pan_is_found(seed: int, x: float, y: float) -> None:
    whole = wall(seed)
    found, confidence = flow.estimate(view(whole, 0, 0), view(whole, x, y))
    inner = found[0, :, 8:-8, 8:-8]
    error = torch.hypot(inner[0] - x, inner[1] - y)
    assert float(error.median()) < 0.15 + 0.1 * max(abs(x), abs(y))
    assert 0 <= float(confidence.min()) <= float(confidence.max()) <= 1


def test_luminance_is_the_mean_of_colours_and_of_four_by_four_pixels() -> None:
    picture = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 255
    blocks = picture.view(2, 3, 6, 4, 8, 4).mean(dim=(1, 3, 5)) / 255
    np.testing.assert_allclose(flow.luminance(picture)[:, 0], blocks, atol=1e-6)


def test_still_picture_does_not_move() -> None:
    still = view(wall(1), 0, 0)
    found, _ = flow.estimate(still, still)
    np.testing.assert_allclose(found, np.zeros_like(found), atol=1e-5)


def test_blank_picture_moves_nowhere_and_knows_nothing() -> None:
    blank = torch.full((1, 1, HEIGHT, WIDTH), 0.5)
    found, confidence = flow.estimate(blank, blank)
    assert float(found.abs().max()) == 0
    assert float(confidence.max()) < 1e-6


def test_step_of_the_exposure_is_no_motion() -> None:
    still = view(wall(2), 0, 0) * 0.5
    found, _ = flow.estimate(still, still + 0.2)
    assert float(found.abs().max()) < 1e-3


def test_warp_by_whole_cells_is_a_shift() -> None:
    x = torch.arange(24.0).view(1, 1, 4, 6)
    moved = flow.warp(x, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6))
    np.testing.assert_allclose(moved[..., 1:], x[..., :-1], atol=1e-5)


def test_change_left_is_small_after_motion_and_large_after_a_cut() -> None:
    before, moved, other = view(wall(3), 0, 0), view(wall(3), 3, -2), 1 - view(wall(4), 0, 0)
    after_motion = flow.change_left(before, moved, flow.estimate(before, moved)[0])
    after_cut = flow.change_left(before, other, flow.estimate(before, other)[0])
    assert float(after_motion.mean()) < 0.1
    assert float(after_cut.mean()) > 0.3
