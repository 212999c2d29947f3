"""Pixels to bearings and back, through every lens model, and what makes of a target's place."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.camera_yaml import read_camera_yaml, write_camera_yaml
from aam_edge.config import ReadoutConfig
from aam_edge.errors import DataError
from aam_edge.intrinsics import FISHEYE, Intrinsics
from aam_edge.messages import Frame, Gaze, Observation, RawAttention, Target
from aam_edge.readout.bearings import Bearings, bearings_of, read_calibrations
from aam_edge.readout.readout import Readout
from tests.views import pinhole, pixels_of

GRID = np.stack(np.meshgrid(np.linspace(-0.5, 639.5, 33), np.linspace(-0.5, 479.5, 25)), axis=-1)
PIXELS = GRID.reshape(-1, 2)


def coefficients(*bounds: float) -> st.SearchStrategy[list[float]]:
    return st.tuples(*(st.floats(-bound, bound) for bound in bounds)).map(list)


MODELS = st.one_of(
    st.tuples(st.just("plumb_bob"), coefficients(0.3, 0.1, 0.003, 0.003, 0.05)),
    st.tuples(
        st.just("rational_polynomial"),
        coefficients(0.3, 0.1, 0.003, 0.003, 0.05, 0.2, 0.1, 0.05),
    ),
    st.tuples(st.just(FISHEYE), coefficients(0.05, 0.02, 0.01, 0.003)),
)


@st.composite
def lenses(draw: st.DrawFn) -> Intrinsics:
    model, distortion = draw(MODELS)
    focal = draw(st.floats(150, 400) if model == FISHEYE else st.floats(330, 1500))
    x, y, aspect = draw(st.floats(300, 340)), draw(st.floats(220, 260)), draw(st.floats(0.98, 1.02))
    matrix = np.array([[focal, 0, x], [0, focal * aspect, y], [0, 0, 1]])
    return Intrinsics((640, 480), matrix, model, np.array(distortion))


@given(lenses())
def test_pixel_to_bearing_and_back_is_the_same_pixel(lens: Intrinsics) -> None:
    bearings = bearings_of(lens, PIXELS)
    has_ray = np.asarray(np.isfinite(bearings).all(axis=1))
    back = pixels_of(lens, bearings[has_ray])
    assert np.abs(back - PIXELS[has_ray]).max(initial=0) < 0.05
    # The middle of the picture always has one; only a folding lens has none further out.
    is_near = np.abs(PIXELS - (320, 240)).max(axis=1) < 80
    assert np.all(has_ray[is_near])


@given(lenses())
def test_rays_that_fall_on_pixels_are_those_that_opencv_sends_there(lens: Intrinsics) -> None:
    rays = lens.rays(PIXELS)
    rays = rays[np.isfinite(rays).all(axis=1) & (rays[:, 2] > 0.1)]
    points = np.ascontiguousarray(rays / rays[:, 2:])[:, None]
    project = cv2.fisheye.projectPoints if lens.model == FISHEYE else cv2.projectPoints
    seen = project(points, np.zeros(3), np.zeros(3), lens.matrix, lens.distortion)[0]
    np.testing.assert_allclose(lens.pixels(rays), np.reshape(seen, (-1, 2)), atol=1e-6)


def test_real_lens_comes_back_over_the_whole_picture() -> None:
    matrix = np.array([[535.9, 0, 342.3], [0, 535.9, 235.6], [0, 0, 1]])
    lens = Intrinsics(
        (640, 480), matrix, "plumb_bob", np.array([-0.266, -0.0386, 0.00178, -0.00028, 0.238])
    )
    back = pixels_of(lens, bearings_of(lens, PIXELS))
    assert np.abs(back - PIXELS).max() < 1e-6


def test_yaw_is_positive_to_the_left_and_pitch_positive_downwards() -> None:
    lens = pinhole()
    x, y = lens.matrix[:2, 2]
    points = np.array([[x, y], [x - 500, y], [x, y + 500], [x + 500, y - 500]])
    expected = [[0, 0], [45, 0], [0, 45], [-45, -np.degrees(np.arctan(np.sqrt(0.5)))]]
    np.testing.assert_allclose(np.degrees(bearings_of(lens, points)), expected, atol=1e-9)


def test_fisheye_sees_behind_itself() -> None:
    matrix = np.array([[200.0, 0, 320], [0, 200, 240], [0, 0, 1]])
    lens = Intrinsics((640, 480), matrix, FISHEYE, np.zeros(4))
    ((yaw, pitch),) = bearings_of(lens, np.array([[0.0, 240.0]]))
    assert (yaw, pitch) == pytest.approx((1.6, 0.0))


def test_pixel_beyond_the_fold_of_the_lens_has_no_bearing() -> None:
    lens = Intrinsics(
        (640, 480), pinhole(focal_px=300).matrix, "plumb_bob", np.array([-0.5, 0, 0, 0, 0])
    )
    corner = Target(1, 0, 0, 5, 0.5)
    middle = Target(2, 320, 240, 5, 0.5)
    aimed = Bearings({"": lens}).aim("0", (640, 480), [corner, middle])
    assert (aimed[0].yaw, aimed[0].pitch) == (None, None)
    assert aimed[1].yaw is not None
    assert np.isnan(lens.pixels(np.array([[0, 0, -1.0], [5, 0, 1], [0, 0, 0]]))).all()


@given(lenses(), st.floats(0.2, 4))
def test_scaled_picture_has_the_same_bearings(lens: Intrinsics, factor: float) -> None:
    size = round(640 * factor), round(480 * factor)
    scaled = lens.scaled(size)
    ratio = np.array(size) / (640, 480)
    there = bearings_of(scaled, (PIXELS + 0.5) * ratio - 0.5)
    np.testing.assert_allclose(there, bearings_of(lens, PIXELS), atol=1e-6)


def test_picture_of_another_shape_has_no_bearings_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bearings = Bearings({"": pinhole()})
    target = Target(1, 100, 100, 5, 0.5)
    for _ in range(3):
        assert bearings.aim("front", (1280, 720), [target]) == (target,)
    line = (
        "calibration is of another shape (front: calibration 640x480, picture 1280x720): "
        "no bearings; calibrate at this size"
    )
    assert bearings.troubles == [line]
    assert [record.message for record in caplog.records] == [line]
    assert bearings.aim("front", (1280, 960), [target])[0].yaw is not None


def test_each_camera_has_its_own_lens_and_the_rest_the_common_one(tmp_path: Path) -> None:
    for name, focal in (("wide", 300.0), ("long", 900.0)):
        write_camera_yaml(pinhole(focal_px=focal), tmp_path / f"{name}.yaml")
    calibrations = read_calibrations(
        [str(tmp_path / "wide.yaml"), f"left={tmp_path / 'long.yaml'}"]
    )
    bearings = Bearings(calibrations)
    for camera, focal in (("left", 900), ("right", 300)):
        lens = bearings.lens(camera, (640, 480))
        assert lens is not None
        assert lens.focal_px[0] == focal


def test_message_has_bearings_of_targets_and_gaze() -> None:
    lens = pinhole()
    density = np.full((48, 64), 1e-6, np.float32)
    density[20:24, 40:44] = 1
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 1, "0", 0)
    raw = RawAttention(density / density.sum(), np.ones_like(density), 0.0, False)
    attention = Readout(ReadoutConfig(), Bearings({"0": lens})).read(
        Observation(frame),
        raw,
        prompt="cup",
        prompt_index=0,
        prompt_id=0,
        model="nano",
        weights="0",
    )
    places: list[Target | Gaze] = [*attention.targets]
    assert attention.gaze is not None
    places.append(attention.gaze)
    for place in places:
        assert place.yaw is not None
        assert place.pitch is not None
        aimed = np.array([[place.yaw, place.pitch]])
        np.testing.assert_allclose(pixels_of(lens, aimed), [[place.x, place.y]], atol=1e-6)
    assert places[0].yaw is not None
    assert places[0].yaw < 0  # right of the middle
    assert type(places[0].yaw) is float  # as the wire wants it


@given(lenses())
def test_calibration_file_comes_back_as_it_was_written(lens: Intrinsics) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "camera.yaml"
        write_camera_yaml(lens, path)
        back = read_camera_yaml(path)
    assert (back.size, back.model) == (lens.size, lens.model)
    np.testing.assert_allclose(back.matrix, lens.matrix, rtol=1e-8)
    np.testing.assert_allclose(back.distortion, lens.distortion, rtol=1e-8, atol=1e-12)


GOOD = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 320, 0, 500, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 4, data: [1e-3, 0, 0, 0]}
"""


