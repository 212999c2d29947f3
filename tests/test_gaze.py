"""Where one looks next: information gain, inhibition of return, the cost of turns."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.config import GazeConfig, load_config
from aam_edge.errors import UsageError
from aam_edge.messages import Frame, Gaze, Map, Observation, RawAttention, Target
from aam_edge.readout.gaze import GazeChooser, Look, faded

START_NS = 1_800_000_000_000_000_000
STEP_NS = 33_333_333
WIDTH, HEIGHT = 640, 480
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
Places = list[tuple[float, float, float]]
"""x, y in pixels and mass of hills."""

steps_s = st.floats(0.0, 10.0)
strengths = st.floats(0.0, 1.0)


def density_of(places: Places, sigma_px: float = 20.0) -> Map:
    x = (np.arange(64) + 0.5) * WIDTH / 64 - 0.5
    y = (np.arange(48) + 0.5) * HEIGHT / 48 - 0.5
    total = np.full((48, 64), 1e-6)
    for at_x, at_y, mass in places:
        square = (x[None] - at_x) ** 2 + (y[:, None] - at_y) ** 2
        hill = np.exp(-square / (2 * sigma_px**2))
        total += mass * hill / hill.sum()
    return np.asarray(total / total.sum(), np.float32)


def targets_of(places: Places, first_id: int = 1) -> list[Target]:
    found = [Target(first_id + k, x, y, 3.0, mass) for k, (x, y, mass) in enumerate(places)]
    return sorted(found, key=lambda target: -target.score)


def step(
    gaze: GazeChooser,
    k: float,
    places: Places,
    *,
    ego: NDArray[np.float32] | None = None,
    cut: bool = False,
    first_id: int = 1,
) -> Gaze | None:
    """One frame, k frames after the start."""
    frame = Frame(PICTURE, START_NS + round(k * STEP_NS), "0", int(k))
    density = density_of(places)
    density.flags.writeable = False  # the chooser must not even try
    raw = RawAttention(density, density, 0.033, cut)
    return gaze.choose(Observation(frame, ego=ego), raw, targets_of(places, first_id))


def looks(gaze: GazeChooser, frames: int, places: Places) -> list[int | None]:
    """Id of the target at each frame."""
    chosen = [step(gaze, k, places) for k in range(frames)]
    assert all(chosen)
    return [None if c is None else c.target_id for c in chosen]


@given(strengths, steps_s, steps_s, st.booleans())
def test_two_steps_of_the_sink_equal_one(
    strength: float, one_s: float, two_s: float, looking: bool
) -> None:
    config = GazeConfig()
    between = faded(strength, one_s, config, looks=looking)
    twice = faded(between, two_s, config, looks=looking)
    once = faded(strength, one_s + two_s, config, looks=looking)
    assert twice == pytest.approx(once, abs=1e-12)
    assert 0 <= once <= 1


@given(strengths, steps_s)
def test_inhibition_decays_with_a_time_constant_of_one_and_a_half_seconds(
    strength: float, dt_s: float
) -> None:
    left = faded(strength, dt_s, GazeConfig(), looks=False)
    assert left == pytest.approx(strength * math.exp(-dt_s / 1.5), abs=1e-12)


def test_gaze_visits_what_is_there_and_comes_back() -> None:
    places = [(150.0, 240.0, 0.4), (480.0, 120.0, 0.35), (420.0, 400.0, 0.25)]
    seen = looks(GazeChooser(GazeConfig()), 120, places)
    visits = [now for before, now in pairwise([None, *seen]) if now != before]
    assert set(visits) == {1, 2, 3}
    assert len(visits) >= 6, "four seconds are no more than two looks at each"
    assert len(visits) <= 20, "no look is shorter than 0.2 s"
    assert set(visits[:3]) == {1, 2, 3}, "nothing is looked at again before all is seen"
    shares = [seen.count(k) for k in (1, 2, 3)]
    assert shares[0] > shares[2], "where more is, one looks longer"


def test_without_inhibition_gaze_never_leaves_the_best_place() -> None:
    places = [(150.0, 240.0, 0.6), (480.0, 120.0, 0.4)]
    forgetful = GazeConfig(return_s=0.01, look_s=10.0)
    assert set(looks(GazeChooser(forgetful), 60, places)) == {1}


def test_one_thing_alone_is_looked_at_all_the_time() -> None:
    assert set(looks(GazeChooser(GazeConfig()), 60, [(200.0, 100.0, 1.0)])) == {1}


@given(st.integers(40, 600), st.integers(40, 440), st.integers(40, 600), st.integers(40, 440))
def test_of_two_equal_places_the_nearer_one_comes_first(ax: int, ay: int, bx: int, by: int) -> None:
    near, far = sorted([(ax, ay), (bx, by)], key=lambda p: math.hypot(p[0] - 320, p[1] - 240))
    apart_px = math.dist(near, far)
    more_px = math.dist(far, (319.5, 239.5)) - math.dist(near, (319.5, 239.5))
    # At the border a part of the hill lies outside, and grids are not the same to all pixels.
    if apart_px < 200 or more_px < 60:
        return
    places = [(float(x), float(y), 0.5) for x, y in (far, near)]
    chosen = step(GazeChooser(GazeConfig(turn_cost=2.0)), 0, places)
    assert chosen is not None
    assert chosen.target_id == 2


def test_large_turns_cost_and_without_cost_the_better_place_wins() -> None:
    places = [(60.0, 60.0, 0.55), (330.0, 240.0, 0.45)]
    dear, free = (step(GazeChooser(GazeConfig(turn_cost=cost)), 0, places) for cost in (2.0, 0.0))
    assert dear is not None
    assert free is not None
    assert (dear.target_id, free.target_id) == (2, 1)


def test_gaze_follows_a_moving_target_and_inhibition_goes_with_it() -> None:
    gaze = GazeChooser(GazeConfig())
    for k in range(6):
        x = 100.0 + 10 * k
        chosen = step(gaze, k, [(x, 240.0, 1.0)])
        assert chosen is not None
        assert (chosen.x, chosen.target_id) == (x, 1)
    # What was looked at stays looked at though it moved, so its equal is next.
    for k in range(6, 12):
        chosen = step(gaze, k, [(100.0 + 10 * k, 240.0, 0.5), (500.0, 240.0, 0.5)])
    assert chosen is not None
    assert chosen.target_id == 2


def test_looks_turn_with_the_camera() -> None:
    """Ids change, as when tracking fails: only the ego-motion knows what was looked at."""
    left = (120.0, 240.0, 0.52)
    half_to_right = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]], np.float32)
    ids = []
    for ego in (half_to_right, None):
        gaze = GazeChooser(GazeConfig(turn_cost=0.0))
        for k in range(5):
            step(gaze, k, [left])
        # The camera turns left: what was at 120 is at 280 now, and something came up at 120.
        chosen = step(gaze, 12, [(280.0, 240.0, 0.52), (120.0, 240.0, 0.48)], ego=ego, first_id=7)
        assert chosen is not None
        ids.append(chosen.target_id)
    assert ids == [8, 7]


def test_id_that_stays_with_its_place_when_the_camera_turns_takes_no_look_along() -> None:
    gaze = GazeChooser(GazeConfig(turn_cost=0.0))
    half_to_right = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]], np.float32)
    for k in range(5):
        step(gaze, k, [(120.0, 240.0, 1.0)])
    # The tracker, which knows nothing of the turn, calls what came up at 120 by the old id.
    chosen = step(gaze, 12, [(120.0, 240.0, 0.48), (280.0, 240.0, 0.52)], ego=half_to_right)
    assert chosen is not None
    assert chosen.target_id == 1
    assert min(abs(look["x"] - (2 * 280.5 / WIDTH - 1)) for look in gaze.state()["looks"]) < 0.01


def test_look_behind_the_camera_is_forgotten() -> None:
    gaze = GazeChooser(GazeConfig())
    for k in range(5):
        step(gaze, k, [(320.0, 240.0, 1.0)])
    behind = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1]], np.float32)
    step(gaze, 5, [], ego=behind)
    assert gaze.state()["looks"] == []


def test_cut_reset_and_time_that_runs_back_make_all_looks_new() -> None:
    places = [(150.0, 240.0, 0.52), (480.0, 240.0, 0.48)]
    for how in ("cut", "reset", "backwards", "nothing"):
        gaze = GazeChooser(GazeConfig(turn_cost=0.0))
        for k in range(10, 14):
            step(gaze, k, places)
        if how == "reset":
            gaze.reset()
        at = 9 if how == "backwards" else 20
        chosen = step(gaze, at, places, cut=how == "cut")
        assert chosen is not None
        assert chosen.target_id == (2 if how == "nothing" else 1), how


def test_nothing_to_look_at_is_none_and_what_was_seen_still_fades() -> None:
    gaze = GazeChooser(GazeConfig())
    for k in range(10):
        step(gaze, k, [(150.0, 240.0, 1.0)])
    before = gaze.state()["looks"][0]["strength"]
    assert step(gaze, 10, []) is None
    assert step(gaze, 55, []) is None
    assert gaze.state()["looks"][0]["strength"] == pytest.approx(
        before * math.exp(-45 / 30 / 1.5), rel=0.1
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 639), st.floats(0, 479), st.floats(0.1, 1.0)), min_size=1, max_size=8
    ),
    st.lists(st.floats(0.1, 200.0), min_size=1, max_size=12),
)
def test_gaze_lies_in_the_picture_and_the_sink_in_0_to_1(
    places: Places, pauses: list[float]
) -> None:
    gaze = GazeChooser(GazeConfig())
    for at in np.cumsum(pauses):
        chosen = step(gaze, float(at), places)
        assert chosen is not None
        assert -0.5 <= chosen.x <= WIDTH - 0.5
        assert -0.5 <= chosen.y <= HEIGHT - 0.5
        assert all(0 <= look["strength"] < 1 for look in gaze.state()["looks"])
    assert len(gaze.state()["looks"]) <= 60


def test_state_saved_as_text_goes_on_the_same_and_an_older_one_begins_anew() -> None:
    places = [(150.0, 240.0, 0.4), (480.0, 120.0, 0.35), (420.0, 400.0, 0.25)]
    one, two, three = (GazeChooser(GazeConfig()) for _ in range(3))
    for k in range(20):
        step(one, k, places)
    two.restore(json.loads(json.dumps(one.state())))
    three.restore(5)  # an id alone, as it was once saved
    for k in range(20, 60):
        assert step(one, k, places) == step(two, k, places)
        assert step(three, k, places) is not None


@pytest.mark.parametrize("name", ["fovea", "look_s", "return_s", "dwell_s", "turn_cost"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"gaze.{name}=-1"):
        load_config(sets=[f"gaze.{name}=-1"])


def test_look_beyond_the_picture_is_kept_for_when_the_camera_comes_back() -> None:
    gaze = GazeChooser(GazeConfig())
    away = np.array([[1, 0, 3], [0, 1, 0], [0, 0, 1]], np.float32)
    for k in range(5):
        step(gaze, k, [(320.0, 240.0, 1.0)])
    step(gaze, 6, [], ego=away)
    (look,) = [Look(**saved) for saved in gaze.state()["looks"]]
    assert look.x == pytest.approx(3.0, abs=0.01)
