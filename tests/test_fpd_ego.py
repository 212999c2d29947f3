"""The camera's own motion in the filter: what is known of the world turns with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import Tensor

from aam_edge.model.native import flow
from aam_edge.model.native.ego import backwards, cells, coverage, identity_ego, project
from aam_edge.model.native.fpd import (
    DRIFT_GRID,
    FLOOR,
    PRIOR_VARIANCE,
    Fpd,
    State,
    initial_state,
    normalise,
)

HEIGHT, WIDTH = 48, 64
FOCAL = np.diag([1.6, 2.1, 1.0])
"""K of a camera, in half pictures."""
BLANK = torch.full((1, 1, HEIGHT, WIDTH), 0.5)
turns_rad = st.floats(-0.15, 0.15)


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Tensor:
    """(1, 3, 3): the homography K R K^-1 of a camera that turns, radians."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1.0]])
    whole = FOCAL @ about_z @ about_x @ about_y @ np.linalg.inv(FOCAL)
    ego: Tensor = torch.from_numpy(whole / whole[2, 2]).float()
    return ego[None]


def place(ego: Tensor, x: float, y: float) -> tuple[float, float]:
    """Where a cell's point is after the camera's motion, worked out by hand."""
    normalised = np.array([(x + 0.5) * 2 / WIDTH - 1, (y + 0.5) * 2 / HEIGHT - 1, 1.0])
    u, v, depth = ego[0].double().numpy() @ normalised
    return (u / depth + 1) * WIDTH / 2 - 0.5, (v / depth + 1) * HEIGHT / 2 - 0.5


def knowing(x: float, y: float, luminance: Tensor = BLANK) -> State:
    """A state with a hill, well known."""
    square = (cells(HEIGHT, WIDTH, BLANK) - torch.tensor([x, y]).view(1, 2, 1, 1)).square()
    fresh = initial_state(1, 1, HEIGHT, WIDTH)
    return fresh._replace(
        log_density=normalise(-square.sum(1, keepdim=True) / (2 * 2.5**2)),
        variance=torch.full_like(fresh.variance, 0.1),
        luminance=luminance,
    )


def centre(state: State) -> tuple[float, float]:
    """Of the hill alone, without the floor below it."""
    density = (state.log_density.exp()[0, 0] - 1e-3).clamp_min(0)
    column, row = torch.arange(WIDTH), torch.arange(HEIGHT)
    mass = density.sum()
    return float((density.sum(0) * column).sum() / mass), float((density.sum(1) * row).sum() / mass)


def predict(state: State, luminance: Tensor, ego: Tensor, dt_s: float = 1 / 30) -> State:
    after, cut = Fpd().predict(state, luminance, torch.tensor([dt_s]), ego)
    assert not bool(cut)
    return after