def test_file_by_others_with_four_coefficients_and_other_keys_is_read(tmp_path: Path) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(GOOD + "vendor: {anything: [1, 2]}\n")
    lens = read_camera_yaml(path)
    assert lens.camera == "front"
    assert lens.distortion.tolist() == [1e-3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a map"),
        ("a: [", "is not YAML"),
        ("%YAML:1.0\n---\nnframes: 13\n", "is not YAML"),
        ("image_width: 640\n", "no 'distortion_model'"),
        (GOOD.replace("plumb_bob", "double_sphere"), "is not known"),
        (GOOD.replace("500.0, ", ""), "calibration file is wrong"),
        (GOOD.replace("500.0", "-500"), "is no camera's"),
        (GOOD.replace("500.0", ".nan"), "is no camera's"),
        (GOOD.replace("width: 640", "width: 0"), "is no camera's"),
        (GOOD.replace("width: 640", "width: wide"), "calibration file is wrong"),
        (GOOD.replace("0, 0, 0]}", "0, 0, 0, 0, 1, 1]}"), "7 distortion coefficients"),
    ],
)
def test_file_that_is_no_calibration_is_one_clear_line(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_calibrations([str(path)])
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def test_file_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_calibrations(["no/such.yaml"])


def test_equals_sign_in_a_path_names_no_camera(tmp_path: Path) -> None:
    write_camera_yaml(pinhole(), tmp_path / "a=b.yaml")
    assert set(read_calibrations([str(tmp_path / "a=b.yaml")])) == {""}
