"""`aam-edge calibrate sync`: claps and flashes in recordings whose offset is known."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.calibrate.sync import (
    By,
    PictureSignals,
    find_offset,
    match,
    onsets,
)
from aam_edge.cli.main import main
from aam_edge.errors import DataError
from aam_edge.messages import SOUND_RATE_HZ, Frame, Image, Sound
from aam_edge.sources.sound_ring import SoundRing
from aam_edge.sources.synchroniser import Synchroniser

FPS = 30
EVENTS_S = np.array([0.71, 1.53, 2.27, 3.11, 3.84, 4.66])
Samples = NDArray[np.float32]


def clicks(times_s: NDArray[np.float64], seconds: float, seed: int = 0) -> Samples:
    """Claps in a room with some noise."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.002, round(seconds * SOUND_RATE_HZ))
    ring = np.exp(-np.arange(3200) / 400) * rng.normal(0, 0.5, 3200)
    for start in np.round(times_s * SOUND_RATE_HZ).astype(int):
        if 0 <= start < len(samples):
            part = samples[start : start + 3200]
            part += ring[: len(part)]
    return np.clip(samples, -1, 1).astype(np.float32)


def flash_signals(times_s: NDArray[np.float64], seconds: float, fps: float) -> PictureSignals:
    """The light of each frame, which shows what began since the one before."""
    rng = np.random.default_rng(1)
    stamps = np.arange(int(seconds * fps)) / fps
    since = stamps[:, None] - times_s
    is_lit = ((since >= 0) & (since < 0.12)).any(axis=1)
    light = 0.3 + 0.2 * is_lit + rng.normal(0, 0.002, len(stamps))
    return PictureSignals(stamps, light, np.abs(np.diff(light, prepend=light[0])))


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.4, 0.4), st.sampled_from([15.0, 30.0, 60.0]), st.integers(0, 100))
def test_offset_is_found_within_its_own_error(offset_s: float, fps: float, seed: int) -> None:
    jitter = np.random.default_rng(seed).uniform(-0.1, 0.1, len(EVENTS_S))
    events_s = EVENTS_S + jitter
    heard = clicks(events_s + offset_s, 6.0, seed)
    found = find_offset(flash_signals(events_s, 6.0, fps), heard, SOUND_RATE_HZ)
    assert (found.by, found.events) == ("flash", 6)
    assert found.offset_s == pytest.approx(offset_s, abs=4 * found.error_s)
    assert found.error_s < 1 / fps


def test_onsets_are_found_to_the_millisecond() -> None:
    np.testing.assert_allclose(onsets(clicks(EVENTS_S, 6.0), SOUND_RATE_HZ), EVENTS_S, atol=0.002)


def test_events_that_are_only_heard_or_only_seen_do_not_mislead() -> None:
    seen = flash_signals(np.append(EVENTS_S, [1.1, 4.2]), 6.0, FPS)
    heard = clicks(np.append(EVENTS_S + 0.08, [0.3, 2.7, 5.3]), 6.0)
    found = find_offset(seen, heard, SOUND_RATE_HZ)
    assert found.events == 6
    assert found.offset_s == pytest.approx(0.08, abs=0.02)


def test_hands_that_change_the_light_a_little_are_still_a_clap() -> None:
    """Four of the six times the picture was lighter a moment before the hands met."""
    light = flash_signals(EVENTS_S[:4] - 0.15, 6.0, FPS).light
    stamps = np.arange(len(light)) / FPS
    since = stamps[:, None] - EVENTS_S
    moved = ((since > -0.2) & (since < 0)).any(axis=1) + 0.5 * (
        (since >= 0) & (since < 1 / FPS)
    ).any(axis=1)
    motion = 0.2 * moved + np.random.default_rng(2).normal(0, 0.002, len(light))
    found = find_offset(
        PictureSignals(stamps, light, motion), clicks(EVENTS_S + 0.08, 6.0), SOUND_RATE_HZ
    )
    assert found.by == "clap"
    assert found.events >= 5
    assert found.offset_s == pytest.approx(0.08, abs=0.02)


