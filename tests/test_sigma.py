"""How well a target's place is known: sigma_px, against formula and against the truth."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.config import ReadoutConfig
from aam_edge.messages import Frame, Map, Observation, RawAttention
from aam_edge.readout.peaks import LEAST_SIGMA_CELLS, PLACE_SIGMA, find_peaks
from aam_edge.readout.readout import Readout

TOOL = Path(__file__).resolve().parents[1] / "tools" / "calibrate_sigma"
Y, X = np.mgrid[:48, :64]


def hill(x: float = 30, y: float = 22, width: float = 3.0) -> Map:
    density = np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * width**2)) + 1e-5
    return np.asarray(density / density.sum(), np.float32)


def sigma_px(density: Map, variance: float, image: tuple[int, int] = (64, 48)) -> float:
    (peak,) = find_peaks(density, np.full_like(density, variance), image)
    return peak.sigma_px


@settings(max_examples=40, deadline=None)
@given(st.floats(1.5, 5), st.floats(0.05, 2))
def test_sigma_is_as_wide_as_the_hill_and_the_error_of_its_logarithm(
    width: float, variance: float
) -> None:
    expected = PLACE_SIGMA * width * math.sqrt(variance)
    assert sigma_px(hill(width=width), variance) == pytest.approx(expected, rel=0.1)


def test_sigma_is_in_pixels_of_the_source() -> None:
    assert sigma_px(hill(), 0.5, (640, 480)) == pytest.approx(10 * sigma_px(hill(), 0.5))


def test_sigma_is_never_nothing_nor_more_than_the_picture() -> None:
    assert sigma_px(hill(), 0.0) == LEAST_SIGMA_CELLS
    assert sigma_px(hill(), 1e4) == 0.25 * 48


def test_sigma_is_of_the_targets_own_place() -> None:
    density = (hill(14, 22) + hill(48, 22)) / np.float32(2)
    variance = np.where(X < 32, 0.1, 0.9).astype(np.float32)
    left, right = sorted(find_peaks(density, variance, (64, 48)), key=lambda peak: peak.x)
    assert right.sigma_px == pytest.approx(3 * left.sigma_px, rel=0.02)
    assert right.score == pytest.approx(left.score, rel=0.02)


def test_place_of_averaged_shifts_errs_as_much_as_sigma_says() -> None:
    """The case of the derivation: hills that jitter, averaged in the log with a fixed gain."""
    rng, gain, width, jitter = np.random.default_rng(0), 0.2, 3.0, 1.5
    # Of log o, where the density is: J^2 r^2 / s^4, whose mean over the hill is 2 J^2 / s^2.
    variance = gain * 2 * jitter**2 / width**2
    log, inside = np.log(hill()), []
    for k in range(400):
        x, y = rng.normal((30, 22), jitter)
        log = log + gain * (np.log(hill(x, y, width)) - log)
        density = np.exp(log) / np.exp(log).sum()
        (peak,) = find_peaks(density.astype(np.float32), np.full_like(density, variance), (64, 48))
        if k > 20:
            inside.append(math.hypot(peak.x - 30, peak.y - 22) < 2 * peak.sigma_px)
    assert 0.92 < np.mean(inside) < 0.98


def test_power_of_the_evidence_makes_the_hill_narrow_but_its_place_no_better_known() -> None:
    squared = hill(width=3 / math.sqrt(2))
    readings = []
    for density, beta in ((hill(), 1.0), (squared, 2.0)):
        frame = Frame(np.zeros((48, 64, 3), np.uint8), 1_700_000_000_000_000_000, "0", 0)
        variance = np.full_like(density, 0.3)
        raw = RawAttention(density, variance, 0.033, cut=False, beta=beta)
        attention = Readout(ReadoutConfig()).read(
            Observation(frame), raw, prompt="", prompt_index=0, prompt_id=0, model="", weights=""
        )
        readings.append((attention.targets[0].sigma_px, attention.uncertainty))
    (plain, plain_error), (power, power_error) = readings
    assert power == pytest.approx(plain, rel=0.03)
    assert power_error == pytest.approx(2 * plain_error, rel=1e-3)


@pytest.mark.timeout(900)
def test_truth_lies_within_two_sigma_on_clips_that_set_nothing() -> None:
    pytest.importorskip("torch", reason="needs the extra [torch]")
    command = [sys.executable, str(TOOL), "--scenes", "3", "--frames", "40", "--seed", "7000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=True)
    (whole,) = re.findall(r"^all but outside +([\d.]+)$", done.stdout, re.MULTILINE)
    assert 0.90 <= float(whole) <= 0.98
    rows = re.findall(r"^(\S.*?) {2,}(?=[\d.]+ \()(.+)$", done.stdout, re.MULTILINE)
    assert len(rows) == 11
    for name, columns in rows:
        cells = re.findall(r"([\d.]+) \(([\d.]+), ([\d.]+)\)", columns)
        sigmas = [float(sigma) for _, _, sigma in cells]
        # It grows with the part that is lost, and after each gap.
        assert sigmas[0] < sigmas[1] < sigmas[2], name
        assert float(columns.split()[-1]) > 1.05, name
        if "outside" not in name:
            # 60 frames to a cell at the least, and errors last for some frames.
            assert all(float(inside) > 0.85 for inside, _, _ in cells), (name, cells)
