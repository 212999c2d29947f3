"""A source's thread: hands on what comes, comes back after a loss, ends when told."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame, Image, Sound
from aam_edge.sources.camera import CameraSource
from aam_edge.sources.faulty import FaultyDevice
from aam_edge.sources.feed import Feed, SourceState
from aam_edge.sources.folder import FolderSource
from aam_edge.sources.mailbox import Ended, Mailbox
from aam_edge.sources.sound_ring import SoundRing
from aam_edge.sources.source import Source
from aam_edge.sources.synthetic import SyntheticSource

DEADLINE_S = 10.0
CONFIG = SourceConfig(stall_s=0.5, retry_max_s=0.5)


@contextmanager
def fed(source: Source, mailbox: Mailbox[Frame], ring: SoundRing | None = None) -> Iterator[Feed]:
    feed = Feed(source, mailbox, ring, CONFIG)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()


def test_frame_is_made_small_in_the_sources_thread() -> None:
    made_in: list[str] = []

    def shrink(image: Image) -> Image:
        made_in.append(threading.current_thread().name)
        return image[::2, ::2].copy()

    mailbox = Mailbox[Frame]()
    source = SyntheticSource(SourceConfig(fps=50), "left")
    feed = Feed(source, mailbox, None, CONFIG, shrink)
    feed.start()
    try:
        frame = take(mailbox)
    finally:
        feed.stop()
    assert frame.small is not None
    np.testing.assert_array_equal(frame.small, frame.image[::2, ::2])
    assert set(made_in) == {"aam-source-left"}


def test_of_frames_that_nobody_takes_only_the_first_is_made_small() -> None:
    made: list[int] = []
    mailbox = Mailbox[Frame]()

    def shrink(image: Image) -> Image:
        made.append(1)
        return image[::2, ::2].copy()

    feed = Feed(SyntheticSource(SourceConfig(fps=200), "left"), mailbox, None, CONFIG, shrink)
    feed.start()
    try:
        end_s = time.monotonic() + DEADLINE_S
        while mailbox.dropped < 3:
            assert time.monotonic() < end_s, "no frames came"
            threading.Event().wait(0.01)
    finally:
        feed.stop()
    assert len(made) == 1


def take(mailbox: Mailbox[Frame]) -> Frame:
    frame = mailbox.take(DEADLINE_S)
    assert frame is not None, "no frame came in time"
    return frame


def take_until(mailbox: Mailbox[Frame], is_it: Callable[[Frame], bool]) -> Frame:
    """Frames until one is it; fails after the deadline."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        frame = mailbox.take(0.05)
        if frame is not None and is_it(frame):
            return frame
    pytest.fail("the awaited frame did not come")


def check_until(feed: Feed, state: SourceState) -> None:
    """Lets the watchdog look, as the loop does, until it sees this state."""
    end_s = time.monotonic() + DEADLINE_S
    waiting = threading.Event()
    while feed.state is not state:
        assert time.monotonic() < end_s, f"state is {feed.state}, not {state}"
        feed.check(time.monotonic_ns())
        waiting.wait(0.01)


def write_pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((4, 4, 3), number, np.uint8))
    return folder


def test_frames_go_to_the_mailbox_and_sound_to_the_ring() -> None:
    mailbox, ring = Mailbox[Frame](room=4, wait=True), SoundRing()
    with fed(SyntheticSource(SourceConfig(pace="every")), mailbox, ring) as feed:
        frames = [take(mailbox) for _ in range(40)]
        assert feed.state is SourceState.LIVE
        window = ring.window(frames[-1].capture_ns)
    assert [frame.frame_id for frame in frames] == list(range(40))
    assert window is not None
    assert window.samples.any()
    assert frames[-1].capture_ns - window.end_ns < 62_500


def test_thread_has_the_name_of_its_camera_and_is_gone_after_stop() -> None:
    feed = Feed(SyntheticSource(SourceConfig(fps=50), "left"), Mailbox[Frame]())
    feed.start()
    assert "aam-source-left" in {thread.name for thread in threading.enumerate()}
    feed.stop()
    feed.stop()
    assert "aam-source-left" not in {thread.name for thread in threading.enumerate()}


def test_end_of_a_file_comes_after_its_last_frame(tmp_path: Path) -> None:
    mailbox = Mailbox[Frame](room=2, wait=True)
    source = FolderSource(write_pictures(tmp_path, 5), SourceConfig(pace="every"), "f")
    with fed(source, mailbox) as feed:
        assert [take(mailbox).frame_id for _ in range(5)] == list(range(5))
        with pytest.raises(Ended):
            mailbox.take(DEADLINE_S)
        assert feed.state is SourceState.ENDED
        assert feed.failure is None


