"""The shipped calibration files, and what the guide tells people to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from aam_edge.camera_yaml import read_camera_yaml
from aam_edge.cli.main import build_parser
from aam_edge.cli.stream import config_of
from aam_edge.ego.gyro_log import read_gyro_log
from aam_edge.ego.imu_yaml import read_imu_yaml
from aam_edge.readout.bearings import bearings_of
from tests.views import pixels_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "calibration"
LENSES = [file for file in sorted(FOLDER.glob("*.yaml")) if "imu" not in file.name]
GUIDE = (ROOT / "docs" / "guides" / "calibrate.md").read_text().replace("\\\n", "")
COMMANDS = re.findall(r"^aam-edge .*$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("file", LENSES, ids=lambda file: file.name)
def test_shipped_lens_sees_its_whole_picture(file: Path) -> None:
    lens = read_camera_yaml(file)
    width, height = lens.size
    corners = np.array([[0.0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    assert np.abs(pixels_of(lens, bearings_of(lens, corners)) - corners).max() < 0.05
    assert lens.camera
    assert lens.error_px is not None


def test_shipped_gyro_looks_the_way_the_camera_does() -> None:
    mount = read_imu_yaml(FOLDER / "example_imu.yaml")
    forward, up = np.array([1, 0, 0]), np.array([0, 0, 1])
    np.testing.assert_allclose(mount.camera_from_imu @ forward, (0, 0, 1))
    np.testing.assert_allclose(mount.camera_from_imu @ up, (0, -1, 0))


def test_shipped_gyro_log_is_read() -> None:
    log = read_gyro_log(FOLDER / "example_gyro.csv")
    assert (len(log.times_ns), log.is_unix, log.holes) == (5, False, [])


def test_every_shipped_file_is_one_of_these() -> None:
    names = {file.name for file in FOLDER.iterdir()}
    known = {"README.md", "example_imu.yaml", "example_gyro.csv"}
    assert names == known | {file.name for file in LENSES}
    assert len(LENSES) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_guide_are_understood(command: str) -> None:
    options = build_parser().parse_args(shlex.split(command)[1:])
    if options.command == "stream":
        assert config_of(options).source.calibration or config_of(options).source.sound_offset_ms
    else:
        assert options.command == "calibrate"
