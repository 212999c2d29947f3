"""A head's memory of the world: what it has seen, what it has not, and where it turns next."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import Map
from aam_edge.readout.world import (
    Bearing,
    SearchRules,
    WorldSearch,
    angles_between,
    directions_of,
    rays_of,
    turned_to,
)

FOCAL_PX = 160 / math.tan(math.radians(25))
LENS = Intrinsics(
    (320, 240),
    np.array([[FOCAL_PX, 0, 159.5], [0, FOCAL_PX, 119.5], [0, 0, 1]]),
    "plumb_bob",
    np.zeros(5),
)
REACH = Bearing(math.radians(90), math.radians(30))
COARSE = SearchRules(cell_rad=math.radians(5))
AHEAD = Bearing(0.0, 0.0)

yaws = st.floats(-REACH.yaw, REACH.yaw)
pitches = st.floats(-REACH.pitch, REACH.pitch)
aims = st.builds(Bearing, yaws, pitches)
looks = st.lists(st.tuples(aims, st.floats(0, 1), st.integers(0, 9)), min_size=1, max_size=6)


def search_of(rules: SearchRules = COARSE) -> WorldSearch:
    return WorldSearch(LENS, REACH, rules)


def random_map(seed: int) -> Map:
    density = np.random.default_rng(seed).random((24, 32)) ** 4 + 1e-9
    return np.asarray(density / density.sum(), np.float32)


def centre_found(search: WorldSearch, aim: Bearing) -> bool:
    return search.found is not None and angle(search.found, aim) < COARSE.cell_rad


def flat() -> Map:
    return np.full((24, 32), 1 / (24 * 32), np.float32)


def peaked(column: int = 16, row: int = 12) -> Map:
    density = np.full((24, 32), 1e-6)
    density[row, column] = 1
    return np.asarray(density / density.sum(), np.float32)


def angle(one: tuple[float, float], other: tuple[float, float]) -> float:
    rays = rays_of(np.array([one, other]))
    return float(angles_between(rays[:1], rays[1])[0])


@given(looks)
@settings(max_examples=30, deadline=None)
def test_mass_stays_one_and_the_same_looks_give_the_same(
    taken: list[tuple[Bearing, float, int]],
) -> None:
    one, other = search_of(), search_of()
    for aim, presence, seed in taken:
        for search in (one, other):
            search.look(aim, random_map(seed), presence)
        assert (one.mass >= 0).all()
        np.testing.assert_allclose(one.mass.sum(), 1, rtol=1e-12)
        assert one.next_aim(aim) == other.next_aim(aim)
    np.testing.assert_array_equal(one.mass, other.mass)


@given(aims, st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_what_is_seen_and_absent_goes_down_and_the_unseen_up(aim: Bearing, presence: float) -> None:
    search = search_of()
    before = search.mass
    search.look(aim, flat(), presence)
    rises = (search.mass / before).ravel()
    columns, rows = before.shape[1], before.shape[0]
    yaw, pitch = np.meshgrid(
        ((np.arange(columns) + 0.5) / columns * 2 - 1) * REACH.yaw,
        ((np.arange(rows) + 0.5) / rows * 2 - 1) * REACH.pitch,
    )
    away = angles_between(
        rays_of(np.column_stack([yaw.ravel(), pitch.ravel()])), rays_of(np.array([aim]))[0]
    )
    assert (rises[away < math.radians(14)] < 1).all()
    assert (rises[away > math.radians(40)] > 1).all()


def test_a_view_without_the_thing_is_left_for_one_never_seen() -> None:
    search = search_of()
    search.look(AHEAD, flat(), 0.05)
    assert abs(search.next_aim(AHEAD).yaw) > math.radians(25)


def test_the_last_place_never_seen_is_looked_at() -> None:
    search = search_of(SearchRules(forget=0.0))
    for yaw in (-75, -40, -5, 30):
        for pitch in (-15, 15):
            search.look(Bearing(*np.radians([yaw, pitch])), flat(), 0.05)
    assert search.next_aim(Bearing(-1.3, 0.0)).yaw > math.radians(45)


@given(st.integers(2, 29), st.integers(2, 21))
@settings(max_examples=20, deadline=None)
def test_evidence_in_view_is_gone_to_at_once(column: int, row: int) -> None:
    search = search_of()
    search.look(AHEAD, peaked(column, row), 0.95)
    pixel = np.array([[(column + 0.5) * 10 - 0.5, (row + 0.5) * 10 - 0.5]])
    place = Bearing(*directions_of(LENS.rays(pixel))[0].tolist())
    if abs(place.pitch) < REACH.pitch:
        assert angle(search.next_aim(AHEAD), place) <= COARSE.fovea_rad + COARSE.cell_rad / 2


def test_found_after_enough_looks_and_left_when_dismissed() -> None:
    search = search_of()
    aim = Bearing(0.5, 0.1)
    for _ in range(COARSE.dwell):
        assert not centre_found(search, aim)
        search.look(aim, peaked(), 0.95)
        assert angle(search.next_aim(aim), aim) < COARSE.cell_rad
    assert centre_found(search, aim)
    search.dismiss(aim)
    assert not centre_found(search, aim)
    for _ in range(3):  # the network goes on to say that it is there; so does who knows better
        search.look(aim, peaked(), 0.95)
        search.dismiss(aim)
    assert angle(search.next_aim(aim), aim) > COARSE.fovea_rad


def test_repeated_looks_are_not_so_many_witnesses() -> None:
    search = search_of(SearchRules(forget=0.0, take=0.0))
    ratios = []
    for _ in range(30):
        search.look(AHEAD, flat(), 0.2)
        mass = search.mass
        ratios.append(mass[12, 0] / mass[12, 36])
    assert ratios[0] < ratios[9] < ratios[29]
    # 0.2 / 0.8 once is 4, and as rho is a half no number of looks gets beyond its square.
    assert ratios[29] < 16.1


def test_of_places_worth_the_same_the_nearest_is_taken() -> None:
    search = search_of(SearchRules(turn_cost=0.0, glance=0.0))
    for yaw in (-0.9, -0.2, 0.4):
        aim = Bearing(yaw, 0.0)
        assert abs(search.next_aim(aim).yaw - yaw) < SearchRules().cell_rad


def test_free_viewing_goes_on_and_comes_back() -> None:
    search, aim = search_of(), AHEAD
    seen: list[Bearing] = []
    for _ in range(12):
        search.look(aim, flat())
        aim = search.next_aim(aim)
        assert all(angle(aim, before) > COARSE.fovea_rad / 2 for before in seen[-5:])
        seen.append(aim)


@given(st.builds(Bearing, yaws.map(lambda yaw: 0.95 * yaw), pitches.map(lambda p: 0.9 * p)))
@settings(max_examples=10, deadline=None)
def test_with_a_detector_that_is_right_all_is_found_in_few_looks(thing: Bearing) -> None:
    search, aim = search_of(), AHEAD
    for _ in range(16):
        rays = rays_of(np.array([thing])) @ turned_to(aim)
        pixel = LENS.pixels(rays)[0]
        is_seen = rays[0, 2] > 0 and np.isfinite(pixel).all()
        column, row = ((pixel + 0.5) // 10).astype(int) if is_seen else (-1, -1)
        if 0 <= column < 32 and 0 <= row < 24:
            search.look(aim, peaked(column, row), 0.95)
        else:
            search.look(aim, flat(), 0.05)
        if search.found is not None:
            break
        aim = search.next_aim(aim)
    assert search.found is not None
    assert angle(search.found, thing) < COARSE.cell_rad * 1.5
