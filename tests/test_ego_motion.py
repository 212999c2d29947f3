"""The camera's own motion, from a gyro and from the picture, as the filter takes it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.camera_yaml import write_camera_yaml
from aam_edge.config import Config, EgoConfig, SourceConfig
from aam_edge.ego.catalog import EgoSources
from aam_edge.ego.ego_motion import UNSURE_FRAMES, EgoMotion, GyroMotion
from aam_edge.ego.gyro import Gyro
from aam_edge.ego.imu_yaml import ImuMount, read_imu_yaml, write_imu_yaml
from aam_edge.ego.picture_motion import PictureMotion, checked, normalised
from aam_edge.ego.rotation import fit_most, fit_rotation, rotations_of, vector_of
from aam_edge.ego.turned_picture import TurnedPicture
from aam_edge.errors import DataError, UsageError
from aam_edge.intrinsics import FISHEYE, Floats, Intrinsics
from aam_edge.messages import Frame
from tests.views import START_NS, pinhole, rate_at, turning_frames, wall, wall_seen

LENS = pinhole((320, 240), 330.0)
MOUNT = rotations_of(np.array([[0.3, -1.2, 0.8]]))[0]
vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)


@given(vectors)
def test_rotation_of_a_vector_and_back(vector: Floats) -> None:
    (rotation,) = rotations_of(vector[None])
    np.testing.assert_allclose(rotation, cv2.Rodrigues(vector)[0], atol=1e-7)
    np.testing.assert_allclose(vector_of(rotation), vector, atol=1e-7)


@given(vectors, st.integers(0, 1000))
def test_rotation_is_found_though_a_third_of_the_points_move(vector: Floats, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rays = rng.normal((0, 0, 3), 1, (60, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    (rotation,) = rotations_of(vector[None])
    turned = rays @ rotation.T
    np.testing.assert_allclose(fit_rotation(rays, turned), rotation, atol=1e-9)
    turned[:20] = turned[:20] @ rotations_of(np.array([[0.0, 0.05, 0.0]]))[0].T
    found = fit_most(rays, turned, 0.002)
    assert found is not None
    np.testing.assert_allclose(found, rotation, atol=2e-3)


def between(from_pose: Floats, to_pose: Floats) -> Floats:
    """Takes directions of the optical frame at one pose to those at another."""
    return np.asarray(to_pose.T @ from_pose)


def moved(ego: Floats | NDArray[np.float32], points: Floats) -> Floats:
    there = np.column_stack([points, np.ones(len(points))]) @ ego.T
    return np.asarray(there[:, :2] / there[:, 2:])


INSIDE = np.stack(np.meshgrid(np.linspace(-0.8, 0.8, 5), np.linspace(-0.8, 0.8, 5)), -1)
INSIDE = INSIDE.reshape(-1, 2)


def true_places(lens: Intrinsics, turn: Floats) -> Floats:
    """Where points INSIDE of the last picture are now, by the lens itself."""
    half = np.array(lens.size) / 2
    pixels = lens.pixels(lens.rays((INSIDE + 1) * half - 0.5) @ turn.T)
    return np.asarray((pixels + 0.5) / half - 1)


@given(vectors)
def test_homography_of_a_turn_takes_points_where_the_lens_sees_them(vector: Floats) -> None:
    (turn,) = rotations_of(vector[None] * 0.1)
    ego = TurnedPicture(LENS).homography(turn)
    assert ego is not None
    assert ego[2, 2] == 1
    assert np.linalg.det(ego) > 0
    np.testing.assert_allclose(moved(ego, INSIDE), true_places(LENS, turn), atol=1e-5)
    exact = normalised(LENS.matrix @ turn @ np.linalg.inv(LENS.matrix), LENS.size)
    np.testing.assert_allclose(ego, exact, atol=1e-4)


def test_turn_of_a_fisheye_is_near_the_best_homography() -> None:
    matrix = np.array([[120.0, 0, 160], [0, 120, 120], [0, 0, 1]])
    lens = Intrinsics((320, 240), matrix, FISHEYE, np.zeros(4))
    (turn,) = rotations_of(np.array([[0.02, 0.05, 0.01]]))
    ego = TurnedPicture(lens).homography(turn)
    assert ego is not None
    # Half a cell of a map 64 wide, of a motion of four.
    assert np.abs(moved(ego, INSIDE) - true_places(lens, turn)).max() < 0.5 * 2 / 64


def test_turn_that_leaves_nothing_in_view_is_none() -> None:
    assert TurnedPicture(LENS).homography(rotations_of(np.array([[0, 2.0, 0]]))[0]) is None
    assert checked(np.full((3, 3), np.nan)) is None
    assert checked(np.diag([-1.0, 1, 1])) is None


def steady_gyro(rate: Floats, seconds: float = 1.0, hz: int = 200) -> Gyro:
    times = START_NS + (np.arange(int(seconds * hz) + 1) * (1e9 / hz)).astype(np.int64)
    return Gyro(times.tolist(), np.tile(rate, (len(times), 1)))


@given(vectors, st.integers(0, 500_000_000), st.integers(1_000_000, 400_000_000))
def test_turn_of_a_steady_gyro_is_its_rate_times_the_time(
    rate: Floats, from_ns: int, length_ns: int
) -> None:
    turn = steady_gyro(rate).turn(START_NS + from_ns, START_NS + from_ns + length_ns)
    assert turn is not None
    np.testing.assert_allclose(turn, rotations_of(-rate[None] * length_ns / 1e9)[0], atol=1e-9)


def test_two_turns_behind_each_other_are_one() -> None:
    gyro = Gyro()
    for k in range(400):
        gyro.add(START_NS + k * 2_500_000, rate_at(k / 400).tolist())
    begin, middle, end = (START_NS + ms * 1_000_000 for ms in (100, 333, 700))
    first, second, whole = gyro.turn(begin, middle), gyro.turn(middle, end), gyro.turn(begin, end)
    assert first is not None
    assert second is not None
    assert whole is not None
    np.testing.assert_allclose(second @ first, whole, atol=1e-5)


def test_gyro_does_not_bridge_holes_nor_reach_far_beyond_its_ends() -> None:
    gyro = Gyro()
    for ms in (0, 10, 20, 200, 210, 220):
        gyro.add(START_NS + ms * 1_000_000, (0.1, 0, 0))

    def knows(from_ms: int, to_ms: int) -> bool:
        a, b = START_NS + from_ms * 1_000_000, START_NS + to_ms * 1_000_000
        return gyro.turn(a, b) is not None

    assert knows(0, 20)
    assert knows(200, 260)
    assert not knows(0, 210)
    assert not knows(60, 90)  # inside the hole
    assert not knows(200, 300)
    assert not knows(500, 530)
    assert not knows(20, 20)
    assert not Gyro().turn(START_NS, START_NS + 1)
    gyro.add(START_NS, (9, 9, 9))
    assert gyro.dropped == 1


def test_live_gyro_keeps_its_newest_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aam_edge.ego.gyro.KEPT_SAMPLES", 100)
    gyro = Gyro()
    for k in range(1000):
        gyro.add(START_NS + k * 5_000_000, (0.0, 0.1, 0))
    assert gyro.turn(START_NS + 900 * 5_000_000, START_NS + 999 * 5_000_000) is not None
    assert gyro.turn(START_NS, START_NS + 5_000_000) is None


def gyro_of(mount: ImuMount, seconds: float) -> Gyro:
    """A gyro that turns with the camera of `turning_frames`."""
    offset_ns = round(mount.time_offset_s * 1e9)
    gyro = Gyro()
    for k in range(int(seconds * 400)):
        rate = mount.camera_from_imu.T @ rate_at(k / 400) + mount.bias
        gyro.add(START_NS + k * 2_500_000 - offset_ns, rate.tolist())
    return gyro


def largest_error(motion: EgoMotion, seconds: float = 0.7) -> float:
    """Furthest that a point of the picture is led astray, cells of a map 64 wide."""
    errors, last = [], None
    for frame, pose in turning_frames(LENS, seconds):
        ego = motion.update(frame)
        assert ego.shape == (3, 3)
        assert ego.dtype == np.float32
        if last is not None:
            true = true_places(LENS, between(last, pose))
            errors.append(np.abs(moved(ego, INSIDE) - true).max() * 32)
        last = pose
    return float(max(errors))


def test_gyro_gives_the_motion_of_the_picture() -> None:
    mount = ImuMount(MOUNT, 0.021, np.array([0.02, -0.01, 0.03]))
    gyro = gyro_of(mount, 1.0)
    motion = EgoMotion(GyroMotion(lambda start_ns: gyro, mount, lambda *_: LENS))
    assert largest_error(motion) < 0.05


def test_picture_alone_gives_the_same_motion() -> None:
    motion = EgoMotion(PictureMotion())
    assert largest_error(motion) < 0.25


def test_frames_that_went_missing_are_one_larger_motion() -> None:
    motion, last = EgoMotion(PictureMotion()), np.eye(3)
    for k, (frame, pose) in enumerate(turning_frames(LENS, 0.6)):
        if k % 4 == 0:
            ego = motion.update(frame)
            true = true_places(LENS, between(last, pose))
            assert np.abs(moved(ego, INSIDE) - true).max() * 32 < 0.5 or k == 0
            last = pose


def frame_of(image: np.ndarray, k: int) -> Frame:
    return Frame(np.asarray(image, np.uint8), START_NS + k * 33_000_000, "0", k)


def test_still_camera_does_not_move_with_what_walks_through() -> None:
    still, motion = wall_seen(LENS, wall(), np.eye(3)), EgoMotion(PictureMotion())
    skin = wall(9)[:150, :120]
    for k in range(6):
        image = still.copy()
        image[60:210, 20 + 14 * k : 140 + 14 * k] = skin  # a quarter of the picture
        np.testing.assert_allclose(motion.update(frame_of(image, k)), np.eye(3))


@pytest.mark.parametrize("kind", ["plain", "noise", "tiny"])
def test_picture_that_tells_nothing_is_no_motion(kind: str) -> None:
    rng, motion = np.random.default_rng(0), EgoMotion(PictureMotion())
    size = (3, 5, 3) if kind == "tiny" else (240, 320, 3)
    for k in range(4):
        image = np.full(size, 90) if kind != "noise" else rng.integers(0, 255, size)
        np.testing.assert_array_equal(motion.update(frame_of(image, k)), np.eye(3))


def test_motion_that_is_not_known_for_long_is_told_until_it_is_known_again() -> None:
    sources = EgoSources(EgoConfig(source="picture"), lambda *_: None)
    motion = sources.of("front")
    assert motion is not None
    plain, seen = np.full((240, 320, 3), 90), wall_seen(LENS, wall(), np.eye(3))
    for k in range(UNSURE_FRAMES):  # the first frame of all has no motion to know
        motion.update(frame_of(plain, k))
    assert sources.troubles == []
    motion.update(frame_of(plain, 30))
    assert sources.troubles == ["front: the camera's motion is not known for 30 frames"]
    motion.update(frame_of(seen, 31))
    motion.update(frame_of(seen, 32))
    assert sources.troubles == []


def test_picture_that_changes_its_size_starts_anew() -> None:
    motion = EgoMotion(PictureMotion())
    for k, side in enumerate((320, 320, 160, 160)):
        lens = pinhole((side, side * 3 // 4), side)
        ego = motion.update(frame_of(wall_seen(lens, wall(), np.eye(3)), k))
        np.testing.assert_allclose(ego, np.eye(3))


def test_hole_of_the_gyro_is_no_motion_and_is_said_once_each_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    gyro = Gyro()
    for ms in [*range(0, 200, 5), *range(400, 600, 5)]:
        gyro.add(START_NS + ms * 1_000_000, (0, 0.5, 0))
    motion = EgoMotion(GyroMotion(lambda _: gyro, ImuMount(np.eye(3)), lambda *_: LENS))
    image = np.zeros((240, 320, 3))
    turns = [not np.array_equal(motion.update(frame_of(image, k)), np.eye(3)) for k in range(17)]
    assert turns[1:6] == [True] * 5
    assert turns[8:12] == [False] * 4
    assert turns[14:] == [True] * 3
    assert [record.message.split(":")[1][:12] for record in caplog.records] == [
        " gyro has no",
        " gyro is bac",
    ]


def test_gyro_without_a_lens_that_fits_is_no_motion() -> None:
    motion = EgoMotion(
        GyroMotion(lambda _: steady_gyro(np.ones(3)), ImuMount(np.eye(3)), lambda *_: None)
    )
    for k in range(3):
        ego = motion.update(frame_of(np.zeros((240, 320, 3)), k))
        np.testing.assert_array_equal(ego, np.eye(3))


def test_settings_choose_the_motion_of_each_camera(tmp_path: Path) -> None:
    write_camera_yaml(LENS, tmp_path / "camera.yaml")
    write_imu_yaml(ImuMount(MOUNT), tmp_path / "imu.yaml", ["made by a test"])
    np.testing.assert_allclose(read_imu_yaml(tmp_path / "imu.yaml").camera_from_imu, MOUNT)
    (tmp_path / "gyro.csv").write_text("time_s,wx,wy,wz\n0,0,1,0\n0.04,0,1,0\n0.08,0,1,0\n")
    gyro = EgoConfig(
        source="gyro", gyro=str(tmp_path / "gyro.csv"), imu=(f"front={tmp_path / 'imu.yaml'}",)
    )
    sources = EgoSources(gyro, lambda *_: LENS)
    assert sources.of("back") is None
    front = sources.of("front")
    assert front is not None
    image = np.zeros((240, 320, 3))
    front.update(frame_of(image, 0))
    assert not np.array_equal(front.update(frame_of(image, 1)), np.eye(3))
    assert EgoSources(EgoConfig(), lambda *_: None).of("front") is None
    assert EgoSources(EgoConfig(source="picture"), lambda *_: None).of("front") is not None


def test_missing_and_wrong_files_are_said_before_the_stream_begins(tmp_path: Path) -> None:
    imu = tmp_path / "imu.yaml"
    with pytest.raises(UsageError, match="place of the gyro is not given"):
        EgoConfig(source="gyro")
    with pytest.raises(UsageError, match="gyro needs a calibrated camera"):
        Config(ego=EgoConfig(source="gyro", imu=(str(imu),)), source=SourceConfig())
    with pytest.raises(DataError, match="IMU calibration cannot be read"):
        EgoSources(EgoConfig(source="gyro", imu=(str(imu),)), lambda *_: None)
    for text, words in (
        ("a: 1", "no 'camera_from_imu'"),
        ("camera_from_imu: [[1, 0, 0], [0, 1, 0], [0, 0, 2]]", "is no rotation"),
        ("camera_from_imu: [[1, 0], [0, 1]]", "IMU calibration is wrong"),
    ):
        imu.write_text(text)
        with pytest.raises(DataError, match=words):
            read_imu_yaml(imu)
    write_imu_yaml(ImuMount(np.eye(3)), imu, [])
    with pytest.raises(UsageError, match="gyro is not given"):
        EgoSources(EgoConfig(source="gyro", imu=(str(imu),)), lambda *_: None)
