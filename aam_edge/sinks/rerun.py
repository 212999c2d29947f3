"""rerun (extra `[rerun]`): pictures, maps, targets and rates for its viewer, or into a .rrd file.

Below each camera's name: `image`, `image/attention` (drawn over it), `image/targets`, `image/gaze`;
`rate` and `latency` beside them. A further prompt's have `prompt_1` in between. The timeline
`capture` is the time of the picture.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.config import NetConfig, ViewConfig
from aam_edge.errors import SinkError
from aam_edge.messages import Attention, Health
from aam_edge.sinks.page_guard import parse_listen
from aam_edge.sinks.recording_steps import to_jpeg
from aam_edge.sinks.viewer import Seen, check_address

logger = logging.getLogger(__name__)

QUALITY = 80
OPACITY = 0.6
AMBER, CYAN = (255, 180, 84), (111, 211, 255)


class RerunViewer:
    """Connects, or begins the file, in its constructor."""

    def __init__(self, config: ViewConfig, net: NetConfig) -> None:
        """Raises UsageError or SinkError: no address, one of another machine, no such extra."""
        try:
            import rerun
        except ImportError as problem:
            todo = "pip install aam-edge[rerun]"
            raise SinkError("rerun is not installed", "view.rerun", todo) from problem
        self._rerun = rerun
        self._stream = rerun.RecordingStream("aam-edge")
        if config.rerun.endswith(".rrd"):
            self._save(config.rerun)
            return
        asked = parse_listen(config.rerun, "rerun")
        check_address(asked.host, f"view.rerun={asked}", insecure=net.insecure)
        # It keeps what it cannot send, so a viewer may be started later; its own bound holds.
        self._stream.connect_grpc(f"rerun+http://{asked}/proxy")
        logger.info("rerun: showing in the viewer at %s", asked)

    def show(self, seen: Seen) -> None:
        """Logs a picture, and its maps over it."""
        frame, rr = seen.frame, self._rerun
        root = f"{frame.camera}/image"
        self._stream.set_time("capture", timestamp=np.datetime64(frame.capture_ns, "ns"))
        jpeg = frame.jpeg or to_jpeg(frame.image, QUALITY)
        self._stream.log(root, rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        for attention in seen.attentions:
            before = f"prompt_{attention.prompt_index}/" if attention.prompt_index else ""
            self._show_map(f"{root}/{before}", attention)

    def report(self, health: Health) -> None:
        """Logs rates and warnings."""
        rr = self._rerun
        for name, camera in health.cameras.items():
            self._stream.log(f"{name}/rate", rr.Scalars(camera.rate_hz))
            self._stream.log(f"{name}/latency", rr.Scalars(camera.latency_ms["p99"]))
        for warning in health.warnings:
            self._stream.log("warnings", rr.TextLog(warning, level="WARN"))

    def close(self) -> None:
        """Ends the file, or the connection."""
        self._stream.disconnect()

    def _save(self, file: str) -> None:
        try:
            Path(file).touch()  # rerun says in its own log alone that it cannot
        except OSError as problem:
            why = f"{file}: {problem.strerror}"
            raise SinkError("rerun's file cannot be written", why, "choose another") from problem
        self._stream.save(file)
        logger.info("rerun: writing %s", file)

    def _show_map(self, root: str, attention: Attention) -> None:
        rr = self._rerun
        self._stream.log(f"{root}attention", rr.Image(heat(attention), draw_order=1.0))
        targets = attention.targets
        # rerun counts from the corner of the first pixel, we from its centre.
        self._stream.log(
            f"{root}targets",
            rr.Points2D(
                [(target.x + 0.5, target.y + 0.5) for target in targets],
                radii=[2 * target.sigma_px for target in targets],
                labels=[f"{rank + 1}: {t.score:.0%}" for rank, t in enumerate(targets)],
                colors=AMBER,
                draw_order=2.0,
            ),
        )
        gaze = attention.gaze
        places = [] if gaze is None else [(gaze.x + 0.5, gaze.y + 0.5)]
        self._stream.log(f"{root}gaze", rr.Points2D(places, radii=8.0, colors=CYAN, draw_order=3.0))


def heat(attention: Attention) -> NDArray[np.uint8]:
    """(H, W, 4), RGBA, of the picture's size: the map's colours, clear where nobody looks."""
    relative = np.sqrt(attention.density / attention.density.max())
    colours: Any = cv2.applyColorMap((relative * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    rgba = cv2.cvtColor(colours, cv2.COLOR_BGR2RGBA)
    rgba[:, :, 3] = np.rint(relative * OPACITY * 255)
    return np.asarray(cv2.resize(rgba, attention.image), np.uint8)
