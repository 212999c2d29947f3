"""What a killed process leaves, and `aam-edge replay --repair`."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader
from rosbags.highlevel import AnyReader

from aam_edge.errors import DataError
from aam_edge.recording.reader import Recording
from aam_edge.recording.repair import repair
from tests.program import Program, listening, run
from tests.recordings import densities, maps_of, stream


def kill_at_random(path: Path, seed: int) -> int:
    """Records until a random map, then kill -9; returns when the last map that arrived was sent."""
    count = random.Random(seed).randint(20, 90)
    arguments = ("--camera", "synthetic", "--engine", "onnx", "--record", str(path))
    with Program(*arguments) as program:
        program.wait_for("first map")
        with listening(program.pub, b"attention/") as subscriber:
            for _ in range(count):
                message = msgpack.unpackb(subscriber.recv().split(b"\0", 1)[1])
            program.stop(signal.SIGKILL)
    return int(message["publish_ns"])


def streamed(path: Path) -> Iterator[int]:
    """Log times of what a plain streaming reader finds before it says that the end is missing."""
    with path.open("rb") as file:
        try:
            for _, _, message in NonSeekingReader(file).iter_messages(log_time_order=False):
                yield message.log_time
        except EndOfFile:
            return
    raise AssertionError("the file has an end")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_recording_is_readable_up_to_its_last_second(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "killed.mcap"
    last_ns = kill_at_random(path, seed)
    times = list(streamed(path))
    assert last_ns - times[-1] < 1_000_000_000
    with Recording(path) as recording:
        assert not recording.index.is_whole
        assert sum(recording.index.counts.values()) == len(times)

    done = run("replay", str(path), "--repair")
    whole = tmp_path / "killed-repaired.mcap"
    assert done.returncode == 0, done.stderr
    assert f"{whole}: messages: {len(times)}" in done.stdout
    with AnyReader([whole]) as bag:
        assert bag.message_count == len(times)
    assert densities(maps_of(whole)) == densities(maps_of(path))
    again, _ = stream(str(whole))
    assert densities(again.attentions) == densities(maps_of(whole))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("small") / "small.mcap"
    settings = {"frames": 12, "source.size": "160x120", "record.file": str(path)}
    stream("synthetic", settings)
    return path.read_bytes()


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1))
def test_file_cut_anywhere_is_repaired_or_said_to_hold_nothing(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, where: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path, target = folder / "cut.mcap", folder / "whole.mcap"
    path.write_bytes(small[: round(where * len(small))])
    try:
        done = repair(path, target)
    except DataError:
        assert not target.exists()
        return
    with Recording(target) as recording:
        assert recording.index.is_whole
        assert sum(recording.index.counts.values()) == done.messages > 0


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0.02, 0.9), bit=st.integers(0, 7))
def test_flipped_bit_costs_its_chunk_at_most(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "flip.mcap"
    content = bytearray(small)
    content[round(where * len(small))] ^= 1 << bit
    path.write_bytes(content)
    # Any other exception fails the test.
    with suppress(DataError, ValueError), Recording(path) as recording:
        messages = [item for item in recording.items() if item.topic]
        assert len(messages) + recording.damaged > 0
        for item in messages:
            recording.decode(item)


def test_repair_does_not_write_over_a_file(small: bytes, tmp_path: Path) -> None:
    path, target = tmp_path / "a.mcap", tmp_path / "b.mcap"
    path.write_bytes(small)
    target.write_bytes(b"precious")
    done = run("replay", str(path), "--repair", "--out", str(target))
    assert done.returncode == 6
    assert done.stderr == f"aam-edge: file is there already ({target}): give another --out\n"
    assert target.read_bytes() == b"precious"
