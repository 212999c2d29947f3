"""Strangers at media files: pictures, videos with sound, and WAV files."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import strategies as st

from aam_edge.config import SourceConfig
from aam_edge.sources.media import MediaSource
from aam_edge.sources.picture import decode_picture
from tests.conftest import scene
from tests.fuzz.attack import SOME, Door, attack, play_to_end, replayed, stands, times
from tests.fuzz.mutation import bytes_like

PICTURES = [
    cv2.imencode(f".{form}", scene(0, 48, 32))[1].tobytes()
    for form in ("jpg", "png", "bmp", "webp", "tiff", "ppm", "jp2")
]


def video(form: str, codec: str, sound: str | None) -> bytes:
    """A few small pictures, with a tone where the container takes one."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        pictures: Any = container.add_stream(codec, rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        tone: Any = container.add_stream(sound, rate=16000, layout="mono") if sound else None
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(scene(k, 64, 48), "bgr24")
            container.mux(pictures.encode(frame))
            if tone is not None:
                samples = np.full((1, 1600), 0.1 * k, np.float32)
                block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
                block.sample_rate = 16000
                container.mux(tone.encode(block))
        container.mux(pictures.encode(None))
        if tone is not None:
            container.mux(tone.encode(None))
    return file.getvalue()


def wav(samples: int = 400) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16000)
        written.writeframes(b"\1\2" * samples)
    return file.getvalue()


VIDEOS = [
    video("mp4", "mpeg4", "aac"),
    video("avi", "mpeg4", None),
    video("matroska", "mpeg4", "aac"),
]


def picture_door(content: bytes) -> None:
    decode_picture(content, "stranger.jpg")


def video_door(folder: Path) -> Door:
    """A file as --camera plays it, to its end."""
    path = folder / "stranger.mp4"

    def door(content: bytes) -> None:
        path.write_bytes(content)
        play_to_end(MediaSource(str(path), SourceConfig(pace="every"), "0"))

    return door


def wav_door(content: bytes) -> None:
    """A file of a data set's sound."""
    pytest.importorskip("scipy")
    from aam_edge.training.corpus.sound import read_sound, samples_between
    from aam_edge.training.corpus.stored import Blob

    sound = Blob("stranger.wav", content)
    read_sound(sound)
    samples_between(sound, 0.0, 0.02, 16000)


@times()
def test_no_picture_breaks_its_reader(cases: int) -> None:
    attack(picture_door, bytes_like(PICTURES), cases)


@replayed("picture")
def test_pictures_that_broke_it_once(case: Path) -> None:
    stands(picture_door, case.read_bytes())


@times(SOME)
def test_no_video_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    attack(video_door(tmp_path), bytes_like([*VIDEOS, wav()]), cases)


@replayed("video")
def test_videos_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(video_door(tmp_path), case.read_bytes())


@times()
def test_no_wav_breaks_its_reader(cases: int) -> None:
    attack(wav_door, st.one_of(bytes_like([wav(), wav(1)]), st.just(wav(0))), cases)


@replayed("wav")
def test_wavs_that_broke_it_once(case: Path) -> None:
    stands(wav_door, case.read_bytes())