def test_source_that_cannot_be_opened_is_told_to_who_starts_it(tmp_path: Path) -> None:
    mailbox = Mailbox[Frame]()
    feed = Feed(FolderSource(tmp_path, SourceConfig(), "f"), mailbox)
    with pytest.raises(SourceError, match="no pictures"):
        feed.start()
    feed.stop()


def test_unplugged_camera_comes_back_with_its_numbers_going_on_and_the_gap_counted() -> None:
    device, mailbox = FaultyDevice(), Mailbox[Frame]()
    with fed(CameraSource(device, CONFIG, "0"), mailbox) as feed:
        before = take(mailbox)
        device.unplug()
        check_until(feed, SourceState.LOST)
        assert feed.lost == 1
        assert "/dev/stand-in" in feed.error
        device.plug_in()
        after = take_until(mailbox, lambda frame: frame.gap > 5)
        assert feed.state is SourceState.LIVE
        assert feed.error == ""
        assert feed.opened == 2
        assert feed.gap >= after.gap
        assert after.frame_id > before.frame_id
        assert after.capture_ns > before.capture_ns
        following = take(mailbox)
        assert following.frame_id > after.frame_id


def test_camera_that_stays_away_is_tried_again_and_again() -> None:
    device, mailbox = FaultyDevice(), Mailbox[Frame]()
    with fed(CameraSource(device, CONFIG, "0"), mailbox) as feed:
        device.unplug()
        check_until(feed, SourceState.LOST)
        device.occupy()
        device.plug_in()
        end_s = time.monotonic() + DEADLINE_S
        while "busy" not in feed.error:  # a second try has failed, for another reason
            assert time.monotonic() < end_s
            threading.Event().wait(0.01)
        assert feed.lost == 1
        assert feed.failure is None


def test_silent_camera_is_noticed_and_goes_on_when_it_speaks_again() -> None:
    device, mailbox = FaultyDevice(), Mailbox[Frame]()
    with fed(CameraSource(device, CONFIG, "0"), mailbox) as feed:
        take(mailbox)
        device.stall()
        check_until(feed, SourceState.LOST)
        assert "silent" in feed.error
        device.resume()
        check_until(feed, SourceState.LIVE)
        assert feed.lost == 1


def test_watchdog_reckons_in_the_clock_that_it_is_given() -> None:
    device, mailbox = FaultyDevice(), Mailbox[Frame]()
    with fed(CameraSource(device, CONFIG, "0"), mailbox) as feed:
        take(mailbox)
        device.stall()
        take_until_silent(mailbox)
        states = []
        for now_ns in (0, 500_000_000, 500_000_001):
            feed.check(now_ns)
            states.append(feed.state)
        assert states == [SourceState.LIVE, SourceState.LIVE, SourceState.LOST]
        device.resume()


def take_until_silent(mailbox: Mailbox[Frame]) -> None:
    while mailbox.take(0.2) is not None:
        pass


def test_stop_is_not_held_up_by_a_read_that_is_stuck_in_the_driver() -> None:
    device, mailbox = FaultyDevice(), Mailbox[Frame]()
    feed = Feed(CameraSource(device, CONFIG, "stuck"), mailbox, None, CONFIG)
    feed.start()
    take(mailbox)
    device.stall()
    start_s = time.monotonic()
    feed.stop()
    assert time.monotonic() - start_s < 0.9
    device.resume()
    for thread in threading.enumerate():
        if thread.name == "aam-source-stuck":
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def test_stop_is_not_held_up_by_a_full_mailbox(tmp_path: Path) -> None:
    mailbox = Mailbox[Frame](wait=True)
    source = FolderSource(write_pictures(tmp_path, 5), SourceConfig(pace="every"), "full")
    feed = Feed(source, mailbox)
    feed.start()
    start_s = time.monotonic()
    feed.stop()
    assert time.monotonic() - start_s < 0.4
    assert "aam-source-full" not in {thread.name for thread in threading.enumerate()}


def test_file_that_fails_in_the_middle_ends_the_mailbox_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    mailbox = Mailbox[Frame]()
    with fed(FolderSource(tmp_path, SourceConfig(pace="every"), "f"), mailbox) as feed:
        with pytest.raises(Ended):
            mailbox.take(DEADLINE_S)
        assert isinstance(feed.failure, SourceError)
        assert feed.state is SourceState.LOST


class DefectiveSource:
    """A source with a fault in its code."""

    camera, is_live = "bad", True

    def open(self) -> None:
        """Works."""

    def read(self) -> Frame | Sound:
        raise ZeroDivisionError

    def interrupt(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""


def test_defect_in_a_source_reaches_the_loop_instead_of_hanging_it() -> None:
    mailbox = Mailbox[Frame]()
    with fed(DefectiveSource(), mailbox) as feed:
        with pytest.raises(Ended):
            mailbox.take(DEADLINE_S)
        assert isinstance(feed.failure, ZeroDivisionError)
