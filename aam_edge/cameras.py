"""The cameras of a stream: each one's way into the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from aam_edge.config import Config, SourceConfig
from aam_edge.ego.ego_motion import EgoMotion
from aam_edge.errors import AamEdgeError, SourceError
from aam_edge.messages import CameraHealth, Frame, Image, Observation
from aam_edge.meter import Meter
from aam_edge.pulse import SourceNow
from aam_edge.sinks.zmq import NONE
from aam_edge.sources.catalog import camera_name, default_cameras, unique_names
from aam_edge.sources.feed import Feed, SourceState, start_all
from aam_edge.sources.mailbox import Mailbox, take_ready
from aam_edge.sources.microphone import Microphone
from aam_edge.sources.sound_ring import SoundRing
from aam_edge.sources.source import Source
from aam_edge.sources.synchroniser import Synchroniser

logger = logging.getLogger(__name__)

WAITING_FRAMES = 4
"""Room between a file and the loop when every frame counts."""

SourceMaker = Callable[[str, SourceConfig, str], Source]
"""Spec, settings and camera name to a source that is not yet open."""


class Camera:
    """One camera's way into the loop."""

    def __init__(
        self,
        source: Source,
        config: Config,
        changed: threading.Condition,
        ring: SoundRing,
        ego: EgoMotion | None = None,
        shrink: Callable[[Image], Image] | None = None,
    ):
        every = config.source.pace == "every"
        room = WAITING_FRAMES if every else 1
        self.name = source.camera
        self.mailbox: Mailbox[Frame] = Mailbox(room, wait=every, changed=changed)
        self.feed = Feed(source, self.mailbox, ring, config.source, shrink)
        self.meter = Meter()
        """Of this camera's frames alone."""
        self._synchroniser = Synchroniser(ring, offset_ms=config.source.sound_offset_ms)
        self._ego = ego

    def observe(self, frame: Frame) -> Observation:
        """The frame with the sound behind it, and with how the camera moved where that is asked."""
        observation = self._synchroniser.observe(frame)
        if self._ego is None or observation.ego is not None:  # a recording brings its own
            return observation
        return replace(observation, ego=self._ego.update(frame))

    @property
    def is_live(self) -> bool:
        """Whether its pictures are of now."""
        return self.feed.is_live

    @property
    def dropped(self) -> int:
        """Frames that never reached the loop."""
        return self.mailbox.dropped + self.feed.gap

    def now(self, *, is_paused: bool) -> SourceNow:
        """What there is to know where no maps come."""
        return SourceNow(self.feed.state.value, self.feed.error, is_paused)

    def health(self, maps: str) -> CameraHealth:
        """How it is doing now; `maps` says whether fresh ones leave."""
        return CameraHealth(
            state=self.feed.state.value,
            rate_hz=self.meter.rate_hz(),
            latency_ms=self.meter.latency_ms(),
            dropped=self.dropped,
            maps=maps,
        )


class Cameras:
    """All cameras of a stream; `open` them, then take what is ready."""

    def __init__(self, config: Config, open_things: ExitStack) -> None:
        """Names the cameras; `open_things` gets what must be closed."""
        self._config, self._open_things = config, open_things
        specs = config.source.cameras
        if not specs:
            specs, words = default_cameras()
            logger.info("%s", words)
        self._specs = specs
        self.names = unique_names([camera_name(spec) for spec in specs])
        self._all: list[Camera] = []

    def open(
        self,
        make_source: SourceMaker,
        ego: Callable[[str], EgoMotion | None],
        shrink: Callable[[Image], Image],
    ) -> None:
        """Opens all at once; raises why one cannot be opened.

        Args:
            make_source: what makes a source of a spec.
            ego: camera name to what knows its motion.
            shrink: a picture to what the network takes of it; called in the sources' threads.
        """
        source = self._config.source
        if source.bridge is None and self._config.ros.url != NONE:
            source = replace(source, bridge=self._config.ros.url)
        changed = threading.Condition()
        self._all = [
            Camera(make_source(spec, source, name), self._config, changed, ring, ego(name), shrink)
            for spec, name, ring in zip(self._specs, self.names, self._open_rings(), strict=True)
        ]
        for camera in self._all:
            self._open_things.callback(camera.feed.stop)
        start_all([camera.feed for camera in self._all])

    def _open_rings(self) -> list[SoundRing]:
        """One microphone is heard with all cameras; a sound track only with its own."""
        mic = self._config.source.mic
        if mic is None or mic in (NONE, "file"):
            return [SoundRing() for _ in self._specs]
        ring = SoundRing()
        microphone = Microphone(mic, ring)
        self._open_things.callback(microphone.close)
        return [ring] * len(self._specs)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._specs)

    def named(self, name: str) -> Camera:
        """The camera of this name."""
        return next(camera for camera in self._all if camera.name == name)

    def take(self, timeout_s: float) -> Sequence[Frame]:
        """The next frame of each camera that has one; raises Ended after the last of all."""
        return take_ready([camera.mailbox for camera in self._all], timeout_s)

    def raise_failure(self) -> None:
        """Every source ended: if one of them failed, that is how the stream ended."""
        for camera in self._all:
            failure = camera.feed.failure
            if camera.feed.state is SourceState.LOST and failure is not None:
                if isinstance(failure, AamEdgeError):
                    raise failure
                raise SourceError("source failed", camera.name, "see the log") from failure
