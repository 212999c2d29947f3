"""Foxglove (extra `[foxglove]`): a websocket that Foxglove opens, with the topics of a recording.

The same ROS 2 messages in CDR as `--record` writes, and ImageAnnotations of Foxglove's own, which
its picture panel draws: a ring of 2 sigma at each target, a cross at the gaze. Nothing can be
commanded through it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from aam_edge.config import NetConfig, ViewConfig
from aam_edge.errors import SinkError
from aam_edge.messages import Attention, Gaze, Health, Target
from aam_edge.recording import topics
from aam_edge.recording.cdr import codec
from aam_edge.ros_definitions import full_definition
from aam_edge.sinks.page_guard import parse_listen
from aam_edge.sinks.recording_steps import to_jpeg
from aam_edge.sinks.viewer import Lens, Seen, check_address

logger = logging.getLogger(__name__)

QUALITY = 80
BACKLOG = 64
"""Messages that may wait for one Foxglove; older ones are dropped."""
WHITE, AMBER, CYAN = (1.0, 1.0, 1.0), (1.0, 0.7, 0.33), (0.44, 0.83, 1.0)
CROSS_PX = 12.0


class FoxgloveViewer:
    """Listens from its constructor on."""

    def __init__(
        self,
        config: ViewConfig,
        net: NetConfig,
        cameras: Sequence[str],
        namespace: str,
        lens: Lens,
    ) -> None:
        """`lens` gives calibrations.

        Raises:
            UsageError: `view.foxglove_listen` is no address.
            SinkError: it is taken, or others could reach it, or the extra is missing.
        """
        try:
            import foxglove
        except ImportError as problem:
            todo = "pip install aam-edge[foxglove]"
            raise SinkError("Foxglove is not installed", "view.foxglove", todo) from problem
        self._foxglove = foxglove
        listen = config.foxglove_listen
        asked = parse_listen(listen, "Foxglove")
        check_address(asked.host, f"view.foxglove_listen={asked}", insecure=net.insecure)
        self._context = foxglove.Context()
        try:
            self._server = foxglove.start_server(
                name="aam-edge",
                host=asked.host,
                port=asked.port,
                message_backlog_size=BACKLOG,
                context=self._context,
            )
        except RuntimeError as problem:
            why = str(problem).removeprefix("FoxgloveError: ")
            todo = "choose another with --set view.foxglove_listen=127.0.0.1:PORT"
            raise SinkError("Foxglove cannot listen there", f"{asked}: {why}", todo) from problem
        self.url = f"ws://{asked.host}:{self._server.port}"
        self._channels: dict[str, Any] = {}
        is_alone = len(cameras) == 1
        self._base = topics.camera_prefix(namespace, "", is_alone=True)
        self._prefixes = {
            camera: topics.camera_prefix(namespace, camera, is_alone=is_alone) for camera in cameras
        }
        self._lens = lens
        logger.info("Foxglove: open %s", self.url)

    def show(self, seen: Seen) -> None:
        """Sends what somebody looks at; the picture is encoded only then."""
        frame, attentions = seen.frame, seen.attentions
        prefix, log_ns = self._prefixes[frame.camera], attentions[0].publish_ns
        lens = self._lens(frame.camera, frame.size)
        if lens is not None:
            info = topics.camera_info(lens)
            info |= {"header": topics.header(frame.capture_ns, frame.camera)}
            self._send(prefix + topics.CAMERA_INFO, "sensor_msgs/msg/CameraInfo", info, log_ns)
        for attention in attentions:
            for topic, kind, message in topics.shown_entries(attention):
                self._send(prefix + topic, kind, message, log_ns)
            self._annotate(prefix, attention, log_ns)
        if self._channel(prefix + topics.IMAGE, topics.COMPRESSED).has_sinks():
            jpeg = frame.jpeg or to_jpeg(frame.image, QUALITY)
            topic, kind, message = topics.picture_entry(jpeg, frame.capture_ns, frame.camera)
            self._send(prefix + topic, kind, message, log_ns)

    def report(self, health: Health) -> None:
        """Sends health and diagnostics."""
        now_ns = time.time_ns()
        for topic, kind, message in topics.health_entries(health, now_ns):
            whole = topic if topic.startswith("/") else self._base + topic
            self._send(whole, kind, message, now_ns)

    def close(self) -> None:
        """Frees the port."""
        self._server.stop()

    def _send(self, topic: str, kind: str, message: dict[str, Any], log_ns: int) -> None:
        channel = self._channel(topic, kind)
        if channel.has_sinks():
            channel.log(codec(kind).encode(message), log_time=log_ns)

    def _channel(self, topic: str, kind: str) -> Any:
        if topic not in self._channels:
            schema = self._foxglove.Schema(
                name=kind, encoding="ros2msg", data=full_definition(kind).encode()
            )
            self._channels[topic] = self._foxglove.Channel(
                topic, schema=schema, message_encoding="cdr", context=self._context
            )
        return self._channels[topic]

    def _annotate(self, prefix: str, attention: Attention, log_ns: int) -> None:
        from foxglove.channels import ImageAnnotationsChannel

        before = f"prompt_{attention.prompt_index}/" if attention.prompt_index else ""
        topic = f"{prefix}{before}annotations"
        if topic not in self._channels:
            self._channels[topic] = ImageAnnotationsChannel(topic, context=self._context)
        if self._channels[topic].has_sinks():
            self._channels[topic].log(drawn_over(attention), log_time=log_ns)


def drawn_over(attention: Attention) -> Any:
    """Rings, words and a cross over the picture, as foxglove.messages.ImageAnnotations."""
    from foxglove.messages import ImageAnnotations, Timestamp

    sec, nsec = divmod(attention.capture_ns, 1_000_000_000)
    return ImageAnnotations(
        timestamp=Timestamp(sec, nsec),
        circles=[_ring(target, rank) for rank, target in enumerate(attention.targets)],
        texts=[_words(target, rank) for rank, target in enumerate(attention.targets)],
        points=[] if attention.gaze is None else [_cross(attention.gaze)],
    )


def _at(x: float, y: float) -> Any:
    """Foxglove counts from the corner of the first pixel, we from its centre."""
    from foxglove.messages import Point2

    return Point2(x=x + 0.5, y=y + 0.5)


def _colour(rgb: tuple[float, float, float]) -> Any:
    from foxglove.messages import Color

    red, green, blue = rgb
    return Color(r=red, g=green, b=blue, a=1.0)


def _ring(target: Target, rank: int) -> Any:
    from foxglove.messages import CircleAnnotation

    return CircleAnnotation(
        position=_at(target.x, target.y),
        diameter=4 * target.sigma_px,
        thickness=3.0 if rank == 0 else 1.5,
        outline_color=_colour(AMBER if rank == 0 else WHITE),
    )


def _words(target: Target, rank: int) -> Any:
    from foxglove.messages import TextAnnotation

    return TextAnnotation(
        position=_at(target.x + 2 * target.sigma_px, target.y),
        text=f"{rank + 1}: {target.score:.0%}",
        font_size=14.0,
        text_color=_colour(AMBER if rank == 0 else WHITE),
    )


def _cross(gaze: Gaze) -> Any:
    from foxglove.messages import PointsAnnotation, PointsAnnotationType

    ends = [(-CROSS_PX, 0.0), (CROSS_PX, 0.0), (0.0, -CROSS_PX), (0.0, CROSS_PX)]
    return PointsAnnotation(
        type=PointsAnnotationType.LineList,
        points=[_at(gaze.x + dx, gaze.y + dy) for dx, dy in ends],
        outline_color=_colour(CYAN),
        thickness=3.0,
    )
