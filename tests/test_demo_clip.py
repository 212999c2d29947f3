"""The packaged clip: small, with sound, and endless where a stream is wanted."""

from contextlib import closing

import numpy as np
import pytest

from aam_edge.config import SourceConfig
from aam_edge.messages import Frame, Sound
from aam_edge.sources.catalog import open_source
from aam_edge.sources.demo import DEMO_CLIP, demo_source
from aam_edge.sources.mailbox import Ended


@pytest.fixture(scope="module")
def items() -> list[Frame | Sound]:
    """All of the clip, and the first second of its second round."""
    found: list[Frame | Sound] = []
    with closing(demo_source(SourceConfig(pace="every"))) as source:
        source.open()
        while sum(isinstance(item, Frame) for item in found) < 657:
            found.append(source.read())
    return found


def test_clip_is_at_most_three_megabytes() -> None:
    assert 100_000 < DEMO_CLIP.stat().st_size <= 3_000_000


def test_clip_is_640x480_at_a_constant_30_frames_a_second(items: list[Frame | Sound]) -> None:
    frames = [item for item in items if isinstance(item, Frame)]
    assert {frame.size for frame in frames} == {(640, 480)}
    steps_ns = np.diff([frame.capture_ns for frame in frames])
    assert abs(steps_ns - 1e9 / 30).max() < 2
    assert {frame.camera for frame in frames} == {"demo"}


def test_clip_has_sound_to_be_heard(items: list[Frame | Sound]) -> None:
    levels_db = [item.level_db for item in items if isinstance(item, Sound)]
    assert len(levels_db) > 600
    assert max(levels_db) > -25


def test_clip_starts_again_with_its_numbers_going_on(items: list[Frame | Sound]) -> None:
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.frame_id for frame in frames] == list(range(657))
    np.testing.assert_array_equal(frames[627].image, frames[0].image)


def test_clip_has_scenes_that_differ_and_move(items: list[Frame | Sound]) -> None:
    frames = [item.image.astype(np.int16) for item in items if isinstance(item, Frame)][:627]
    scenes = [frames[90], frames[270], frames[440], frames[580]]
    for number, scene in enumerate(scenes):
        assert scene.std() > 20
        assert all(np.abs(scene - other).mean() > 20 for other in scenes[:number])
    assert np.abs(frames[90] - frames[110]).mean() > 1


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
