"""From the settings to the viewers that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aam_edge.config import Config
from aam_edge.sinks.viewer import Lens, ViewerSink
from aam_edge.sinks.zmq import NONE


def open_viewers(config: Config, cameras: Sequence[str], lens: Lens) -> Iterator[ViewerSink]:
    """Opens them one after the other; raises UsageError or SinkError.

    Args:
        config: settings.
        cameras: names of all cameras.
        lens: camera and size of its pictures to its calibration.
    """
    if config.view.foxglove:
        from aam_edge.sinks.foxglove import FoxgloveViewer  # with its library, and mcap's

        viewer = FoxgloveViewer(config.view, config.net, cameras, config.ros.namespace, lens)
        yield ViewerSink("foxglove", viewer, config.view.fps)
    if config.view.rerun != NONE:
        from aam_edge.sinks.rerun import RerunViewer

        yield ViewerSink("rerun", RerunViewer(config.view, config.net), config.view.fps)