def test_nothing_that_goes_together_is_said() -> None:
    quiet = clicks(np.zeros(0), 6.0)
    with pytest.raises(DataError, match="no claps or flashes that are seen and heard"):
        find_offset(flash_signals(EVENTS_S, 6.0, FPS), quiet, SOUND_RATE_HZ)
    with pytest.raises(DataError, match="sound: 6 events"):
        find_offset(flash_signals(np.zeros(0), 6.0, FPS), clicks(EVENTS_S, 6.0), SOUND_RATE_HZ)
    assert match(np.zeros(0), EVENTS_S, 1 / FPS, "flash") is None
    assert len(onsets(np.zeros(10, np.float32), SOUND_RATE_HZ)) == 0


def hands(time_s: float) -> Image:
    """Two bars that come together at each event, rest, and go apart."""
    image = np.full((240, 320, 3), 60, np.uint8)
    nearest = time_s - EVENTS_S[np.argmin(np.abs(time_s - EVENTS_S))]
    apart = -nearest * 700 if nearest < 0 else max(0.0, nearest - 0.15) * 300
    half = int(min(120, max(0, apart)) / 2)
    for left in (160 - half - 40, 160 + half):
        cv2.rectangle(image, (left, 60), (left + 40, 180), (150, 190, 220), -1)
    return image


def flashing(time_s: float) -> Image:
    since = time_s - EVENTS_S
    is_lit = bool(((since >= 0) & (since < 0.1)).any())
    return np.full((240, 320, 3), 220 if is_lit else 70, np.uint8)


def write_recording(path: Path, by: By, offset_s: float, seconds: float = 5.5) -> None:
    """A real file: pictures at 30 frames/s, sound that is stamped `offset_s` late."""
    paint = flashing if by == "flash" else hands
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SOUND_RATE_HZ, layout="mono")
        for k in range(round(seconds * FPS)):
            picture = av.VideoFrame.from_ndarray(paint(k / FPS), format="bgr24")
            picture.pts, picture.time_base = k, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        samples = (clicks(EVENTS_S + offset_s, seconds) * 32767).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.rate, sound.pts, sound.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


@pytest.mark.parametrize(("by", "offset_s"), [("flash", 0.120), ("clap", -0.065)])
def test_recording_gives_its_offset(
    by: By, offset_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.mkv"
    write_recording(path, by, offset_s)
    assert main(["calibrate", "sync", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["by"] == by
    assert report["events"] >= 5
    assert report["sound_offset_ms"] == pytest.approx(1e3 * offset_s, abs=15)
    assert main(["calibrate", "sync", str(path)]) == 0
    side = "after" if offset_s > 0 else "before"
    lines = capsys.readouterr().out
    assert f"ms {side} the picture" in lines
    assert "--set source.sound_offset_ms=" in lines


def test_silent_or_absent_recording_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent.mp4"
    with av.open(str(silent), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for k in range(3):
            picture = av.VideoFrame.from_ndarray(flashing(k / FPS), format="bgr24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    for path, code, words in (
        (silent, 6, "recording has no sound"),
        (tmp_path / "gone.mp4", 3, "file is not there"),
    ):
        assert main(["calibrate", "sync", str(path)]) == code
        assert words in capsys.readouterr().err


def test_offset_brings_the_sound_to_its_picture() -> None:
    ring, start_ns = SoundRing(), 10**18
    samples = np.zeros(SOUND_RATE_HZ, np.float32)
    samples[8000] = 1.0
    # What happened at 0.4 s is stamped 100 ms late.
    ring.add(Sound(samples, start_ns))
    frame = Frame(np.zeros((2, 2, 3), np.uint8), start_ns + 400_000_000, "0", 0)
    heard = Synchroniser(ring, window_s=0.2, offset_ms=100.0).observe(frame).sound
    assert heard is not None
    assert heard.end_ns == frame.capture_ns
    later = Frame(np.zeros((2, 2, 3), np.uint8), start_ns + 450_000_000, "0", 1)
    heard = Synchroniser(ring, window_s=0.2, offset_ms=100.0).observe(later).sound
    assert heard is not None
    place = int(heard.samples.argmax())
    assert heard.start_ns + place * 62_500 == pytest.approx(start_ns + 400_000_000, abs=62_500)
