"""`--record` when something is short: memory, room on the disk, time; and commands on the way."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aam_edge.config import RecordConfig
from aam_edge.engine.size import shrink
from aam_edge.messages import Attention, Frame, Observation
from aam_edge.model_api import Stream, load
from aam_edge.recording import topics
from aam_edge.recording.reader import Recording
from aam_edge.sinks.recording import RecordingSink
from aam_edge.sinks.recording_steps import Plan
from aam_edge.snapshot import pack_snapshot
from tests.recordings import densities, maps_of, stream

Frames = Callable[[int], Frame]
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def live() -> Stream:
    return load("nano", engine="onnx").stream()


def plan() -> Plan:
    return Plan(cameras=("test",), shrink=shrink, pack_state=pack_snapshot)


def give(sink: RecordingSink, live: Stream, frame: Frame, changes: int = 0) -> list[Attention]:
    """One step as the loop does it."""
    sink.before_step(live.state, changes)
    seen = Observation(frame)
    maps = live.step(seen)
    attentions = [m.published(frame.frame_id, frame.capture_ns + 10**6) for m in maps]
    sink.offer_step(seen, attentions)
    return attentions


def noisy(frame_id: int) -> Frame:
    """A picture whose JPEG is large."""
    image = np.random.default_rng(frame_id).integers(0, 255, (480, 640, 3), np.uint8)
    return Frame(image, 1_800_000_000_000_000_000 + frame_id * 33_000_000, "test", frame_id)


def test_full_queue_refuses_counts_and_says_so_and_the_rest_is_exact(
    tmp_path: Path, live: Stream, moving_frame: Frames
) -> None:
    path = tmp_path / "slow.mcap"
    sink = RecordingSink(RecordConfig(file=str(path), queue_mb=2))
    live.reset()
    # Nobody writes yet, so nothing leaves the queue: 2 MiB hold two pictures of 0.9 MB.
    given = [give(sink, live, moving_frame(i))[0] for i in range(5)]
    assert sink.dropped == 3
    assert sink.state() == "slow: frames are refused"
    sink.begin({}, plan())
    with_room = [moving_frame(5), moving_frame(6)]
    wait_until(lambda: not sink.waiting)
    given += [give(sink, live, frame)[0] for frame in with_room]
    assert sink.state() == "ok"
    sink.close()
    kept = [given[i] for i in (0, 1, 5, 6)]
    assert densities(maps_of(path)) == densities(kept)
    again, _ = stream(str(path))
    # The state behind the hole was recorded, so the maps behind it are those of then.
    assert densities(again.attentions) == densities(kept)


def wait_until(what: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s, "what was awaited did not come"
        threading.Event().wait(0.002)


def test_new_files_begin_by_size_and_each_is_exact_by_itself(tmp_path: Path, live: Stream) -> None:
    path = tmp_path / "long.mcap"
    sink = RecordingSink(RecordConfig(file=str(path), max_mb=1), waits=True)
    sink.begin({"model": {}}, plan())
    live.reset()
    given = []
    for i in range(24):
        given += give(sink, live, noisy(i))
        wait_until(lambda: not sink.waiting)
    sink.close()
    files = [path, *sorted(tmp_path.glob("long-*.mcap"), key=lambda p: int(p.stem[5:]))]
    assert len(files) >= 3
    recorded = [bits for file in files for bits in densities(maps_of(file))]
    assert recorded == densities(given)
    for file in files:
        again, _ = stream(str(file))
        assert densities(again.attentions) == densities(maps_of(file)), file
        with Recording(file) as recording:
            assert recording.run == {"schema": topics.SCHEMA, "model": {}}
            assert file.stat().st_size < 3 << 20


def test_new_files_begin_by_time(tmp_path: Path) -> None:
    path = tmp_path / "hours.mcap"
    settings = {"source.pace": "real", "duration_s": 3.5, "record.max_s": 1.0}
    kept, _ = stream("synthetic", settings | {"record.file": str(path)})
    files = sorted(tmp_path.glob("*.mcap"))
    assert len(files) in (3, 4)
    assert sum(len(maps_of(file)) for file in files) == len(kept.attentions)


def test_commands_on_the_way_are_followed_bit_for_bit(
    tmp_path: Path, live: Stream, moving_frame: Frames
) -> None:
    path = tmp_path / "steered.mcap"
    sink = RecordingSink(RecordConfig(file=str(path)), waits=True)
    sink.begin({}, plan())
    live.reset()
    live.set_prompts(["free viewing"])
    given = [give(sink, live, moving_frame(i))[0] for i in range(5)]
    live.set_prompts(["search for cup"])
    given += [give(sink, live, moving_frame(i), 1)[0] for i in range(5, 9)]
    live.reset()
    given += [give(sink, live, moving_frame(i), 2)[0] for i in range(9, 12)]
    sink.close()
    live.set_prompts(["free viewing"])
    again, _ = stream(str(path))
    assert densities(again.attentions) == densities(given)
    assert [a.prompt for a in again.attentions] == [a.prompt for a in given]


def limited(megabytes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where no file may grow beyond a size, as on a disk that is full."""
    script = f'ulimit -f {megabytes * 1024}; exec "{sys.executable}" -m aam_edge.cli.main "$@"'
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_full_disk_is_said_once_and_the_stream_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "full.mcap"
    quiet = ("--pub", "none", "--control", "none", "--page", "none", "--engine", "onnx")
    record = ("--record", str(path), "--set", "record.retry_s=3600")
    done = limited(2, "--camera", "demo", "--pace", "every", "--frames", "90", *record, *quiet)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("recording stops") == 1
    assert "File too large): the stream goes on; make room" in done.stderr
    # What lies there is a row of whole records.
    with Recording(path) as recording:
        assert not recording.index.is_whole
        assert (recording.index.damaged, recording.index.lost_bytes) == (0, 0)
    kept = len(maps_of(path))
    assert 3 <= kept < 90
    assert f"recording has ended, steps lost: {90 - kept}\n" in done.stderr


def test_disk_with_room_again_gets_a_new_file(tmp_path: Path, live: Stream) -> None:
    path = tmp_path / "a.mcap"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = RecordingSink(RecordConfig(file=str(path), retry_s=0.0), waits=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        sink.begin({}, plan())
        for i in range(8):  # 0.6 MB each: no chunk of them fits
            give(sink, live, noisy(i))
        wait_until(lambda: sink.state() == "cannot write: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    before = sink.path
    given = []
    while sink.state() != "ok":
        given = give(sink, live, noisy(20))
        wait_until(lambda: not sink.waiting)
    sink.close()
    assert sink.dropped >= 1
    assert sink.path != before
    assert densities(maps_of(sink.path))[-1:] == densities(given)
