"""Any picture file becomes BGR, 8 bit, upright; what is none is one clear line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.errors import SourceError
from aam_edge.sources.picture import read_picture, to_bgr8


def write(path: Path, picture: NDArray[np.generic]) -> Path:
    assert cv2.imwrite(str(path), np.asarray(picture))
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".jpg", ".ppm"])
def test_colour_picture_of_each_format_keeps_its_colours(tmp_path: Path, suffix: str) -> None:
    picture = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    read = read_picture(write(tmp_path / f"a{suffix}", picture))
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read.astype(int), picture, atol=6)


@pytest.mark.parametrize("size", [(1, 1), (4000, 3000), (300, 400), (7, 1)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    path = write(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))
    assert read_picture(path).shape == (height, width, 3)


def test_grey_picture_gets_three_equal_channels(tmp_path: Path) -> None:
    read = read_picture(write(tmp_path / "a.png", np.full((5, 4), 77, np.uint8)))
    np.testing.assert_array_equal(read, np.full((5, 4, 3), 77))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_sixteen_bit_is_scaled_by_its_whole_range(tmp_path: Path, shape: tuple[int, ...]) -> None:
    dark = read_picture(write(tmp_path / "a.png", np.full(shape, 0x2080, np.uint16)))
    bright = read_picture(write(tmp_path / "b.png", np.full(shape, 0xFFFF, np.uint16)))
    np.testing.assert_array_equal(dark, np.full((5, 4, 3), 0x20))
    np.testing.assert_array_equal(bright, np.full((5, 4, 3), 255))


def test_transparent_picture_keeps_its_colours(tmp_path: Path) -> None:
    picture = np.full((5, 4, 4), (10, 20, 30, 0), np.uint8)
    read = read_picture(write(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(read, picture[:, :, :3])


def test_photo_of_a_turned_phone_is_upright(tmp_path: Path) -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :10] = 255
    path = write(tmp_path / "a.jpg", picture)
    path.write_bytes(with_orientation(path.read_bytes(), 6))  # to be turned clockwise
    read = read_picture(path)
    assert read.shape == (40, 20, 3)
    assert read[:8].mean() > 240 > 20 > read[12:].mean()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The same JPEG with an EXIF segment of this one tag."""
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    exif = b"Exif\0\0MM\x00\x2a\x00\x00\x00\x08\x00\x01" + tag + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_file_that_is_no_picture_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_float_picture_is_clipped_to_its_range() -> None:
    picture = np.array([[[-1.0, 0.5, 2.0], [np.nan, 0.0, 1.0]]])
    np.testing.assert_array_equal(to_bgr8(picture), [[[0, 128, 255], [0, 0, 255]]])
