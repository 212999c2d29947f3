"""From what is written after --camera to a source with a name."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError, UsageError
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.catalog import (
    camera_name,
    default_cameras,
    make_source,
    open_source,
    unique_names,
)
from aam_edge.sources.demo import DEMO_CLIP
from aam_edge.sources.folder import FolderSource
from aam_edge.sources.media import MediaSource
from aam_edge.sources.synthetic import SyntheticSource

CONFIG = SourceConfig()


@pytest.mark.parametrize(
    ("spec", "kind", "name"),
    [
        ("0", CameraSource, "0"),
        ("/dev/video2", CameraSource, "video2"),
        ("rtsp://me:secret@10.0.0.7:554/stream", MediaSource, "10-0-0-7"),
        ("http://gate.example/live.m3u8", MediaSource, "gate-example"),
        (str(DEMO_CLIP), MediaSource, "demo"),
        ("demo", MediaSource, "demo"),
        ("synthetic", SyntheticSource, "synthetic"),
    ],
)
def test_each_kind_of_spec_makes_its_source(spec: str, kind: type, name: str) -> None:
    source = make_source(spec, CONFIG)
    assert isinstance(source, kind)
    assert source.camera == name


def test_folder_and_picture_are_played_as_folders(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 2, 3), np.uint8))
    assert isinstance(make_source(str(tmp_path), CONFIG), FolderSource)
    assert isinstance(make_source(str(tmp_path / "a.png"), CONFIG), FolderSource)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no/such/file.mp4", "no such camera or file (no/such/file.mp4): give one of"),
        ("", "no such camera or file"),
        ("-1", "no such camera or file (-1)"),
        ("old.mcap", "no such camera or file (old.mcap)"),
    ],
)
def test_spec_that_names_nothing_is_one_clear_line(spec: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        make_source(spec, CONFIG)
    assert words in str(caught.value)
    assert caught.value.exit_code == 3


def test_camera_has_no_sound_track() -> None:
    with pytest.raises(UsageError, match="no sound track"):
        make_source("0", SourceConfig(mic="file"))


@given(st.text(max_size=40))
def test_name_of_any_spec_is_safe_in_a_topic(spec: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", camera_name(spec))


@given(st.lists(st.sampled_from(["a", "a-2", "b", "a-3", "0"]), max_size=8))
def test_names_are_made_unique_and_first_ones_are_kept(names: list[str]) -> None:
    unique = unique_names(names)
    assert len(unique) == len(set(unique)) == len(names)
    if names:
        assert unique[0] == names[0]


def test_default_is_a_camera_or_the_demo_and_is_said() -> None:
    specs, words = default_cameras()
    assert specs in (("0",), ("demo",))
    assert ("camera 0" in words) if specs == ("0",) else ("demo" in words)


def test_open_source_gives_frames_alone_and_honours_settings() -> None:
    with open_source("synthetic", size="64x48", fps=10) as source:
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
    assert [frame.size for frame in frames] == [(64, 48)] * 5
    assert frames[1].capture_ns - frames[0].capture_ns == 100_000_000
