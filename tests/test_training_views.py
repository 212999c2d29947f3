"""What is known of a photo goes with the picture into every view and mosaic of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from aam_edge.training.batch import Scene, mosaic, scene_of
from aam_edge.training.data import Photo
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
