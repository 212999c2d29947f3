"""The recorder's parts by themselves: its queue, when it copies the state, what is in its files."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.config import RecordConfig
from aam_edge.messages import Attention, Frame, Health, Image, Observation
from aam_edge.recording import topics
from aam_edge.recording.reader import Recording
from aam_edge.sinks.recording import RecordingSink, Waiting
from aam_edge.sinks.recording_files import RecordingFiles, free_path
from aam_edge.sinks.recording_steps import Item, Plan, Reported, Step, Turned
from tests.recordings import messages_of

DEADLINE_S = 5.0
NOW_NS = 1_800_000_000_000_000_000


def turned(samples: int) -> Turned:
    return Turned([(NOW_NS, (0.0, 0.0, 0.5))] * samples, NOW_NS)


@given(st.integers(200, 2000), st.lists(st.none() | st.integers(1, 6), max_size=20))
def test_queue_takes_what_fits_into_its_bytes_and_gives_it_in_order(
    room: int, doings: list[int | None]
) -> None:
    queue, held = Waiting(room, waits=False), list[Item]()
    for samples in doings:
        if samples is None:
            assert queue.take(0) is (held.pop(0) if held else None)
            continue
        item = turned(samples)
        fits = not held or sum(i.size_bytes for i in [*held, item]) <= room
        assert queue.put(item) is fits
        held += [item] * fits
        assert len(queue) == len(held)


def test_queue_that_ended_takes_nothing_in_and_gives_out_what_it_has() -> None:
    queue, item = Waiting(1000, waits=True), turned(1)
    queue.put(item)
    queue.end()
    assert queue.put(turned(1)) is False
    before = queue.has_ended
    assert queue.take(60) is item
    assert (before, queue.has_ended) == (False, True)
    assert queue.take(60) is None


@pytest.mark.parametrize("ends", [True, False])
def test_giver_that_waits_for_room_is_woken_by_it_or_by_the_end(ends: bool) -> None:
    queue, answers = Waiting(1000, waits=True), list[bool]()
    queue.put(turned(5))
    giver = threading.Thread(target=lambda: answers.append(queue.put(turned(1))), daemon=True)
    giver.start()
    if ends:
        queue.end()
    else:
        queue.take(60)
    giver.join(DEADLINE_S)
    assert answers == [not ends]


@pytest.mark.parametrize("ends", [True, False])
def test_writer_that_waits_is_woken_by_an_item_or_by_the_end(ends: bool) -> None:
    queue, item, taken = Waiting(1000, waits=False), turned(1), list[Item | None]()
    writer = threading.Thread(target=lambda: taken.append(queue.take(60)), daemon=True)
    writer.start()
    if ends:
        queue.end()
    else:
        queue.put(item)
    writer.join(DEADLINE_S)
    assert taken == [None if ends else item]


def frame_of(size: tuple[int, int] = (64, 48), jpeg: bytes | None = None) -> Frame:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    return Frame(image, NOW_NS, "test", 0, jpeg=jpeg)


def test_state_is_copied_at_the_start_at_each_change_and_behind_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    sink = RecordingSink(RecordConfig(file=str(path), queue_mb=1))
    copied_at: list[str] = []

    def step(name: str, changes: int, size: tuple[int, int] = (64, 48)) -> None:
        def copied() -> dict[str, Any]:
            copied_at.append(name)
            return {}

        sink.before_step(copied, changes)
        sink.offer_step(Observation(frame_of(size)), ())

    step("first", 0)
    step("same", 0)
    step("command", 1)
    step("same again", 1)
    assert (copied_at, sink.dropped, sink.state()) == (["first", "command"], 0, "ok")
    step("too large", 1, (800, 600))
    assert (sink.dropped, sink.state()) == (1, "slow: frames are refused")
    step("behind the hole", 1)
    step("and on", 1)
    assert copied_at[2:] == ["behind the hole"]
    assert (sink.dropped, sink.waiting, sink.state()) == (1, 6, "ok")
    sink.close()
    sink.close()
    assert not path.exists()  # nothing was in it


def test_gyro_that_said_nothing_is_no_item(tmp_path: Path) -> None:
    sink = RecordingSink(RecordConfig(file=str(tmp_path / "a.mcap")))
    sink.offer_gyro([])
    assert sink.waiting == 0
    sink.offer_gyro([(NOW_NS, (0.0, 0.0, 0.5))])
    assert sink.waiting == 1
    sink.close()


def test_free_path_counts_from_two(tmp_path: Path) -> None:
    wanted = tmp_path / "a.mcap"
    for name in ("a.mcap", "a-2.mcap", "a-3.mcap"):
        assert free_path(wanted) == tmp_path / name
        (tmp_path / name).touch()


def half(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (32, 24)), np.uint8)


def plan(*cameras: str, keeps_input: bool = True) -> Plan:
    return Plan(cameras=cameras, shrink=half, pack_state=lambda _: b"", keeps_input=keeps_input)


def attention_of(prompt: str, index: int = 0) -> Attention:
    return Attention(
        camera="test",
        frame_id="0",
        capture_ns=NOW_NS,
        publish_ns=NOW_NS + 10**6,
        prompt=prompt,
        prompt_index=index,
        image=(64, 48),
        density=np.full((6, 8), 1 / 48, np.float32),
        entropy=5.58,
    )


def step_of(*prompts: str, frame: Frame | None = None, begins: bool = False) -> Step:
    """A step; one that `begins` brings the state that a file can begin with."""
    maps = tuple(attention_of(prompt, index) for index, prompt in enumerate(prompts))
    return Step(Observation(frame or frame_of()), maps, {} if begins else None)


def recorded(path: Path, plan: Plan, *items: Item) -> Path:
    files = RecordingFiles(path, RecordConfig(file=str(path)))
    files.begin({"who": "test"}, plan)
    for item in items:
        files.write(item)
        files.tick()
    files.close()
    assert (files.lost, files.trouble, files.wants_new) == (0, "", False)
    with Recording(path) as recording:
        assert recording.index.is_whole
        assert recording.run == {"schema": 1, "who": "test"}
    return path


def topics_of(path: Path) -> set[str]:
    with Recording(path) as recording:
        return {item.topic for item in recording.items() if item.topic}


def test_all_that_is_offered_before_the_end_is_in_the_file_and_nothing_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mcap"
    sink = RecordingSink(RecordConfig(file=str(path)), waits=True)
    sink.begin({}, plan("test"))
    for changes in (0, 0, 1):
        sink.before_step(dict, changes)
        sink.offer_step(Observation(frame_of()), [attention_of("look")], together=True)
    for _ in range(2):
        sink.offer_gyro([(NOW_NS, (0.0, 0.0, 0.5))] * 3)
        sink.offer_health(Health.unknown())
        end_s = time.monotonic() + DEADLINE_S
        while sink.waiting and time.monotonic() < end_s:
            threading.Event().wait(0.002)
        sink.close()
    assert [len(messages_of(path, end)) for end in ("/message", "/imu", "/health")] == [3, 3, 1]
    taken = [json.loads(m["data"]) for m in messages_of(path, "/attention/message")]
    assert all(m["together"] for m in taken)
    with Recording(path) as recording:
        states = [item for item in recording.items() if item.name == topics.STATE]
    assert len(states) == 2  # at the start and at the change
    assert (sink.dropped, sink.state(), sink.waiting) == (0, "ok", 0)
    assert "aam-record" not in {thread.name for thread in threading.enumerate()}


def test_prompt_is_told_once_and_when_it_changes(tmp_path: Path) -> None:
    steps: list[Item] = [step_of("look", "cup"), step_of("look", "cup"), step_of("look", "dog")]
    path = recorded(tmp_path / "a.mcap", plan("test"), *steps)
    assert [m["data"] for m in messages_of(path, "/aam/prompt")] == ["look"]
    assert [m["data"] for m in messages_of(path, "/aam/prompt_1/prompt")] == ["cup", "dog"]


def test_gyro_and_health_lie_beside_the_cameras(tmp_path: Path) -> None:
    items: list[Item] = [turned(3), Reported(Health.unknown(), NOW_NS), step_of("look")]
    path = recorded(tmp_path / "a.mcap", plan("test", "other"), *items)
    assert len(messages_of(path, "/aam/imu")) == 3
    beside = {"/aam/imu", "/aam/health", "/diagnostics"}
    assert beside < topics_of(path)
    assert all(topic.startswith("/aam/camera_test/") for topic in topics_of(path) - beside)


@pytest.mark.parametrize(
    ("keeps_input", "has_jpeg", "is_kept"),
    [(True, False, True), (False, False, False), (True, True, False)],
)
def test_picture_of_the_network_is_kept_where_the_jpeg_is_ours(
    tmp_path: Path, keeps_input: bool, has_jpeg: bool, is_kept: bool
) -> None:
    jpeg = cv2.imencode(".jpg", frame_of().image)[1].tobytes() if has_jpeg else None
    step = step_of("look", frame=frame_of(jpeg=jpeg))
    path = recorded(tmp_path / "a.mcap", plan("test", keeps_input=keeps_input), step)
    inputs = messages_of(path, "/image/input")
    assert [(m["width"], m["height"]) for m in inputs] == [(32, 24)] * is_kept
    (picture,) = messages_of(path, "/aam/image/compressed")
    if jpeg:
        assert bytes(picture["data"]) == jpeg
    shown = cv2.imdecode(np.frombuffer(bytes(picture["data"]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    np.testing.assert_allclose(shown, frame_of().image, atol=2)


def test_step_before_the_beginning_counts_as_lost_and_a_report_does_not(tmp_path: Path) -> None:
    files = RecordingFiles(tmp_path / "a.mcap", RecordConfig())
    files.write(Reported(Health.unknown(), NOW_NS))
    assert files.lost == 0
    files.write(step_of("look"))
    assert files.lost == 1
    files.discard()
    assert not list(tmp_path.iterdir())


def test_each_file_of_a_long_recording_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    files = RecordingFiles(path, RecordConfig(max_mb=1))
    files.begin({}, plan("test"))
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    for number in range(12):
        frame = Frame(noise, NOW_NS + number, "test", number)
        files.write(step_of("look", frame=frame, begins=number % 2 == 0))
        files.tick()
    files.close()
    counts = []
    for file in sorted(tmp_path.iterdir()):
        with Recording(file) as recording:
            assert recording.index.is_whole
        counts.append(len(messages_of(file, "/message")))
    assert len(counts) >= 3
    assert sum(counts) == 12
    assert all(count % 2 == 0 for count in counts)  # begun where a state was


def the_writer() -> threading.Thread:
    (writer,) = (thread for thread in threading.enumerate() if thread.name == "aam-record")
    return writer


def test_defect_of_the_writer_is_said_and_nothing_more_is_taken_in(tmp_path: Path) -> None:
    def broken(image: Image) -> Image:
        raise RuntimeError("a defect")

    sink = RecordingSink(RecordConfig(file=str(tmp_path / "a.mcap")))
    sink.begin({}, Plan(cameras=("test",), shrink=broken, pack_state=lambda _: b""))
    writer = the_writer()
    sink.offer_step(Observation(frame_of()), [attention_of("look")])
    writer.join(DEADLINE_S)
    assert sink.state() == "stopped by a defect, see the log"
    sink.offer_step(Observation(frame_of()), [attention_of("look")])
    assert (sink.dropped, sink.waiting) == (1, 0)
    sink.close()


def test_end_is_not_held_up_by_a_writer_that_is_stuck_and_what_waits_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, freed = threading.Event(), threading.Event()

    def stuck(image: Image) -> Image:
        begun.set()
        freed.wait(60)
        return half(image)

    sink = RecordingSink(RecordConfig(file=str(tmp_path / "a.mcap")))
    sink.begin({}, Plan(cameras=("test",), shrink=stuck, pack_state=lambda _: b""))
    writer = the_writer()
    for _ in range(3):
        sink.offer_step(Observation(frame_of()), [attention_of("look")])
    assert begun.wait(DEADLINE_S)
    sink.close()
    assert "is not closed in time" in caplog.text
    freed.set()
    writer.join(DEADLINE_S)
    assert "2 steps are given up" in caplog.text
    assert sink.dropped == 2
    assert len(messages_of(sink.path, "/message")) == 1
