"""A folder of pictures plays like a video."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame
from aam_edge.sources.folder import FolderSource, natural_key
from aam_edge.sources.mailbox import Ended

EVERY = SourceConfig(pace="every")


def write_pictures(folder: Path, names: list[str]) -> None:
    """Each picture's grey is its place in the list."""
    for grey, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((6, 8, 3), grey, np.uint8))


def read_all(source: FolderSource) -> list[Frame]:
    source.open()
    frames: list[Frame] = []
    try:
        while True:
            item = source.read()
            assert isinstance(item, Frame)
            frames.append(item)
    except Ended:
        source.close()
        return frames


def greys(frames: list[Frame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def test_pictures_come_in_the_order_a_person_would_sort_them(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["frame1.png", "frame2.png", "frame10.png", "Frame11.png"])
    (tmp_path / "notes.txt").write_text("no picture")
    assert greys(read_all(FolderSource(tmp_path, EVERY, "f"))) == [0, 1, 2, 3]


def test_stamps_step_by_the_asked_rate(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    frames = read_all(FolderSource(tmp_path, SourceConfig(pace="every", fps=4), "f"))
    assert [frame.capture_ns - frames[0].capture_ns for frame in frames] == [
        0,
        250_000_000,
        500_000_000,
    ]


def test_broken_picture_is_skipped_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "b.png").write_bytes(b"broken")
    source = FolderSource(tmp_path, SourceConfig(pace="every", loop=True), "f")
    source.open()
    with caplog.at_level(logging.WARNING):
        frames = [item for item in (source.read() for _ in range(4)) if isinstance(item, Frame)]
    assert greys(frames) == [0, 2, 0, 2]
    assert [frame.gap for frame in frames] == [0, 1, 0, 1]
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 3]
    assert caplog.text.count("b.png") == 1


def test_single_picture_is_a_folder_of_one(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    assert greys(read_all(FolderSource(tmp_path / "b.png", EVERY, "b"))) == [1]


@pytest.mark.parametrize("loop", [False, True])
def test_folder_in_which_nothing_can_be_decoded_is_one_clear_line(
    tmp_path: Path, loop: bool
) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"broken")
    source = FolderSource(tmp_path, SourceConfig(pace="every", loop=loop), "f")
    source.open()
    with pytest.raises(SourceError, match="2 tried"):
        source.read()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_folder_without_pictures_does_not_open(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=name):
        FolderSource(tmp_path / name, EVERY, "f").open()


def test_interrupt_ends_a_wait_for_the_next_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    source = FolderSource(tmp_path, SourceConfig(pace="real", fps=0.01), "f")
    source.open()
    source.read()
    source.interrupt()
    with pytest.raises(Ended):
        source.read()


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_numbers_in_names_sort_by_value(numbers: list[int]) -> None:
    names = [f"img_{number}.jpg" for number in numbers]
    assert sorted(names, key=natural_key) == [f"img_{number}.jpg" for number in sorted(numbers)]


@example(["²", "2", "٣"])  # digits to Unicode, no numbers to us
@given(st.lists(st.text(max_size=12), max_size=10))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key)) == sorted(names)