@settings(max_examples=30, deadline=None)
@given(turns_rad, turns_rad, st.floats(-0.5, 0.5))
def test_ego_motion_turns_the_density_with_the_world(yaw: float, pitch: float, roll: float) -> None:
    # Nothing can be seen to move in a blank picture: only the ego-motion tells.
    ego = turned(yaw, pitch, roll)
    after = predict(knowing(30, 22), BLANK, ego)
    x, y = place(ego, 30, 22)
    assert math.dist(centre(after), (x, y)) < 0.25
    assert float(after.log_density.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_without_ego_motion_the_density_stays() -> None:
    after = predict(knowing(30, 22), BLANK, identity_ego(1))
    assert math.dist(centre(after), (30, 22)) < 0.01


def test_identity_moves_no_cell_and_covers_all() -> None:
    here = cells(HEIGHT, WIDTH, BLANK)
    source, depth = project(backwards(identity_ego(1)), here)
    np.testing.assert_allclose(source, here, atol=1e-5)
    np.testing.assert_array_equal(coverage(source, depth), np.ones((1, 1, HEIGHT, WIDTH)))


@settings(max_examples=20, deadline=None)
@given(turns_rad, turns_rad, st.floats(-3, 3), st.floats(0.1, 10))
def test_backwards_undoes_a_motion_of_any_scale(
    yaw: float, pitch: float, roll: float, scale: float
) -> None:
    ego = turned(yaw, pitch, roll) * scale
    here = cells(HEIGHT, WIDTH, BLANK)
    there, _ = project(ego, here)
    back, _ = project(backwards(ego), there)
    np.testing.assert_allclose(back, here, atol=0.01)


def test_what_comes_in_is_unknown_and_as_likely_as_anywhere() -> None:
    after = predict(knowing(40, 22), BLANK, turned(yaw=0.3))
    # The picture turned to the right by 0.5 half pictures: the left quarter is new.
    assert place(turned(yaw=0.3), 0, 22)[0] > 12
    new, old = after.variance[0, 0, 8:40, :8], after.variance[0, 0, 8:40, 32:]
    assert float(new.min()) >= PRIOR_VARIANCE
    assert float(old.max()) < 0.2
    density = after.log_density.exp()[0, 0, 8:40, :8]
    uniform = 1 / (HEIGHT * WIDTH)
    assert float(density.max()) < 1.01 * float(density.min())
    # Less by the mass of the new part, which the old one makes room for.
    assert 0.5 * uniform < float(density.mean()) < uniform


def test_motion_by_the_ego_motion_is_no_change_and_no_cut() -> None:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 1, 12, 16, generator=generator)
    before = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    ego = turned(yaw=0.25, roll=0.2)
    source, _ = project(backwards(ego), cells(HEIGHT, WIDTH, before))
    now = flow.sample(before, source)
    state = knowing(36, 22, before)
    after = predict(state, now, ego)
    assert math.dist(centre(after), place(ego, 36, 22)) < 0.3
    # The same without being told: much of the picture is taken for another one.
    untold, _ = Fpd().predict(state, now, torch.tensor([1 / 30]), identity_ego(1))
    inner = (slice(None), slice(None), slice(12, 36), slice(32, 52))
    assert float(after.variance[inner].mean()) < 0.5 * float(untold.variance[inner].mean())


def test_drift_turns_with_the_picture() -> None:
    state = knowing(30, 24)
    drift = torch.zeros(1, 2, HEIGHT // DRIFT_GRID, WIDTH // DRIFT_GRID)
    drift[:, 0] = 60.0  # cells/s to the right
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))[None]
    after = predict(state._replace(drift=drift), BLANK, half_turn, dt_s=0.1)
    lasting_s = 0.3 * (1 - math.exp(-0.1 / 0.3))
    there = WIDTH - 1 - (30 + 60 * lasting_s), HEIGHT - 1 - 24
    assert math.dist(centre(after), there) < 0.3
    inner = after.drift[0, :, 3:9, 4:12]
    np.testing.assert_allclose(inner[0], -60 * lasting_s / 0.1, rtol=0.02)
    np.testing.assert_allclose(inner[1], 0, atol=0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e9])
def test_motion_that_cannot_be_is_taken_for_none(wrong: float) -> None:
    ego = identity_ego(1)
    ego[0, 1, 2] = wrong
    told = predict(knowing(30, 22), BLANK, ego)
    untold = predict(knowing(30, 22), BLANK, identity_ego(1))
    for one, other in zip(told, untold, strict=True):
        np.testing.assert_array_equal(one, other)


def test_camera_that_turns_round_knows_nothing_but_stays_sound() -> None:
    after = predict(knowing(30, 22), BLANK, turned(yaw=math.pi - 0.1))
    assert float(after.variance.min()) >= PRIOR_VARIANCE
    np.testing.assert_allclose(after.log_density.exp(), 1 / (HEIGHT * WIDTH), rtol=0.01)
    assert float(after.log_density.exp().min()) > FLOOR


def test_each_camera_has_its_own_motion() -> None:
    egos = torch.cat([turned(yaw=0.1), turned(roll=0.3)])
    both = State(*(torch.cat([a, a]) for a in knowing(30, 22)))
    together, _ = Fpd().predict(both, BLANK.repeat(2, 1, 1, 1), torch.full((2,), 1 / 30), egos)
    for k in range(2):
        single = predict(knowing(30, 22), BLANK, egos[k : k + 1])
        np.testing.assert_allclose(together.log_density[k], single.log_density[0], atol=1e-4)
