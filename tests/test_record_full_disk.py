"""A recording whose disk refuses: what is lost is counted and said, and a new file is tried."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aam_edge.config import RecordConfig
from aam_edge.errors import DataError
from aam_edge.messages import Frame, Health
from aam_edge.recording.reader import Recording
from aam_edge.sinks.recording_files import RecordingFiles
from aam_edge.sinks.recording_steps import Reported, Step
from tests.recordings import messages_of
from tests.test_record_parts import NOW_NS, plan, step_of


@contextlib.contextmanager
def full_disk(room_bytes: int = 100) -> Iterator[None]:
    """No file grows beyond so much in here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_step() -> Step:
    """More than stays in memory, 1 MiB."""
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), np.uint8)
    return step_of("look", frame=Frame(noise, NOW_NS, "test", 0))


def test_disk_that_is_full_at_the_beginning_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig(retry_s=0.0))
    with full_disk():
        files.begin({}, plan("test"))
        assert files.trouble == "cannot write: File too large"
        for begins in (False, True, True):
            assert files.wants_new
            files.write(step_of("look", begins=begins))
        files.write(Reported(Health.unknown(), NOW_NS))
        files.tick()
    assert (files.lost, files.trouble) == (3, "cannot write: File too large")
    files.write(step_of("look"))  # no file begins in the middle
    assert files.lost == 4
    files.write(step_of("look", begins=True))
    files.close()
    assert (files.lost, files.trouble) == (4, "")
    assert len(messages_of(files.path, "/message")) == 1
    said = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]
    assert [text.partition(" (")[0] for text in said] == [
        "recording stops",
        "recording is back, steps lost: 4",
    ]


def test_disk_that_fills_up_on_the_way_is_left_alone_for_a_while(tmp_path: Path) -> None:
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig(retry_s=3600.0))
    files.begin({}, plan("test"))
    with full_disk():
        files.write(large_step())
        files.tick()
    assert files.trouble == "cannot write: File too large"
    assert not files.wants_new  # for an hour
    files.write(step_of("look", begins=True))
    assert files.lost >= 1
    files.close()
    files.close()
    assert not files.wants_new


@pytest.mark.parametrize("seed", range(5))
def test_each_step_is_in_a_file_or_counted_as_lost(seed: int, tmp_path: Path) -> None:
    """Wherever the disk begins to refuse: in the head, in a chunk, in its index, at the end."""
    rng = np.random.default_rng(seed)
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig(retry_s=0.0))
    files.begin({}, plan("test"))
    offered = 0
    for _ in range(4):
        with full_disk(int(rng.choice([100, 1_000_000, 2_200_000, 5_000_000]))):
            for _ in range(6):
                step = large_step() if rng.random() < 0.3 else step_of("look", begins=True)
                files.write(step)
                files.write(step_of("look"))
                offered += 2
                files.tick()
    with full_disk(int(rng.choice([100, 10_000_000]))):
        files.close()
    assert sum(map(steps_in, tmp_path.iterdir())) + files.lost == offered
    assert files.lost


def steps_in(path: Path) -> int:
    """How many steps of one prompt a file holds."""
    try:
        return len(messages_of(path, "/message"))
    except DataError:  # none
        return 0


def test_steps_of_a_chunk_that_the_disk_refuses_at_the_end_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig())
    files.begin({}, plan("test"))
    for begins in (True, False, False):
        files.write(step_of("look", begins=begins))
    with full_disk():
        files.close()
    assert files.lost == 3
    assert "lacks its index and 3 steps: File too large" in caplog.text
    assert steps_in(files.path) == 0


def test_disk_that_is_full_at_the_end_takes_the_index_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig())
    files.begin({}, plan("test"))
    files.write(large_step())
    files.tick()
    with full_disk():
        files.close()
    assert "lacks its index: File too large" in caplog.text
    with Recording(files.path) as recording:
        assert not recording.index.is_whole
    assert len(messages_of(files.path, "/message")) == 1
