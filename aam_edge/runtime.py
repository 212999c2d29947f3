"""The loop: observation, network, readout, sinks. Owns time, health and shutdown.

`Runtime(config).run(stop)` opens everything, runs until the sources end or `stop` is set, and
closes in the direction of the data: sources, loop, sinks. It runs in the thread that calls it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from aam_edge.cameras import Cameras, SourceMaker
from aam_edge.commands import Commands
from aam_edge.config import Config
from aam_edge.ego.catalog import EgoSources
from aam_edge.engine.package import find_package
from aam_edge.heat import ROOT, HeatWatch
from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import Attention, Frame, Health, Observation
from aam_edge.meter import Meter
from aam_edge.model_api import Model, Stream
from aam_edge.process import resident_bytes
from aam_edge.prompts import FREE_VIEWING
from aam_edge.pulse import Pulse, SourceNow
from aam_edge.readout.bearings import read_calibrations
from aam_edge.recall import Recall
from aam_edge.reporter import Reporter, sink_words
from aam_edge.ros.transport import DEFAULT_URL
from aam_edge.sinks.cropper import Cropper
from aam_edge.sinks.page import PageSink
from aam_edge.sinks.sink import CropSink, Sink
from aam_edge.sinks.viewers import open_viewers
from aam_edge.sinks.zmq import NONE, ControlSocket, ZmqPublisher
from aam_edge.snapshot import pack_snapshot
from aam_edge.sources.catalog import make_source
from aam_edge.sources.mailbox import Ended
from aam_edge.steering import Steering

if TYPE_CHECKING:
    from aam_edge.sinks.recording import RecordingSink

logger = logging.getLogger(__name__)

TAKE_S = 0.05
"""Longest wait for a frame before commands, health and stop are looked at again."""


class Runtime:
    """A running stream."""

    def __init__(
        self,
        config: Config,
        extra_sinks: Sequence[Sink] = (),
        make_source: SourceMaker = make_source,
        machine: Path = ROOT,
    ):
        """`machine`: where the system's own files about its heat begin."""
        self._config = config
        self._make_source = make_source
        self._extra_sinks = tuple(extra_sinks)
        self._machine = machine
        self.is_interruptible = False
        """Whether the thread that runs may be interrupted by an exception: while it opens network
        and cameras, which may take its time, and not while it opens sockets and files."""
        self.was_interrupted = False
        """Whether it was told to stop before it ran."""
        self.is_leaving = threading.Event()
        """Set once the loop has ended, or was never reached: now all is closed."""
        self.commands = Commands()
        self.commands.why_silent = lambda: self._maps(time.monotonic_ns())
        self._meter = Meter()
        self._sequence: dict[str, int] = {}
        self._started_ns = time.monotonic_ns()
        self._pulse = Pulse(self._started_ns)
        self._sources_now: Callable[[], Mapping[str, SourceNow]] = dict
        self._recording: RecordingSink | None = None

    def run(self, stop: threading.Event) -> None:
        """Streams until `stop` is set, the sources end, or as long as the settings say.

        Raises:
            AamEdgeError: something could not be opened, or the last source was lost for good.
        """
        cv2.setNumThreads(1)  # its pool would fight the network for two cores
        with ExitStack() as open_things:
            open_things.callback(self.is_leaving.set)
            try:
                self._open(open_things, stop)
                self._pulse.end(self._loop(stop))
            finally:
                self.commands.end()  # before the sinks close: some wait for an answer
            self.is_leaving.set()
            self._reporter.end(self.health())
        if not stop.is_set():
            self._cameras.raise_failure()

    def rescue(self) -> None:
        """Ends the recording where the loop does not come back; for another thread."""
        if self._recording is not None:
            self._recording.close()

    def _open(self, open_things: ExitStack, stop: threading.Event) -> None:
        """Sinks first: a taken port is said before a camera is touched."""
        self._enter("outputs")
        self._check_files()
        self._cameras = Cameras(self._config, open_things)
        self._sinks = self._open_sinks(open_things)
        self._reporter = Reporter(self._sinks, self._pulse, self._maps, Health.unknown())
        open_things.callback(self._reporter.close)
        self._heat = HeatWatch(self._machine)
        open_things.callback(self._heat.close)
        self.is_interruptible = True
        try:
            if not stop.is_set():
                self._open_network_and_cameras(open_things)
        finally:
            self.is_interruptible = False
            self.was_interrupted = stop.is_set()
        if stop.is_set():
            raise KeyboardInterrupt
        if self._recording is not None:
            self._begin_recording(self._recording)
        self._say_what_runs()

    def _check_files(self) -> None:
        """A wrong name of a network or a calibration is said before anything is opened."""
        find_package(self._config.model.name)
        read_calibrations(self._config.source.calibration)

    def _open_network_and_cameras(self, open_things: ExitStack) -> None:
        config = self._config
        self._enter("network")
        self._cropper = Cropper(config.gaze) if config.gaze.crops else None
        if self._cropper is not None:
            open_things.callback(self._cropper.close)
        self._model = Model(config.model, config.readout, config.gaze)
        open_things.callback(self._model.close)
        self._stream: Stream = self._model.stream(config.prompts, config.source.calibration)
        open_things.callback(self._stream.close)
        self._steering = Steering(self._stream, self.health, self._cameras.names)
        is_alone = len(self._cameras) == 1
        self._recall = Recall(self._stream, follows=config.source.as_recorded, is_alone=is_alone)
        self._enter("cameras")
        self._ego = self._open_ego(open_things)
        self._cameras.open(self._make_source, self._ego.of, self._model.shrink)
        self._sources_now = self._look_at_sources

    def _say_what_runs(self) -> None:
        config = self._config
        names, engine = ", ".join(self._cameras.names), self._model.engine
        logger.info("streaming %s with %s on %s", names, config.model.name, engine)
        for warning in self._troubles():
            logger.warning("%s", warning)

    def _open_ego(self, open_things: ExitStack) -> EgoSources:
        config = self._config
        bridge = config.source.bridge or (config.ros.url if config.ros.url != NONE else DEFAULT_URL)
        ego = EgoSources(config.ego, self._stream.bearings.lens, bridge=bridge)
        open_things.callback(ego.close)
        return ego

    def _open_sinks(self, open_things: ExitStack) -> list[Sink]:
        config, sinks = self._config, list[Sink]()
        if config.zmq.pub != NONE:
            publisher = ZmqPublisher(config.zmq, config.net)
            open_things.callback(publisher.close)
            sinks.append(publisher)
            logger.info("publishing on %s", publisher.endpoint)
        if config.zmq.control != NONE:
            control = ControlSocket(config.zmq, config.net, self.commands)
            open_things.callback(control.close)
            logger.info("taking commands on %s", control.endpoint)
        if config.page.listen != NONE:
            page = PageSink(config.page, config.net, self.commands)
            open_things.callback(page.close)
            sinks.append(page)
        if config.ros.url != NONE:
            from aam_edge.sinks.ros import RosSink  # with all that ROS needs

            ros = RosSink(config.ros, self.commands, self._cameras.names)
            open_things.callback(ros.close)
            sinks.append(ros)
        for viewer in open_viewers(config, self._cameras.names, self._lens):
            open_things.callback(viewer.close)
            sinks.append(viewer)
        self._recording = self._open_recording(open_things)
        if self._recording is not None:
            sinks.append(self._recording)
        for sink in self._extra_sinks:
            open_things.callback(sink.close)
        return [*sinks, *self._extra_sinks]

    def _lens(self, camera: str, size: tuple[int, int]) -> Intrinsics | None:
        """A camera's calibration, for sinks that are opened before it is read."""
        return self._stream.bearings.lens(camera, size)

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
        cameras = self._cameras.names
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

    def _loop(self, stop: threading.Event) -> str:
        """Runs to the end; returns what kind of end it was."""
        deadline_ns = None
        if self._config.duration_s is not None:
            deadline_ns = time.monotonic_ns() + round(self._config.duration_s * 1e9)
        while not stop.is_set():
            self._enter("command")
            self.commands.execute(self._steering.execute)
            now_ns = time.monotonic_ns()
            self._tick(now_ns)
            if deadline_ns is not None and now_ns >= deadline_ns:
                return "the time is over"
            self._pulse.wait(time.monotonic_ns())
            try:
                frames = self._cameras.take(TAKE_S)
            except Ended:
                return "; ".join(
                    f"{c.name}: {c.feed.error or 'source ended'}" for c in self._cameras
                )
            self._step([f for f in frames if not self._steering.is_paused(f.camera)])
            if self._left == 0:
                return "the frames are over"
        return "stopped"

    def _enter(self, doing: str) -> None:
        self._pulse.enter(doing, time.monotonic_ns())

    @property
    def _left(self) -> int | None:
        """Frames until the stream ends by itself."""
        if self._config.frames is None:
            return None
        return max(0, self._config.frames - self._meter.published)

    def _step(self, frames: Sequence[Frame]) -> None:
        """The frames that are ready, one a camera, through everything."""
        frames = frames[: self._left]
        for first in range(0, len(frames), self._config.model.batch):
            self._step_together(frames[first : first + self._config.model.batch])

    def _step_together(self, frames: Sequence[Frame]) -> None:
        start = time.perf_counter()
        self._enter("observation")
        for frame in frames:
            self._recall.before(frame)
        observations = [self._cameras.named(frame.camera).observe(frame) for frame in frames]
        if self._recording is not None:
            captured_ns = max(frame.capture_ns for frame in frames)
            self._recording.offer_gyro(self._ego.new_samples(captured_ns))
            self._recording.before_step(self._stream.state, self._steering.changes)
        self._enter("network")
        readings = self._stream.step_together(observations)
        thought, network_s = time.perf_counter(), self._stream.network_s
        for n, (observation, its) in enumerate(zip(observations, readings, strict=True)):
            begin = time.perf_counter()
            latency_s = self._publish(observation, its, self._stream.in_pass[n] > 1)
            stages = {
                "network": network_s / len(frames),
                "readout": (thought - start - network_s) / len(frames),
                "publish": time.perf_counter() - begin,
            }
            self._meter.publish(latency_s, stages, time.monotonic_ns())
            camera = self._cameras.named(observation.frame.camera)
            camera.meter.publish(latency_s, {}, time.monotonic_ns())

    def _publish(
        self, observation: Observation, readings: Sequence[Attention], together: bool
    ) -> float:
        """Hands one frame's maps to all sinks; seconds from its capture."""
        frame, publish_ns = observation.frame, time.time_ns()
        attentions = [self._numbered(reading, publish_ns) for reading in readings]
        for sink in self._sinks:
            self._enter(sink_words(sink))
            sink.offer(frame, attentions)
        self._enter("crops")
        self._pass_crops(frame, attentions)
        if self._recording is not None:
            self._enter(sink_words(self._recording))
            self._recording.offer_step(observation, attentions, together=together)
        given_ns = frame.recorded.given_ns if frame.recorded else frame.capture_ns
        latency_s = (publish_ns - given_ns) / 1e9
        # A file may be read faster or slower than it was filmed; that makes no map old.
        is_live = self._cameras.named(frame.camera).is_live
        self._pulse.leave(frame, latency_s if is_live else None, time.monotonic_ns())
        return latency_s

    def _pass_crops(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Has crops made of this frame, and hands on those that are done."""
        if self._cropper is None:
            return
        self._cropper.offer(frame, attentions)
        for crops in self._cropper.take():
            for sink in self._sinks:
                if isinstance(sink, CropSink):
                    sink.offer_crops(crops)

    def _numbered(self, attention: Attention, publish_ns: int) -> Attention:
        sequence = self._sequence.get(attention.topic, 0)
        self._sequence[attention.topic] = sequence + 1
        return attention.published(sequence, publish_ns)

    def _tick(self, now_ns: int) -> None:
        """Looks after silent cameras, and reports health when it is due."""
        for camera in self._cameras:
            camera.feed.check(now_ns)
        self._reporter.tick(self.health)

    def _maps(self, now_ns: int) -> str:
        """`ok`, or why no fresh map leaves; for any thread."""
        return self._pulse.why(now_ns, self._sources_now())

    def _look_at_sources(self) -> Mapping[str, SourceNow]:
        paused = self._steering.is_paused
        return {c.name: c.now(is_paused=paused(c.name)) for c in self._cameras}

    def health(self) -> Health:
        """How the stream is doing now."""
        now_ns = time.monotonic_ns()
        for meter in (self._meter, *(camera.meter for camera in self._cameras)):
            meter.forget(now_ns)
        sources = self._look_at_sources()
        maps = {name: self._pulse.why_camera(name, now_ns, now) for name, now in sources.items()}
        dropped = {f"source/{c.name}": c.dropped for c in self._cameras}
        dropped |= {sink.name: sink.dropped for sink in self._sinks}
        if self._cropper is not None:
            dropped["crops"] = self._cropper.dropped
        return Health(
            rate_hz=self._meter.rate_hz(),
            latency_ms=self._meter.latency_ms(),
            stages_ms=self._meter.stages_ms(),
            dropped=dropped,
            source_state={name: now.state for name, now in sources.items()},
            sinks={sink.name: sink.state() for sink in self._sinks},
            engine=self._model.engine,
            device=self._model.backend.device,
            rss_bytes=resident_bytes(),
            uptime_s=(time.monotonic_ns() - self._started_ns) / 1e9,
            warnings=tuple(self._troubles() + self._stream.doubts + self._heat.troubles),
            cameras={c.name: c.health(maps[c.name]) for c in self._cameras},
            maps=self._pulse.why(now_ns, sources),
            map_age_s=self._pulse.age_s(now_ns),
        )

    def _troubles(self) -> list[str]:
        """What is wrong, but for the prompts, which the stream tells of itself."""
        warnings = [f"{c.name}: {c.feed.error}" for c in self._cameras if c.feed.error]
        warnings += self._stream.bearings.troubles + self._ego.troubles
        warnings += self._steering.troubles
        asked = [prompt for prompt in self._stream.prompts if prompt != FREE_VIEWING]
        if asked and not self._model.package.follows_prompts:
            name = self._model.package.name
            warnings.append(f"{name} shows free viewing whatever the prompt ({asked[0]})")
        for what, count in self._stream.counters.items():
            if count:
                warnings.append(f"{what}: {count}")
        return warnings
