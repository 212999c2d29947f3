"""A camera: what is asked and got, when pictures were taken, which are missing."""

import errno
import os
import time
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame
from aam_edge.sources import v4l2
from aam_edge.sources.camera import CameraSource, GapCounter, asked_properties, capture_time
from aam_edge.sources.faulty import FaultyDevice
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.v4l2 import V4l2Device

NOW_NS = 1_700_000_000_123_456_789
UPTIME_NS = 5_000_000_000_000


def open_camera(device: FaultyDevice, config: SourceConfig | None = None) -> CameraSource:
    source = CameraSource(device, config or SourceConfig(), "0")
    source.open()
    return source


def read(source: CameraSource) -> Frame:
    item = source.read()
    assert isinstance(item, Frame)
    return item


def test_format_is_asked_before_size_and_rate() -> None:
    config = SourceConfig(pixel_format="MJPG", size="1280x720", fps=30)
    assert asked_properties(config)[::2] == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]
    assert asked_properties(SourceConfig()) == []


def test_size_that_is_asked_and_granted_is_delivered() -> None:
    device = FaultyDevice()
    device.allow((640, 480), (1280, 720))
    source = open_camera(device, SourceConfig(size="1280x720"))
    assert read(source).size == (1280, 720)
    source.close()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            SourceConfig(size="1280x720"),
            "camera gave another size (asked 1280x720, got 640x480): "
            "choose --size 640x480 or pass --accept-nearest",
        ),
        (
            SourceConfig(fps=100),
            "camera gave another rate (asked 100, got 200): "
            "choose --fps 200, --pixel-format MJPG or pass --accept-nearest",
        ),
        (
            SourceConfig(pixel_format="MJPG"),
            "camera gave another pixel format (asked MJPG, got YUYV): "
            "choose --pixel-format YUYV or pass --accept-nearest",
        ),
    ],
)
def test_asked_is_not_got_names_both(config: SourceConfig, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_camera(FaultyDevice(fps=200), config)
    assert str(caught.value) == words


@pytest.mark.parametrize("fps", [182.0, 199.0, 210.0, 222.0])
def test_rate_within_a_tenth_is_what_was_asked(fps: float) -> None:
    open_camera(FaultyDevice(fps=fps), SourceConfig(fps=202)).close()


def test_nearest_is_taken_and_said_when_that_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    source = open_camera(FaultyDevice(), SourceConfig(size="1280x720", accept_nearest=True))
    assert read(source).size == (640, 480)
    assert "asked 1280x720, got 640x480" in caplog.text


def test_camera_that_is_refused_is_let_go() -> None:
    device = FaultyDevice()
    with pytest.raises(SourceError):
        open_camera(device, SourceConfig(size="8x8"))
    assert device.get(cv2.CAP_PROP_FRAME_WIDTH) == -1


def test_frame_has_the_time_of_its_capture_and_rising_numbers() -> None:
    source = open_camera(FaultyDevice())
    before_ns = time.time_ns()
    frames = [read(source) for _ in range(5)]
    stamps_ns = [frame.capture_ns for frame in frames]
    assert [frame.frame_id for frame in frames] == list(range(5))
    assert before_ns < stamps_ns[0]
    assert stamps_ns == sorted(stamps_ns)
    assert stamps_ns[-1] <= time.time_ns()


@given(st.integers(0, 2_000_000_000))
def test_stamp_of_the_driver_becomes_unix_time(age_ns: int) -> None:
    stamped_ns = capture_time((UPTIME_NS - age_ns) / 1e6, NOW_NS, UPTIME_NS)
    assert abs(stamped_ns - (NOW_NS - age_ns)) <= 1000


@pytest.mark.parametrize(
    "position_ms",
    [
        0.0,
        -1.0,
        float("nan"),
        float("inf"),
        (UPTIME_NS + 10**6) / 1e6,
        (UPTIME_NS - 3 * 10**9) / 1e6,
    ],
)
def test_stamp_that_cannot_be_one_gives_way_to_the_time_of_the_grab(position_ms: float) -> None:
    assert capture_time(position_ms, NOW_NS, UPTIME_NS) == NOW_NS


def test_clock_of_the_driver_that_jumps_is_not_believed() -> None:
    device = FaultyDevice()
    source = open_camera(device)
    for offset_ns in (-3600 * 10**9, 10**9, 3600 * 10**9):
        device.jump_clock(offset_ns)
        before_ns = time.time_ns()
        assert before_ns < read(source).capture_ns <= time.time_ns()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.floats(5, 120), st.integers(0, 1))
