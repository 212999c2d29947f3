"""The packaged clip: small, with sound, and endless where a stream is wanted."""

from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.config import SourceConfig
from aam_edge.messages import Sound
from aam_edge.sources.catalog import open_source
from aam_edge.sources.demo import DEMO_CLIP, demo_source
from aam_edge.sources.mailbox import Ended


@dataclass(frozen=True)
class Shot:
    """A frame without its weight: 657 whole ones are 600 MB."""

    frame_id: int
    capture_ns: int
    size: tuple[int, int]
    small: NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    shots: list[Shot]
    levels_db: list[float]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """All of the clip, and the first second of its second round."""
    read = Clip([], [])
    with closing(demo_source(SourceConfig(pace="every"))) as source:
        source.open()
        while len(read.shots) < 657:
            item = source.read()
            if isinstance(item, Sound):
                read.levels_db.append(item.level_db)
                continue
            assert item.camera == "demo"
            small = cv2.resize(item.image, (64, 48), interpolation=cv2.INTER_AREA).astype(np.int16)
            read.shots.append(Shot(item.frame_id, item.capture_ns, item.size, small))
    return read


def test_clip_is_at_most_three_megabytes() -> None:
    assert 100_000 < DEMO_CLIP.stat().st_size <= 3_000_000


def test_clip_is_640x480_at_a_constant_30_frames_a_second_through_its_seam(clip: Clip) -> None:
    assert {shot.size for shot in clip.shots} == {(640, 480)}
    steps_ns = np.diff([shot.capture_ns for shot in clip.shots])
    assert abs(steps_ns - 1e9 / 30).max() < 2


def test_clip_has_sound_to_be_heard(clip: Clip) -> None:
    assert len(clip.levels_db) > 600
    assert max(clip.levels_db) > -25


def test_clip_starts_again_with_its_numbers_going_on(clip: Clip) -> None:
    assert [shot.frame_id for shot in clip.shots] == list(range(657))
    np.testing.assert_array_equal(clip.shots[627].small, clip.shots[0].small)


def test_clip_has_scenes_that_differ_and_move(clip: Clip) -> None:
    pictures = [shot.small for shot in clip.shots]
    scenes = [pictures[90], pictures[270], pictures[440], pictures[580]]
    for number, scene in enumerate(scenes):
        assert scene.std() > 20
        assert all(np.abs(scene - other).mean() > 20 for other in scenes[:number])
    assert np.abs(pictures[90] - pictures[110]).mean() > 1


def test_demo_ends_for_whoever_iterates_over_it() -> None:
    with open_source("demo", mic="none") as frames:
        assert sum(1 for _ in frames) == 627


def test_open_source_can_be_closed_in_the_middle() -> None:
    source = open_source("demo", mic="none")
    frame = next(iter(source))
    source.close()
    source.close()
    assert frame.frame_id == 0
    with pytest.raises((Ended, StopIteration)):
        next(iter(source))
