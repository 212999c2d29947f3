"""The pictures of docs/model.md: each tool draws its own with the packaged network."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MOST_BYTES = 400_000


def drawn(tool: str, out: Path, *options: str) -> tuple[NDArray[np.generic], str]:
    """The picture that a tool writes, and what it prints."""
    command = [sys.executable, str(ROOT / "tools" / tool), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size < MOST_BYTES
    picture = cv2.imread(str(out))
    assert picture is not None
    return picture, done.stdout


def test_filter_is_drawn_over_a_clip_with_dropped_frames_grey(tmp_path: Path) -> None:
    picture, said = drawn("draw_filter", tmp_path / "filter.png")
    whole, _ = drawn("draw_filter", tmp_path / "whole.png", "--lost", "0")
    assert picture.shape == whole.shape
    # Some columns of the frame's row are one grey, where nothing is dropped none is.
    row = 2 * 22 + 50
    assert is_one_grey(picture[row])
    assert not is_one_grey(whole[row])
    observed, known = map(float, re.findall(r"\d\.\d{3}", said))
    assert 0 < known < observed < 1


def is_one_grey(row: NDArray[np.generic]) -> bool:
    """Whether a run of 100 pixels is exactly the grey of what was dropped."""
    grey = (np.abs(row.astype(int) - 128) <= 2).all(axis=1)
    return bool((np.convolve(grey, np.ones(100), "valid") == 100).any())


def test_four_prompts_and_the_disc_are_drawn_of_a_photo(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra [torch]")
    picture, said = drawn("draw_prompts", tmp_path / "prompts.png")
    panels = [picture[y : y + 280, x : x + 280] for y in (34, 348) for x in (12, 304)]
    for one, other in combinations(panels, 2):
        assert (one != other).any(axis=2).mean() > 0.05
    found = re.search(r"(\d+) of (\d+) pairs", said)
    assert found is not None
    above, pairs = map(int, found.groups())
    assert pairs > 70
    # General words lie nearer the origin: that is what depth means.
    assert above > 0.8 * pairs


def test_pictures_of_the_network_page_are_there_and_small() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((pictures/[^)]+)\)", (DOCS / "model.md").read_text())
    assert sorted(shown) == ["pictures/filter.png", "pictures/prompts.png"]
    for picture in shown:
        assert (DOCS / picture).stat().st_size < MOST_BYTES


def test_photo_that_is_drawn_on_is_credited_beside_it_and_in_notice() -> None:
    address = "https://www.flickr.com/photos/lwpkommunikacio/31432432235"
    for page in (DOCS / "model.md", ROOT / "NOTICE"):
        words = page.read_text()
        assert address in words
        assert "CC BY 2.0" in words
