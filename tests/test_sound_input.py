"""Sound of any rate, width and quality gets through microphone and files without a trace."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.config import SourceConfig
from aam_edge.engine.log_mel import LogMel
from aam_edge.messages import Samples, Sound
from aam_edge.sources.media import MediaSource
from aam_edge.sources.microphone import BlockReader
from aam_edge.sources.sound_ring import SoundRing
from tests.test_media_source import read_all, sounds_of

NOW_NS = 1_800_000_000_000_000_000
BLOCK_NS = 20_000_000
RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]
LAYOUTS = ["mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1"]
BAD = [np.nan, np.inf, -np.inf, 1e30, -1e30]


def tone(rate_hz: int, seconds: float) -> NDArray[np.float32]:
    times_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 500 * times_s)).astype(np.float32)


def hear(samples: NDArray[np.float32], rate_hz: int) -> SoundRing:
    """Gives samples (n, channels) to a microphone's callback in blocks of 20 ms."""
    reader, ring, size = BlockReader(rate_hz), SoundRing(), rate_hz // 50
    for number in range(len(samples) // size):
        ring.add(
            reader.read(
                samples[number * size : (number + 1) * size],
                adc_time_s=10 + number * 0.02,
                current_time_s=10.02 + number * 0.02,
                now_ns=NOW_NS + (number + 1) * BLOCK_NS,
            )
        )
    return ring


def window_of(ring: SoundRing, end_ns: int) -> Sound:
    window = ring.window(end_ns)
    assert window is not None
    return window


def is_usable(samples: Samples) -> bool:
    """Finite and within full scale, but for what a filter swings over."""
    return bool(np.isfinite(samples).all() and np.abs(samples).max(initial=0) < 1.5)


def tone_part(samples: Samples) -> float:
    """Part of the power that is at 500 Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 16_000)
    return float(spectrum[np.abs(hz - 500) < 20].sum() / spectrum.sum())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(RATES_HZ), st.integers(1, 8))
def test_microphone_of_any_rate_and_width_gives_the_tone(rate_hz: int, channels: int) -> None:
    samples = np.repeat(tone(rate_hz, 1.2)[:, None], channels, axis=1)
    window = window_of(hear(samples, rate_hz), NOW_NS + 1_150_000_000)
    assert tone_part(window.samples) > 0.999
    assert abs(np.abs(window.samples[2_000:]).max() - 0.4) < 0.01


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000, 192_000])
@pytest.mark.parametrize("value", BAD)
def test_broken_samples_of_a_microphone_are_gone_when_they_are_over(
    rate_hz: int, value: float
) -> None:
    samples = np.repeat(tone(rate_hz, 2.5)[:, None], 2, axis=1)
    samples[rate_hz // 2 : rate_hz, 1] = value
    ring = hear(samples, rate_hz)
    during = window_of(ring, NOW_NS + 1_000_000_000)
    assert is_usable(during.samples)
    assert np.isfinite(during.level_db)
    assert np.isfinite(LogMel().update(during)).all()
    after = window_of(ring, NOW_NS + 2_300_000_000)
    whole = window_of(
        hear(np.repeat(tone(rate_hz, 2.5)[:, None], 2, axis=1), rate_hz), after.end_ns
    )
    np.testing.assert_allclose(after.samples, whole.samples, atol=1e-5)


def write_track(path: Path, samples: NDArray[np.float32], rate_hz: int, layout: str) -> Path:
    """A clip of 1.5 s whose sound is stored as floats, so that anything can be in it."""
    with av.open(str(path), "w") as container:
        video, audio = add_streams(container, "mpeg4", 10, "pcm_f32le", rate_hz)
        audio.layout = layout
        add_pictures(container, video, 15)
        channels = audio.codec_context.layout.nb_channels
        for start in range(0, len(samples), 1024):
            wide = np.repeat(samples[start : start + 1024, None], channels, axis=1)
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wide.reshape(1, -1)), format="flt", layout=layout
            )
            block.sample_rate, block.pts, block.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    return path


def add_streams(
    container: av.container.OutputContainer, codec: str, fps: int, sound_codec: str, rate_hz: int
) -> tuple[av.video.stream.VideoStream, av.audio.stream.AudioStream]:
    """Both at once: what is added after the first packet is too late."""
    video, audio = container.add_stream(codec, fps), container.add_stream(sound_codec, rate_hz)
    assert isinstance(video, av.video.stream.VideoStream)
    assert isinstance(audio, av.audio.stream.AudioStream)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    return video, audio


def add_pictures(
    container: av.container.OutputContainer, video: av.video.stream.VideoStream, count: int
) -> None:
    for number in range(count):
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="bgr24")
        picture.pts, picture.time_base = number, 1 / Fraction(video.codec_context.framerate)
        container.mux(video.encode(picture))
    container.mux(video.encode())


def sound_of(path: Path) -> Samples:
    items = read_all(MediaSource(str(path), SourceConfig(pace="every"), "clip"))
    return np.concatenate([sound.samples for sound in sounds_of(items)])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_track_of_any_rate_gives_the_tone(tmp_path: Path, rate_hz: int) -> None:
    samples = sound_of(write_track(tmp_path / "clip.mkv", tone(rate_hz, 1.5), rate_hz, "mono"))
    assert abs(len(samples) - 24_000) < 100
    assert tone_part(samples) > 0.999


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sound_track_of_any_width_gives_the_tone(tmp_path: Path, layout: str) -> None:
    samples = sound_of(
        write_track(tmp_path / "clip.mkv", np.float32(0.25) * tone(48_000, 1.5), 48_000, layout)
    )
    assert is_usable(samples)
    assert tone_part(samples) > 0.999


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("value", BAD)
def test_broken_samples_of_a_track_leave_the_rest_whole(
    tmp_path: Path, rate_hz: int, value: float
) -> None:
    broken = tone(rate_hz, 1.5)
    broken[rate_hz // 4 : rate_hz // 2] = value
    samples = sound_of(write_track(tmp_path / "broken.mkv", broken, rate_hz, "stereo"))
    whole = sound_of(write_track(tmp_path / "whole.mkv", tone(rate_hz, 1.5), rate_hz, "stereo"))
    assert is_usable(samples)
    assert len(samples) == len(whole)
    np.testing.assert_allclose(samples[9_000:], whole[9_000:], atol=1e-5)


def test_silent_and_clipped_tracks_are_silent_and_full(tmp_path: Path) -> None:
    silent = sound_of(
        write_track(tmp_path / "0.mkv", np.zeros(72_000, np.float32), 48_000, "stereo")
    )
    assert not silent.any()
    square = np.sign(tone(48_000, 1.5))
    full = sound_of(write_track(tmp_path / "1.mkv", square, 48_000, "stereo"))
    assert np.abs(full).max() == 1.0


def test_track_that_changes_its_rate_and_width_goes_on(tmp_path: Path) -> None:
    parts = []
    for name, rate_hz, layout in (("a", 48_000, "stereo"), ("b", 32_000, "mono")):
        path = tmp_path / f"{name}.ts"
        with av.open(str(path), "w", format="mpegts") as container:
            video, audio = add_streams(container, "mpeg2video", 25, "mp2", rate_hz)
            audio.layout = layout
            add_pictures(container, video, 25)
            ints = (32_767 * tone(rate_hz, 1.0)).astype(np.int16)
            for start in range(0, len(ints), 1152):
                wide = np.repeat(ints[start : start + 1152, None], 1 + (name == "a"), axis=1)
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wide.reshape(1, -1)), format="s16", layout=layout
                )
                block.sample_rate, block.pts, block.time_base = rate_hz, start, Fraction(1, rate_hz)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
        parts.append(path.read_bytes())
    broadcast = tmp_path / "broadcast.ts"
    broadcast.write_bytes(b"".join(parts))
    samples = sound_of(broadcast)
    assert abs(len(samples) - 32_000) < 1_500
    assert tone_part(samples[2_000:14_000]) > 0.99
    assert tone_part(samples[18_000:30_000]) > 0.99
