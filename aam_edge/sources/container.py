"""A video file or stream through PyAV: pictures and sound with their own times.

Times here are nanoseconds since the container's start, exact from pts and time base.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.video.frame import VideoFrame

from aam_edge.errors import SourceError
from aam_edge.messages import SOUND_RATE_HZ, Image, Samples
from aam_edge.sources.sample_clock import SampleClock
from aam_edge.sources.samples import within_scale

logger = logging.getLogger(__name__)
MOST_PIXELS = 1 << 27
"""Of a picture; four times an 8K camera's. A header of some bytes may claim 65535x65535."""
MOST_WAITING = 64
"""Pictures held back while the sound of their time is still to come: two seconds, usually."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, still in the codec's colours: converting waits until somebody wants it."""

    time_ns: int
    frame: VideoFrame
    gap: int
    """Broken pictures before this one."""

    def image(self) -> Image:
        """(H, W, 3) BGR, upright."""
        image = self.frame.to_ndarray(format="bgr24")
        turns = round(self.frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A run of samples, mono, SOUND_RATE_HZ."""

    time_ns: int
    samples: Samples

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.time_ns + len(self.samples) * 1_000_000_000 // SOUND_RATE_HZ


class Container:
    """An open file or stream; the constructor raises SourceError."""

    def __init__(
        self, url: str, *, shown: str, with_sound: bool, timeout_s: tuple[float, float] | None
    ) -> None:
        """`shown` is the name in messages (no password); `timeout_s` of opening and of a read."""
        self._shown = shown
        # TCP: with UDP a lost packet smears the picture until the next key frame.
        options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
        try:
            self._container = av.open(url, options=options, timeout=timeout_s)
        except (av.error.FFmpegError, OSError, ValueError) as problem:
            values = f"{shown}: {reason(problem)}"
            raise SourceError("video cannot be opened", values, ADVICE) from problem
        if not self._container.streams.video:
            self._container.close()
            raise SourceError("file has no video", shown, "give one with pictures")
        self._video = self._container.streams.video[0]
        codec: Any = self._video.codec_context
        if codec is None:  # FFmpeg knows no decoder for what the file says it holds
            self._container.close()
            raise SourceError("video cannot be opened", f"{shown}: unknown codec", ADVICE)
        width, height = codec.width, codec.height
        if width * height > MOST_PIXELS:
            self._container.close()
            raise SourceError("video is too large", f"{shown}: {width}x{height}", ADVICE)
        sound = self._container.streams.audio
        self._sound = sound[0] if with_sound and sound else None
        self.has_end = self._container.duration is not None
        rate = self._video.guessed_rate or self._video.average_rate or Fraction(25)
        self._interval_ns = round(1_000_000_000 / rate)
        self._resampler = new_resampler()
        self._start_ns = (self._container.start_time or 0) * 1000  # av.time_base is microseconds
        self._last_ns = -self._interval_ns
        self._broken = 0
        self.length_ns = 0
        """Grows while it is read; at the end, how long its pictures last."""

    @property
    def has_sound(self) -> bool:
        """Whether blocks of sound will come."""
        return self._sound is not None

    def items(self) -> Iterator[Picture | Block]:
        """Pictures and blocks in the order of the container; SourceError if it breaks off."""
        self._resampler = new_resampler()
        clock = SampleClock()
        streams = [self._video] if self._sound is None else [self._video, self._sound]
        try:
            for packet in self._container.demux(*streams):
                for frame in self._decode(packet):
                    if isinstance(frame, VideoFrame):
                        yield from self._pictures(frame)
                    elif isinstance(frame, AudioFrame):
                        yield from self._blocks(self._resampled(frame), clock)
            if self._sound is not None:
                yield from self._blocks(self._resampler.resample(None), clock)
        except (av.error.FFmpegError, OSError) as problem:
            values = f"{self._shown}: {reason(problem)}"
            raise SourceError("video breaks off", values, ADVICE) from problem

    def close(self) -> None:
        """Twice is fine."""
        self._container.close()

    def _decode(self, packet: Packet[Any]) -> list[object]:
        try:
            return list(packet.decode())
        except av.error.FFmpegError as problem:
            if packet.stream.index == self._video.index and packet.size:
                self._note_broken(reason(problem))
            return []

    def _pictures(self, frame: VideoFrame) -> Iterator[Picture]:
        if frame.is_corrupt:
            self._note_broken("incomplete")
            return
        time_ns = self._last_ns + self._interval_ns
        if frame.pts is not None and frame.time_base is not None:
            time_ns = to_ns(frame.pts, frame.time_base) - self._start_ns
        # Some files step back in time; what follows reckons with time that goes on.
        self._last_ns = max(time_ns, self._last_ns + 1)
        self.length_ns = max(self.length_ns, self._last_ns + self._interval_ns)
        gap, self._broken = self._broken, 0
        yield Picture(self._last_ns, frame, gap)

    def _resampled(self, frame: AudioFrame) -> list[AudioFrame]:
        try:
            return self._resampler.resample(frame)
        except ValueError:
            # Broadcasts change rate and channels within a track; a resampler knows one of each.
            rest = self._resampler.resample(None)
            self._resampler = new_resampler()
            return [*rest, *self._resampler.resample(frame)]

    def _blocks(self, frames: list[AudioFrame], clock: SampleClock) -> Iterator[Block]:
        for frame in frames:
            samples = within_scale(frame.to_ndarray()[0])
            if frame.pts is None or frame.time_base is None or not len(samples):
                continue
            measured_ns = to_ns(frame.pts, frame.time_base) - self._start_ns
            yield Block(clock.start_of(len(samples), measured_ns), samples)

    def _note_broken(self, why: str) -> None:
        if not self._broken:
            logger.warning("%s has a broken picture (%s): skipped", self._shown, why)
        self._broken += 1


ADVICE = "check that it is there and that a player shows it"


def new_resampler() -> AudioResampler:
    """Turns the frames of one rate and layout into mono of SOUND_RATE_HZ."""
    return AudioResampler(format="flt", layout="mono", rate=SOUND_RATE_HZ)


def sound_first(items: Iterator[Picture | Block]) -> Iterator[Picture | Block]:
    """Holds pictures back until every block that ends at or before their time has gone ahead.

    Containers interleave loosely: sound may lie a second behind its picture.
    """
    pictures: deque[Picture] = deque()
    blocks: deque[Block] = deque()
    try:
        yield from _in_step(items, pictures, blocks)
    except SourceError:
        # The file breaks off: what came before is whole.
        yield from _rest(pictures, blocks)
        raise
    yield from _rest(pictures, blocks)


def _in_step(
    items: Iterator[Picture | Block], pictures: deque[Picture], blocks: deque[Block]
) -> Iterator[Picture | Block]:
    for item in items:
        if isinstance(item, Picture):
            pictures.append(item)
        else:
            blocks.append(item)
        while pictures and (
            len(pictures) > MOST_WAITING or (blocks and blocks[-1].end_ns >= pictures[0].time_ns)
        ):
            yield from _heard_by(pictures[0], blocks)
            yield pictures.popleft()
        while len(blocks) > 16 * MOST_WAITING:  # a sound file with one picture
            yield blocks.popleft()


def _rest(pictures: deque[Picture], blocks: deque[Block]) -> Iterator[Picture | Block]:
    for picture in pictures:
        yield from _heard_by(picture, blocks)
        yield picture
    yield from blocks


def _heard_by(picture: Picture, blocks: deque[Block]) -> Iterator[Block]:
    while blocks and blocks[0].end_ns <= picture.time_ns:
        yield blocks.popleft()


def to_ns(pts: int, time_base: Fraction) -> int:
    """A time stamp in nanoseconds, exact until the final rounding down."""
    return pts * time_base.numerator * 1_000_000_000 // time_base.denominator


def reason(problem: Exception) -> str:
    """FFmpeg's own words, without the address (it may hold a password)."""
    if isinstance(problem, av.error.ExitError):
        return "no answer in time"
    return getattr(problem, "strerror", None) or type(problem).__name__
