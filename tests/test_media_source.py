"""Video files with sound, and network streams, as the source's thread reads them."""

import http.server
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame, Sound
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.media import MediaSource, shown

EVERY = SourceConfig(pace="every")
FPS = 25
RATE_HZ = 32_000
SECOND_NS = 1_000_000_000


def write_clip(
    path: Path,
    *,
    frames: int = 50,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    sound_s: float | None = 2.0,
) -> Path:
    """A clip whose n-th picture has grey 4 n, with a 500 Hz tone that begins after a second."""
    # The index in front, so that a file that is cut short or comes through a pipe can be read.
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=FPS)
        assert isinstance(video, av.video.stream.VideoStream)
        video.width, video.height = size
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = None
        if sound_s is not None:
            audio = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", RATE_HZ)
            assert isinstance(audio, av.audio.stream.AudioStream)
            audio.layout = "mono"
        for number in range(frames):
            grey = np.full((size[1], size[0], 3), 4 * number % 250, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, format="bgr24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        if audio is not None and sound_s is not None:
            times_s = np.arange(round(sound_s * RATE_HZ)) / RATE_HZ
            tone = (0.5 * np.sin(2 * np.pi * 500 * times_s) * (times_s >= 1)).astype(np.float32)
            for start in range(0, len(tone), 1024):
                samples = np.ascontiguousarray(tone[None, start : start + 1024])
                block = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def read_all(source: MediaSource) -> list[Frame | Sound]:
    """Everything until the end."""
    items: list[Frame | Sound] = []
    with closing(source):
        source.open()
        try:
            while True:
                items.append(source.read())
        except Ended:
            return items


def frames_of(items: list[Frame | Sound]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def sounds_of(items: list[Frame | Sound]) -> list[Sound]:
    return [item for item in items if isinstance(item, Sound)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_every_frame_comes_once_in_order_with_its_exact_time(clip: Path) -> None:
    frames = frames_of(read_all(MediaSource(str(clip), EVERY, "clip")))
    assert [frame.frame_id for frame in frames] == list(range(50))
    steps_ns = [frame.capture_ns - frames[0].capture_ns for frame in frames]
    assert steps_ns == [number * SECOND_NS // FPS for number in range(50)]
    for number, frame in enumerate(frames):
        assert frame.size == (64, 48)
        assert frame.camera == "clip"
        assert abs(float(frame.image.mean()) - 4 * number) < 4


def test_stamps_begin_at_the_unix_time_of_opening(clip: Path) -> None:
    before_ns = time.time_ns()
    frames = frames_of(read_all(MediaSource(str(clip), EVERY, "clip")))
    assert before_ns <= frames[0].capture_ns <= time.time_ns()


def test_sound_is_mono_16_khz_and_begins_where_it_was_recorded(clip: Path) -> None:
    items = read_all(MediaSource(str(clip), EVERY, "clip"))
    sounds = sounds_of(items)
    start_ns = frames_of(items)[0].capture_ns
    samples = np.concatenate([sound.samples for sound in sounds])
    assert abs(len(samples) - 2 * 16_000) < 600
    loud = np.flatnonzero(np.abs(samples) > 0.2)[0]
    tone_ns = sounds[0].start_ns + int(loud) * SECOND_NS // 16_000 - start_ns
    # AAC smears a sudden tone over the block before it.
    assert abs(tone_ns - SECOND_NS) < 35_000_000
    spectrum = np.abs(np.fft.rfft(samples[20_000:28_000]))
    assert int(spectrum.argmax()) * 2 == 500


def test_sound_blocks_have_no_seams(clip: Path) -> None:
    sounds = sounds_of(read_all(MediaSource(str(clip), EVERY, "clip")))
    for before, after in pairwise(sounds):
        assert abs(after.start_ns - before.end_ns) <= 1


def test_sound_of_a_time_comes_before_the_frame_of_that_time(clip: Path) -> None:
    items = read_all(MediaSource(str(clip), EVERY, "clip"))
    passed_ns = 0
    for item in items:
        if isinstance(item, Frame):
            passed_ns = item.capture_ns
        else:
            assert item.end_ns > passed_ns
    assert passed_ns > 0


def test_sound_is_not_decoded_with_mic_none(clip: Path) -> None:
    config = SourceConfig(pace="every", mic="none")
    assert not sounds_of(read_all(MediaSource(str(clip), config, "clip")))


def test_sound_that_ends_early_does_not_hold_the_pictures_back(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short_sound.mp4", frames=200, sound_s=0.5)
    assert len(frames_of(read_all(MediaSource(str(path), EVERY, "clip")))) == 200


def test_missing_sound_track_is_said_when_it_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_clip(tmp_path / "silent.mp4", frames=3, sound_s=None)
    config = SourceConfig(pace="every", mic="file")
    with caplog.at_level(logging.WARNING):
        assert len(read_all(MediaSource(str(path), config, "clip"))) == 3
    assert "no sound track" in caplog.text


def test_loop_goes_on_with_numbers_and_stamps(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "loop.mp4", frames=10, sound_s=None)
    source = MediaSource(str(path), SourceConfig(pace="every", loop=True), "clip")
    with closing(source):
        source.open()
        frames = frames_of([source.read() for _ in range(35)])
    assert [frame.frame_id for frame in frames] == list(range(35))
    steps_ns = {after.capture_ns - before.capture_ns for before, after in pairwise(frames)}
    assert steps_ns == {SECOND_NS // FPS}
    assert abs(float(frames[30].image.mean()) - float(frames[0].image.mean())) < 1


def test_real_pace_gives_each_frame_at_its_own_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "real.mp4", frames=10, sound_s=0.4)
    source = MediaSource(str(path), SourceConfig(pace="real"), "clip")
    with closing(source):
        source.open()
        for _ in range(20):
            item = source.read()
            now_ns = time.time_ns()
            stamp_ns = item.capture_ns if isinstance(item, Frame) else item.end_ns
            assert now_ns >= stamp_ns - 2_000_000
            assert now_ns < stamp_ns + SECOND_NS  # late by scheduling at most


def test_interrupt_wakes_a_read_that_waits_for_its_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "slow.mp4", frames=50, sound_s=None)
    source = MediaSource(str(path), SourceConfig(pace="real"), "clip")
    ended = threading.Event()

    def read() -> None:
        source.open()
        try:
            while True:
                source.read()
        except Ended:
            ended.set()
        source.close()

    threading.Thread(target=read, daemon=True).start()
    source.interrupt()
    assert ended.wait(5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "not there"),
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", bytes(range(256)) * 40, "cannot be opened"),
    ],
)
def test_file_that_is_no_video_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    check_refused(path, words)


def test_file_cut_in_its_header_is_refused(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:1000])
    check_refused(path, "cannot be opened")


def test_file_cut_in_the_middle_gives_all_that_is_left(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "half.mp4"
    content = clip.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    frames = frames_of(read_all(MediaSource(str(path), EVERY, "clip")))
    assert 10 < len(frames) <= 50
    assert [frame.frame_id for frame in frames] == list(range(len(frames)))


def test_sound_file_is_refused_for_want_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", RATE_HZ)
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        block.sample_rate = RATE_HZ
        container.mux(stream.encode(block))
    check_refused(path, "no video")


def check_refused(path: Path, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        MediaSource(str(path), EVERY, "clip").open()
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_picture_in_mid_file_is_skipped_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "broken.avi", frames=20, codec="mjpeg", sound_s=None)
    content = bytearray(path.read_bytes())
    starts = [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    for number in (5, 6, 11):  # the pictures' first bytes, so that no decoder can take them
        content[starts[number] : starts[number + 1] - 40] = bytes(
            starts[number + 1] - 40 - starts[number]
        )
    path.write_bytes(content)
    frames = frames_of(read_all(MediaSource(str(path), EVERY, "clip")))
    assert [frame.gap for frame in frames] == [0] * 5 + [2] + [0] * 3 + [1] + [0] * 7
    assert [frame.frame_id for frame in frames] == list(range(17))
    assert frames[5].capture_ns - frames[4].capture_ns == 3 * SECOND_NS // FPS


def test_phone_video_is_turned_upright(tmp_path: Path) -> None:
    path = write_turned_clip(tmp_path)
    (frame,) = frames_of(read_all(MediaSource(str(path), EVERY, "clip")))
    assert frame.size == (48, 64)
    # Turned clockwise, the bright left edge lies on top.
    assert frame.image[:8].mean() > 150 > 60 > frame.image[16:].mean()


def write_turned_clip(folder: Path) -> Path:
    """One picture with a bright left edge, marked in the track header as to be turned clockwise."""
    path = folder / "phone.mp4"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :16] = 220
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        assert isinstance(video, av.video.stream.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode())
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    clockwise = [0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000]
    content[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in clockwise)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [(2, 2), (34, 146), (146, 34)])
def test_odd_sizes_come_as_they_are(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "odd.avi", frames=2, size=size, codec="mjpeg", sound_s=None)
    assert frames_of(read_all(MediaSource(str(path), EVERY, "clip")))[0].size == size


def test_file_over_http_is_played_like_a_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", sound_s=None)
    with serve({"/clip.mp4": [clip.read_bytes()]}) as address:
        source = MediaSource(f"{address}/clip.mp4", EVERY, "clip")
        assert len(frames_of(read_all(source))) == 50
        assert not source.is_live


def test_live_stream_is_stamped_on_arrival_and_its_end_is_a_loss() -> None:
    with serve({"/live.mjpg": multipart(8)}, "multipart/x-mixed-replace; boundary=x") as address:
        source = MediaSource(f"{address}/live.mjpg", SourceConfig(stall_s=2), "clip")
        before_ns = time.time_ns()
        with closing(source):
            source.open()
            assert source.is_live
            stamps_ns = [item.capture_ns for item in frames_of(read_until_lost(source))]
    assert len(stamps_ns) == 8
    assert before_ns < stamps_ns[0]
    assert stamps_ns == sorted(stamps_ns)
    assert stamps_ns[-1] <= time.time_ns()


def test_live_stream_that_falls_silent_is_lost_in_time() -> None:
    kind = "multipart/x-mixed-replace; boundary=x"
    with serve({"/live.mjpg": multipart(60)}, kind, then_silent=True) as address:
        source = MediaSource(f"{address}/live.mjpg", SourceConfig(stall_s=0.3), "clip")
        with closing(source):
            source.open()
            start_s = time.monotonic()
            assert len(frames_of(read_until_lost(source))) > 30
            assert 0.2 < time.monotonic() - start_s < 5


def read_until_lost(source: MediaSource) -> list[Frame | Sound]:
    items: list[Frame | Sound] = []
    with pytest.raises(SourceError, match=r"ended|breaks off"):
        items.extend(source.read() for _ in range(10_000))
    return items


def test_stream_that_nobody_sends_is_one_clear_line_without_the_password() -> None:
    source = MediaSource("rtsp://me:secret@127.0.0.1:9/stream", SourceConfig(stall_s=0.5), "cam")
    with pytest.raises(SourceError) as caught:
        source.open()
    assert "127.0.0.1:9/stream" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_shown_address_has_no_password() -> None:
    assert shown("rtsp://me:secret@camera:554/a?token=1") == "rtsp://camera:554/a"
    assert shown("clip.mp4") == "clip.mp4"


def multipart(count: int) -> list[bytes]:
    """Pictures as network cameras send them over HTTP."""
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    head = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
    return [head + jpeg.tobytes() + b"\r\n"] * count


@contextmanager
def serve(
    files: dict[str, list[bytes]], kind: str = "video/mp4", *, then_silent: bool = False
) -> Iterator[str]:
    """A real HTTP server on a free port; it may keep the connection open and say no more."""
    closing_time = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = files[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if kind == "video/mp4":
                self.send_header("Content-Length", str(sum(map(len, parts))))
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
            if then_silent:
                closing_time.wait(30)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing_time.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
