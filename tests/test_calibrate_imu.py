"""`aam-edge calibrate imu`: a turning camera, its gyro's log, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from aam_edge.calibrate.imu import CameraTurns, camera_turns, fit_imu
from aam_edge.camera_yaml import write_camera_yaml
from aam_edge.cli.main import main
from aam_edge.ego.gyro_log import GyroLog, read_gyro_log
from aam_edge.ego.imu_yaml import read_imu_yaml
from aam_edge.ego.rotation import rotations_of, vector_of
from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats
from tests.views import START_NS, pinhole, rate_at, turning_frames

MOUNT = rotations_of(np.array([[0.3, -1.2, 0.8]]))[0]
BIAS = np.array([0.02, -0.01, 0.03])
OFFSET_S, SECONDS = 0.037, 4.0
LENS = pinhole((320, 240), 330.0)


def gyro_samples(noise: float = 0.01) -> tuple[Floats, Floats]:
    """Times (n,) by the gyro's clock and rates (n, 3) of a gyro that turns with the camera."""
    times_s = np.arange(-0.6, SECONDS + 0.6, 0.005)
    rng = np.random.default_rng(0)
    rates = np.array([MOUNT.T @ rate_at(t) for t in times_s]) + BIAS
    return times_s - OFFSET_S, rates + rng.normal(0, noise, rates.shape)


def gyro_log() -> GyroLog:
    times_s, rates = gyro_samples()
    return GyroLog(np.round(times_s * 1e9).astype(np.int64), rates, is_unix=False)


@pytest.fixture(scope="module")
def turns() -> CameraTurns:
    return camera_turns((frame for frame, _ in turning_frames(LENS, SECONDS)), LENS)


def test_rate_of_the_picture_is_that_of_the_camera(turns: CameraTurns) -> None:
    true = np.array([rate_at(t) for t in (turns.begins_s + turns.ends_s) / 2])
    assert len(true) > 0.95 * 30 * SECONDS
    assert np.sqrt(np.mean((turns.rates - true) ** 2)) < 0.01


def check(rotation: Floats, offset_s: float, bias: Floats) -> None:
    assert np.degrees(np.linalg.norm(vector_of(rotation @ MOUNT.T))) < 0.5
    assert offset_s == pytest.approx(OFFSET_S, abs=0.002)
    np.testing.assert_allclose(bias, BIAS, atol=0.005)


def test_place_offset_and_bias_of_the_gyro_are_found(turns: CameraTurns) -> None:
    fit = fit_imu(turns, gyro_log())
    check(fit.mount.camera_from_imu, fit.mount.time_offset_s, fit.mount.bias)
    assert fit.residual_rad_s < 0.02
    assert fit.missing == 0


def test_log_with_unix_times_gives_the_same(turns: CameraTurns) -> None:
    log = gyro_log()
    unix = GyroLog(log.times_ns + START_NS, log.rates, is_unix=True)
    fit = fit_imu(turns, unix)
    check(fit.mount.camera_from_imu, fit.mount.time_offset_s, fit.mount.bias)


def test_log_with_holes_is_used_where_it_is_whole(turns: CameraTurns) -> None:
    log = gyro_log()
    seconds = log.times_ns / 1e9
    is_there = ~((seconds > 1.0) & (seconds < 1.5)) & ~((seconds > 3) & (seconds < 3.2))
    fit = fit_imu(turns, GyroLog(log.times_ns[is_there], log.rates[is_there], is_unix=False))
    check(fit.mount.camera_from_imu, fit.mount.time_offset_s, fit.mount.bias)
    assert 15 <= fit.missing <= 30


def test_motion_that_tells_nothing_is_said(turns: CameraTurns) -> None:
    log = gyro_log()
    still = CameraTurns(turns.start_ns, turns.begins_s, turns.ends_s, turns.rates * 0.01)
    with pytest.raises(DataError, match="camera hardly turns"):
        fit_imu(still, log)
    rng = np.random.default_rng(1)
    other = GyroLog(log.times_ns, rng.normal(0, 1, log.rates.shape), is_unix=False)
    with pytest.raises(DataError, match="gyro and picture do not move alike"):
        fit_imu(turns, other)
    about_one = turns.rates * (1, 0, 0)
    one = CameraTurns(turns.start_ns, turns.begins_s, turns.ends_s, about_one)
    flat = np.array([[rate_at(t + OFFSET_S)[0], 0, 0] for t in log.times_ns / 1e9])
    with pytest.raises(DataError, match="camera turns about one axis only"):
        fit_imu(one, GyroLog(log.times_ns, flat, is_unix=False))


def test_command_writes_what_the_stream_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, csv = tmp_path / "turning.avi", tmp_path / "gyro.csv"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(clip), codec, 30, LENS.size)
    for frame, _ in turning_frames(LENS, SECONDS):
        writer.write(frame.image)
    writer.release()
    write_log(csv, *gyro_samples())
    write_camera_yaml(LENS, tmp_path / "camera.yaml")
    out = tmp_path / "imu.yaml"
    files = ["--camera", str(clip), "--gyro", str(csv), "--out", str(out)]
    calibration = ["--calibration", str(tmp_path / "camera.yaml")]
    assert main(["calibrate", "imu", *files, *calibration, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["turns"] > 100
    mount = read_imu_yaml(out)
    check(mount.camera_from_imu, mount.time_offset_s, mount.bias)
    assert "residual" in out.read_text()


def write_log(path: Path, times_s: Floats, rates: Floats) -> None:
    rows = [f"{t:.6f},{x:.6f},{y:.6f},{z:.6f}" for t, (x, y, z) in zip(times_s, rates, strict=True)]
    path.write_text("\n".join(["time_s,wx,wy,wz", *rows]) + "\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no such columns"),
        ("1,2,3,4\n", "has no such columns"),
        ("time_s,wx,wy,wz\n", "is empty"),
        ("time_s,wx,wy,wz\n0,1,2,x\n", "line 2"),
        ("time_s,wx,wy,wz\n0,1,2\n", "line 2"),
        ("time_s,wx,wy,wz\n0,0,0,0\n0,0,0,0\n", "goes back in time"),
        ("time_s,wx,wy,wz\n0,0,0,200\n", "rate that cannot be"),
        ("time_s,wx,wy,wz\n0,0,0,nan\n", "rate that cannot be"),
        ("time_s,wx,wy,wz\nnan,0,0,0\n", "line 2"),
    ],
)
def test_log_that_is_wrong_is_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "gyro.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_gyro_log(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_holes_of_a_log_are_said_when_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gyro.csv"
    times_s = np.array([0, 0.01, 0.02, 0.5, 0.51, 0.6])
    write_log(path, times_s, np.zeros((6, 3)))
    log = read_gyro_log(path)
    np.testing.assert_allclose(log.holes, [(0.02, 0.48), (0.51, 0.09)], atol=1e-9)
    assert "gyro log has holes" in caplog.text
    assert "2, longest 0.48 s at 0.02 s" in caplog.text