def test_holes_between_stamps_are_counted_through_jitter(
    holes: list[int], fps: float, sign: int
) -> None:
    interval_ns = round(1e9 / fps)
    counter = GapCounter()
    counter.expect(fps)
    counter.missing(NOW_NS)
    true_ns, found = NOW_NS, []
    # Single holes among whole stretches: of holes alone nobody could say what the rate is.
    for number, hole in enumerate(holes):
        missing = hole if number % 4 == 3 else 0
        true_ns += (missing + 1) * interval_ns
        jitter_ns = interval_ns // 10 * (1 if (number + sign) % 2 else -1)
        found.append(counter.missing(true_ns + jitter_ns) == missing)
    assert all(found)


def test_camera_that_halves_its_rate_in_the_dark_misses_nothing_for_long() -> None:
    counter = GapCounter()
    counter.expect(30)
    gaps = [counter.missing(NOW_NS + number * 66_666_666) for number in range(100)]
    assert sum(gaps) < 10
    assert not any(gaps[20:])


def test_broken_pictures_are_skipped_and_counted() -> None:
    device = FaultyDevice()
    source = open_camera(device)
    read(source)
    device.break_frames(3)
    frame = read(source)
    assert frame.frame_id == 1
    assert 3 <= frame.gap <= 20


def test_camera_that_sends_only_broken_pictures_is_lost() -> None:
    device = FaultyDevice(fps=2000)
    source = open_camera(device)
    device.break_frames(1000)
    with pytest.raises(SourceError, match="broken pictures"):
        source.read()


def test_unplugged_camera_is_lost_and_comes_back_with_its_numbers_going_on() -> None:
    device = FaultyDevice()
    source = open_camera(device)
    read(source)
    device.unplug()
    with pytest.raises(SourceError, match="no pictures"):
        source.read()
    source.close()
    with pytest.raises(SourceError, match="no such camera"):
        source.open()
    device.plug_in()
    source.open()
    assert read(source).frame_id == 1


def test_camera_that_changes_its_size_is_lost() -> None:
    device = FaultyDevice()
    source = open_camera(device)
    read(source)
    device.other_size((320, 240))
    with pytest.raises(SourceError, match="640x480, now 320x240"):
        source.read()


def test_interrupted_camera_ends() -> None:
    source = open_camera(FaultyDevice())
    source.interrupt()
    with pytest.raises(Ended):
        source.read()


@pytest.mark.parametrize(
    ("path", "words"),
    [("/dev/video97", "no such camera"), ("/dev/null", "no camera"), ("/dev/no/such", "no such")],
)
def test_path_that_is_no_camera_is_one_clear_line(path: str, words: str) -> None:
    source = CameraSource(V4l2Device(path), SourceConfig(), "0")
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    assert words in str(caught.value)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, "group video"), (errno.EBUSY, "fuser"), (errno.ENODEV, "plug it in")],
)
def test_reason_of_the_system_says_what_to_do(code: int, words: str) -> None:
    problem = v4l2.refused("/dev/video0", OSError(code, os.strerror(code)))
    assert words in str(problem)


def test_file_is_not_taken_for_a_camera(tmp_path: Path) -> None:
    path = tmp_path / "video0"
    path.write_bytes(b"x")
    assert not v4l2.is_camera(str(path))
