"""What is known of a photo goes with the picture into every view and mosaic of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from aam_edge.training.batch import (
    ABSENT,
    GAZE,
    PLACE,
    SEEN,
    TEACHER,
    UNKNOWN,
    Scene,
    either,
    elsewhere_of,
    mosaic,
    rows_of,
    scene_of,
    viewings_of,
)
from aam_edge.training.data import Photo
from aam_edge.training.prompts import NAMES
from aam_edge.training.sample import Sample, View, random_view
from tests.test_training_data import square_at

seeds = st.integers(0, 10_000)


@given(seeds, st.floats(0.2, 0.8), st.floats(0.2, 0.8))
@settings(max_examples=60, deadline=None)
def test_heat_and_maps_go_where_the_picture_goes(seed: int, x: float, y: float) -> None:
    image = square_at(x, y, 256)
    view = random_view(0.45, np.random.default_rng(seed))
    small = cv2.resize(image[:, :, 0], (64, 64), interpolation=cv2.INTER_AREA)
    whole = small.astype(np.float32)
    seen = cv2.resize(view.picture(image, (96, 128)), (32, 24), interpolation=cv2.INTER_AREA)
    heat = view.heat(whole, (24, 32))
    assert np.abs(seen[:, :, 0].astype(float) - heat).mean() < 6  # of 255, all at the edges
    density = view.density(whole, (24, 32))
    if density is not None:
        assert density.sum() == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(centre(density), centre(seen[:, :, 0]), atol=0.7)


@given(seeds, st.floats(0.2, 0.8), st.floats(0.2, 0.8))
@settings(max_examples=60, deadline=None)
def test_gaze_goes_where_the_picture_goes(seed: int, x: float, y: float) -> None:
    photo = Photo("", "", Path(), np.full((6, 2), (x, y)), (256, 256), 0.02)
    view = random_view(0.45, np.random.default_rng(seed))
    seen = view.picture(square_at(x, y, 256), (96, 128))[:, :, 0]
    density = view.gaze(photo, (24, 32))
    if density is None:
        assert not (view.x <= x < view.x + view.width and view.y <= y < view.y + view.height)
    elif seen[[0, -1]].max() < 128 and seen[:, [0, -1]].max() < 128:  # wholly in view
        row, column = np.unravel_index(density.argmax(), density.shape)
        np.testing.assert_allclose((row, column), centre(seen) / 4 - 0.375, atol=1.2)


def centre(seen: NDArray[Any]) -> NDArray[np.float64]:
    """(row, column) of the mean."""
    grid = np.indices(seen.shape).reshape(2, -1)
    return np.asarray((grid * seen.reshape(-1)).sum(1) / seen.sum(dtype=np.float64))


def test_mirrored_view_is_the_mirror_of_the_other() -> None:
    image = square_at(0.3, 0.6)
    plain, mirrored = (View(0.1, 0.2, 0.7, 0.6, m) for m in (False, True))
    np.testing.assert_array_equal(
        mirrored.picture(image, (96, 128)), plain.picture(image, (96, 128))[:, ::-1]
    )
    photo = Photo("", "", Path(), np.full((6, 2), (0.3, 0.6)), (128, 128), 0.03)
    heats = [view.heat(image[:, :, 0], (24, 32)) for view in (mirrored, plain)]
    np.testing.assert_array_equal(heats[0], heats[1][:, ::-1])
    seen, other = mirrored.gaze(photo, (24, 32)), plain.gaze(photo, (24, 32))
    assert seen is not None
    assert other is not None
    np.testing.assert_array_equal(seen, other[:, ::-1])


def half(x: float, y: float, name: str) -> Scene:
    """The left or upper half of a mosaic."""
    sample = Sample(square_at(x, y), things={name: square_at(x, y, 64)[:, :, 0]})
    sample.absent = frozenset({"bus", "dog" if name == "cup" else "cup"})
    return scene_of(sample, (96, 64), 1.0, np.random.default_rng(1))


@pytest.mark.parametrize("axis", [0, 1])
def test_halves_of_a_mosaic_have_their_heat_where_their_things_are(axis: int) -> None:
    cup, dog = half(0.3, 0.3, "cup"), half(0.7, 0.6, "dog")
    both = mosaic(cup, dog, axis)
    assert both.absent == {"bus"}
    assert both.densities == []
    middle = both.picture.shape[axis] // 2
    halves = np.split(both.picture.max(2), [middle], axis)
    for name, there, elsewhere in (("cup", 0, 1), ("dog", 1, 0)):
        heat = np.split(both.things[name], [middle // 4], axis)
        assert heat[elsewhere].max() == 0
        white = (halves[there] > 130).astype(np.float64)
        np.testing.assert_allclose(centre(heat[there]), centre(white) / 4 - 0.375, atol=0.5)


def test_chance_of_what_a_view_cuts_off_is_not_known() -> None:
    chances = np.full(len(NAMES), 0.125, np.float32)
    chances[PLACE["cup"]] = 0.875
    sample = Sample(square_at(0.1, 0.1), things={"cup": square_at(0.1, 0.1, 64)[:, :, 0]})
    sample.chances = chances
    seen = scene_of(sample, (96, 64), 1.0, np.random.default_rng(1))
    np.testing.assert_array_equal(seen.chances, chances)
    rng = np.random.default_rng(5)
    cut = [scene_of(sample, (96, 64), 0.4, rng) for _ in range(30)]
    told = {
        bool(scene.things["cup"].max() > SEEN): float(scene.chances[PLACE["cup"]]) for scene in cut
    }
    assert told == {True: 0.875, False: UNKNOWN}
    assert all(scene.chances[PLACE["dog"]] == 0.125 for scene in cut)


def test_names_without_chances_are_in_view_absent_or_unknown() -> None:
    scene = half(0.3, 0.3, "cup")
    told = {name: float(scene.chances[PLACE[name]]) for name in ("cup", "bus", "dog", "cat")}
    assert told == {"cup": 1, "bus": 0, "dog": 0, "cat": UNKNOWN}


def test_mosaic_holds_what_either_half_holds() -> None:
    first = np.array([0.5, 0.5, 0.9, UNKNOWN, 0.2], np.float32)
    second = np.array([0.5, 0, UNKNOWN, UNKNOWN, UNKNOWN], np.float32)
    told = either(first, second)
    np.testing.assert_allclose(told, [0.75, 0.5, 0.9, UNKNOWN, UNKNOWN], atol=1e-6)


def density_of(kind: int, text: str) -> tuple[str, NDArray[np.float32], float, int]:
    return text, np.full((4, 4), 1 / 16, np.float32), 1.0, kind


def test_where_people_looked_comes_before_what_teachers_say() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(np.zeros((16, 16, 3), np.uint8))
    scene.densities = [density_of(TEACHER, "count the people"), density_of(GAZE, "free viewing")]
    assert all(viewings_of(scene, rng) == [1, 0] for _ in range(5))
    scene.densities = [density_of(TEACHER, t) for t in ("a", "free viewing", "b")]
    drawn = [viewings_of(scene, rng) for _ in range(300)]
    assert {len(d) for d in drawn} == {1}
    assert sum(d == [1] for d in drawn) / 300 == pytest.approx(0.5 + 0.5 / 3, abs=0.1)


def searched_at(x: float, y: float, **known: Any) -> Sample:
    """Of a photo people search around (x, y), says the teacher."""
    return Sample(
        square_at(x, y), searched=square_at(x, y, 64)[:, :, 0].astype(np.float32), **known
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_search_without_success_goes_where_the_pictures_go(axis: int) -> None:
    rng = np.random.default_rng(1)
    first, second = (
        scene_of(searched_at(x, y), (96, 64), 0.9, rng) for x, y in ((0.3, 0.3), (0.7, 0.6))
    )
    both = mosaic(first, second, axis)
    assert both.searched is not None
    assert both.searched.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(both.searched, elsewhere_of(both))  # nothing else is known there
    for part, half_of in zip(np.split(both.searched, 2, axis), (first, second), strict=True):
        assert part.sum() == pytest.approx(0.5, abs=1e-4)
        white = (half_of.picture.max(2) > 130).astype(np.float64)
        np.testing.assert_allclose(centre(part), centre(white) / 4 - 0.375, atol=0.7)
    assert mosaic(first, half(0.3, 0.3, "cup"), axis).searched is None


def test_what_is_absent_is_not_searched_on_a_thing_that_is_known() -> None:
    sample = searched_at(0.5, 0.5, absent=frozenset({"dog"}))
    alone = elsewhere_of(scene_of(sample, (96, 96), 1.0, np.random.default_rng(1)))
    sample.things["cup"] = square_at(0.45, 0.5, 64)[:, :, 0]
    scene = scene_of(sample, (96, 96), 1.0, np.random.default_rng(1))
    beside = elsewhere_of(scene)
    known = scene.things["cup"] > 0.4 * 255
    assert beside.sum() == pytest.approx(1, abs=1e-4)
    assert 0.02 < beside[known].sum() / beside[~known].sum() < 0.5 * alone[known].sum()


def test_what_people_saw_is_half_of_what_is_wanted_where_a_teacher_tells_of_it_too() -> None:
    photo = Photo("", "", Path(), np.full((6, 2), (0.25, 0.25)), (128, 128), 0.03)
    told = square_at(0.7, 0.7, 64)[:, :, 0].astype(np.float32)
    sample = Sample(square_at(0.5, 0.5), gaze=[("free viewing", photo)])
    sample.maps = [(t, told / told.sum(), 0.9) for t in ("free viewing", "count the people")]
    scene = scene_of(sample, (96, 96), 1.0, np.random.default_rng(3))
    assert [(text, weight, kind) for text, _, weight, kind in scene.densities] == [
        ("free viewing", 1.0, GAZE),
        ("count the people", 0.9, TEACHER),
    ]
    mixed, alone = (density for _, density, *_ in scene.densities)
    assert mixed.sum() == pytest.approx(1, abs=1e-3)
    assert mixed[alone > 0].sum() == pytest.approx(0.5, abs=0.02)
    # A crop that people hardly looked into is the teacher's alone.
    sample.gaze = [("free viewing", replace(photo, points=photo.points[:2]))]
    scene = scene_of(sample, (96, 96), 1.0, np.random.default_rng(3))
    assert [kind for *_, kind in scene.densities] == [TEACHER, TEACHER]


def test_rooms_that_were_searched_are_taught_half_by_people_and_half_by_the_teacher() -> None:
    photo = Photo("", "", Path(), np.full((6, 2), (0.25, 0.25)), (128, 128), 0.03)
    sample = searched_at(0.7, 0.7, gaze=[("search for the mug", photo), ("free viewing", photo)])
    scene = scene_of(sample, (96, 96), 1.0, np.random.default_rng(3))
    (_, search, _, _), (_, freely, _, _) = scene.densities
    assert scene.searched is not None
    by_teacher = scene.searched > 0
    assert search.sum() == pytest.approx(1, abs=1e-4)
    assert search[by_teacher].sum() == pytest.approx(0.5, abs=0.02)
    assert freely[by_teacher].sum() < 0.02
    # Nobody knows what is in the room: any other name is searched as if it were not.
    rows = rows_of(scene, 4, np.random.default_rng(0), 0.8)
    assert [kind for *_, kind in rows] == [GAZE, GAZE, ABSENT, ABSENT]
    for _, density, weight, _ in rows[2:]:
        np.testing.assert_allclose(density, scene.searched, atol=1e-6)
        assert weight == 0.8
