"""The loop: observation, network, readout, sinks. Owns time, health and shutdown.

`Runtime(config).run(stop)` opens everything, runs until the sources end or `stop` is set, and
closes in the direction of the data: sources, loop, sinks. It runs in the thread that calls it.
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from aam_edge.commands import Commands
from aam_edge.config import Config, SourceConfig
from aam_edge.ego.catalog import EgoSources
from aam_edge.ego.ego_motion import EgoMotion
from aam_edge.errors import AamEdgeError, SourceError
from aam_edge.messages import Attention, Frame, Health, Observation
from aam_edge.meter import Meter
from aam_edge.model_api import Model, Stream
from aam_edge.prompts import FREE_VIEWING
from aam_edge.recall import Recall
from aam_edge.sinks.page import PageSink
from aam_edge.sinks.sink import Sink
from aam_edge.sinks.zmq import NONE, ControlSocket, ZmqPublisher
from aam_edge.snapshot import pack_snapshot
from aam_edge.sources.catalog import camera_name, default_cameras, make_source, unique_names
from aam_edge.sources.feed import Feed, SourceState
from aam_edge.sources.mailbox import Ended, Mailbox, take_any
from aam_edge.sources.microphone import Microphone
from aam_edge.sources.sound_ring import SoundRing
from aam_edge.sources.source import Source
from aam_edge.sources.synchroniser import Synchroniser
from aam_edge.steering import Steering

if TYPE_CHECKING:
    from aam_edge.sinks.recording import RecordingSink

logger = logging.getLogger(__name__)

TAKE_S = 0.05
"""Longest wait for a frame before commands, health and stop are looked at again."""
HEALTH_NS = 1_000_000_000
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
    ):
        every = config.source.pace == "every"
        room = WAITING_FRAMES if every else 1
        self.name = source.camera
        self.mailbox: Mailbox[Frame] = Mailbox(room, wait=every, changed=changed)
        self.feed = Feed(source, self.mailbox, ring, config.source)
        self._synchroniser = Synchroniser(ring, offset_ms=config.source.sound_offset_ms)
        self._ego = ego

    def observe(self, frame: Frame) -> Observation:
        """The frame with the sound behind it, and with how the camera moved where that is asked."""
        observation = self._synchroniser.observe(frame)
        if self._ego is None or observation.ego is not None:  # a recording brings its own
            return observation
        return replace(observation, ego=self._ego.update(frame))


class Runtime:
    """A running stream."""

    def __init__(
        self,
        config: Config,
        extra_sinks: Sequence[Sink] = (),
        make_source: SourceMaker = make_source,
    ):
        self._config = config
        self._make_source = make_source
        self._extra_sinks = tuple(extra_sinks)
        self.is_running = False
        """Whether everything is open and frames flow."""
        self._commands = Commands()
        self._meter = Meter()
        self._sequence: dict[str, int] = {}
        self._started_ns = time.monotonic_ns()
        self._next_health_ns = self._started_ns
        self.page_url: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Streams until `stop` is set, the sources end, or as long as the settings say.

        Raises:
            AamEdgeError: something could not be opened, or the last source was lost for good.
        """
        cv2.setNumThreads(1)  # its pool would fight the network for two cores
        with ExitStack() as open_things:
            self._open(open_things)
            self.is_running = True
            self._loop(stop)
        self._raise_failure()

    def _open(self, open_things: ExitStack) -> None:
        """Sinks first: a taken port is said before a camera is touched."""
        config = self._config
        self._sinks = self._open_sinks(open_things)
        self._model = Model(config.model, config.readout)
        open_things.callback(self._model.close)
        self._stream: Stream = self._model.stream(config.prompts, config.source.calibration)
        self._steering = Steering(self._stream, self.health)
        self._ego = EgoSources(config.ego, self._stream.bearings.lens)
        self._recall = Recall(self._stream, follows=config.source.as_recorded)
        self._cameras = self._open_cameras(open_things)
        if self._recording is not None:
            self._begin_recording(self._recording)
        self._deadline_ns = None
        if config.duration_s is not None:
            self._deadline_ns = time.monotonic_ns() + round(config.duration_s * 1e9)
        names = ", ".join(camera.name for camera in self._cameras)
        logger.info("streaming %s with %s on %s", names, config.model.name, self._model.engine)
        for warning in self._troubles():
            logger.warning("%s", warning)

    def _open_sinks(self, open_things: ExitStack) -> list[Sink]:
        config, sinks = self._config, list[Sink]()
        if config.zmq.pub != NONE:
            publisher = ZmqPublisher(config.zmq, config.net)
            open_things.callback(publisher.close)
            sinks.append(publisher)
            logger.info("publishing on %s", publisher.endpoint)
        if config.zmq.control != NONE:
            control = ControlSocket(config.zmq, config.net, self._commands)
            open_things.callback(control.close)
            logger.info("taking commands on %s", control.endpoint)
        if config.page.listen != NONE:
            page = PageSink(config.page, config.net, self._commands)
            open_things.callback(page.close)
            sinks.append(page)
            self.page_url = page.url
        if config.ros.url != NONE:
            from aam_edge.sinks.ros import RosSink  # with all that ROS needs

            ros = RosSink(config.ros, self._commands, is_alone=len(config.source.cameras) <= 1)
            open_things.callback(ros.close)
            sinks.append(ros)
        self._recording = self._open_recording(open_things)
        if self._recording is not None:
            sinks.append(self._recording)
        for sink in self._extra_sinks:
            open_things.callback(sink.close)
        return [*sinks, *self._extra_sinks]

    def _open_recording(self, open_things: ExitStack) -> RecordingSink | None:
        config = self._config
        if config.record.file is None:
            return None
        from aam_edge.sinks.recording import RecordingSink  # with the mcap library

        recording = RecordingSink(config.record, waits=config.source.pace == "every")
        open_things.callback(recording.close)
        return recording

    def _begin_recording(self, recording: RecordingSink) -> None:
        """Once it is known what runs."""
        from aam_edge.recording.run import describe_run
        from aam_edge.sinks.recording_steps import Plan

        config, model = self._config, self._model
        cameras = [camera.name for camera in self._cameras]
        run = describe_run(
            config,
            model=model.package.name,
            weights=str(model.package.manifest["tensors_sha256"]),
            engine=model.engine,
            cameras=cameras,
        )
        plan = Plan(
            cameras=tuple(cameras),
            shrink=model.shrink,
            pack_state=pack_snapshot,
            namespace=config.ros.namespace,
            quality=config.record.quality,
            keeps_input=config.record.input,
            lens=self._stream.bearings.lens,
        )
        recording.begin(run, plan)

    def _open_cameras(self, open_things: ExitStack) -> list[Camera]:
        config = self._config
        specs = config.source.cameras
        if not specs:
            specs, words = default_cameras()
            logger.info("%s", words)
        source = config.source
        if source.bridge is None and config.ros.url != NONE:
            source = replace(source, bridge=config.ros.url)
        names = unique_names([camera_name(spec) for spec in specs])
        rings = self._open_rings(len(specs), open_things)
        changed = threading.Condition()
        cameras = [
            Camera(
                self._make_source(spec, source, name),
                config,
                changed,
                ring,
                self._ego.of(name),
            )
            for spec, name, ring in zip(specs, names, rings, strict=True)
        ]
        for camera in cameras:
            open_things.callback(camera.feed.stop)
            camera.feed.start()
        return cameras

    def _open_rings(self, cameras: int, open_things: ExitStack) -> list[SoundRing]:
        """One microphone is heard with all cameras; a sound track only with its own."""
        mic = self._config.source.mic
        if mic is None or mic in (NONE, "file"):
            return [SoundRing() for _ in range(cameras)]
        ring = SoundRing()
        microphone = Microphone(mic, ring)
        open_things.callback(microphone.close)
        return [ring] * cameras

    def _loop(self, stop: threading.Event) -> None:
        while not stop.is_set():
            now_ns = time.monotonic_ns()
            self._commands.execute(self._steering.execute)
            self._tick(now_ns)
            if self._deadline_ns is not None and now_ns >= self._deadline_ns:
                return
            try:
                frame = take_any([camera.mailbox for camera in self._cameras], TAKE_S)
            except Ended:
                return
            if frame is not None and not self._steering.is_paused:
                self._step(frame)
            if self._config.frames is not None and self._meter.published >= self._config.frames:
                return

    def _step(self, frame: Frame) -> None:
        """One frame through everything."""
        start = time.perf_counter()
        # Cameras take turns: the one just served goes to the end.
        camera = next(c for c in self._cameras if c.name == frame.camera)
        self._cameras = [c for c in self._cameras if c is not camera] + [camera]
        self._recall.before(frame)
        observation = camera.observe(frame)
        if self._recording is not None:
            self._recording.before_step(self._stream.state, self._steering.changes)
        readings = self._stream.step(observation)
        thought = time.perf_counter()
        publish_ns = time.time_ns()
        attentions = [self._numbered(reading, publish_ns) for reading in readings]
        for sink in self._sinks:
            sink.offer(frame, attentions)
        if self._recording is not None:
            self._recording.offer_step(observation, attentions)
        stages = {
            "network": self._stream.network_s,
            "readout": thought - start - self._stream.network_s,
            "publish": time.perf_counter() - thought,
        }
        given_ns = frame.recorded.given_ns if frame.recorded else frame.capture_ns
        latency_s = (publish_ns - given_ns) / 1e9
        self._meter.publish(latency_s, stages, time.monotonic_ns())

    def _numbered(self, attention: Attention, publish_ns: int) -> Attention:
        sequence = self._sequence.get(attention.topic, 0)
        self._sequence[attention.topic] = sequence + 1
        return attention.published(sequence, publish_ns)

    def _tick(self, now_ns: int) -> None:
        """What is due once a second; also looks after silent cameras."""
        for camera in self._cameras:
            camera.feed.check(now_ns)
        if now_ns >= self._next_health_ns:
            self._next_health_ns = max(self._next_health_ns + HEALTH_NS, now_ns)
            self._meter.forget(now_ns)
            health = self.health()
            for sink in self._sinks:
                sink.offer_health(health)

    def health(self) -> Health:
        """How the stream is doing now."""
        dropped = {f"source/{c.name}": c.mailbox.dropped + c.feed.gap for c in self._cameras}
        dropped |= {sink.name: sink.dropped for sink in self._sinks}
        return Health(
            rate_hz=self._meter.rate_hz(),
            latency_ms=self._meter.latency_ms(),
            stages_ms=self._meter.stages_ms(),
            dropped=dropped,
            source_state={c.name: c.feed.state.value for c in self._cameras},
            sinks={sink.name: sink.state() for sink in self._sinks},
            engine=self._model.engine,
            device=self._model.backend.device,
            rss_bytes=resident_bytes(),
            uptime_s=(time.monotonic_ns() - self._started_ns) / 1e9,
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> list[str]:
        return self._troubles() + self._stream.doubts

    def _troubles(self) -> list[str]:
        """What is wrong, but for the prompts, which the stream tells of itself."""
        warnings = [f"{c.name}: {c.feed.error}" for c in self._cameras if c.feed.error]
        warnings += self._stream.bearings.troubles
        if self._steering.is_paused:
            warnings.append("paused")
        asked = [prompt for prompt in self._stream.prompts if prompt != FREE_VIEWING]
        if asked and not self._model.package.follows_prompts:
            name = self._model.package.name
            warnings.append(f"{name} shows free viewing whatever the prompt ({asked[0]})")
        for what, count in self._stream.counters.items():
            if count:
                warnings.append(f"{what}: {count}")
        return warnings

    def _raise_failure(self) -> None:
        """Every source ended: if one of them failed, that is how the stream ended."""
        for camera in self._cameras:
            failure = camera.feed.failure
            if camera.feed.state is SourceState.LOST and failure is not None:
                if isinstance(failure, AamEdgeError):
                    raise failure
                raise SourceError("source failed", camera.name, "see the log") from failure


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
