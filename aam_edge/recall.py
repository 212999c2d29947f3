"""A recording played again: the network goes on from the states that were recorded with it."""

from __future__ import annotations

import logging
from typing import Any

from aam_edge.messages import Frame
from aam_edge.model_api import Stream
from aam_edge.snapshot import unpack_snapshot

logger = logging.getLogger(__name__)


class Recall:
    """Brings a stream, before a frame of a recording, into the state that it had then.

    So a re-run by the same network gives the same maps bit for bit, also from the middle, behind a
    hole, and where the prompt was changed. It ends where somebody else steers: asked for other
    prompts, the stream keeps to them and to its own state.
    """

    def __init__(self, stream: Stream, *, follows: bool = True):
        """`follows`: whether the stream takes over the prompts of the recording."""
        self._stream, self._follows = stream, follows
        self._last = stream.prompts

    def before(self, frame: Frame) -> None:
        """Restores what was recorded with the frame, if anything."""
        if frame.recorded is None or frame.recorded.state is None:
            return
        if self._stream.prompts != self._last:
            self._follows = False  # set_prompt came from outside
        try:
            state = unpack_snapshot(frame.recorded.state)
        except ValueError as problem:
            logger.warning("recorded state is not of this version, it is left out: %s", problem)
            return
        prompts = tuple(state["prompts"])
        if not self._follows and prompts != self._stream.prompts:
            return
        if prompts != self._stream.prompts:
            logger.info("prompts as recorded: %s", ", ".join(prompts))
        self._stream.restore(for_camera(state, frame.recorded.camera, frame.camera))
        self._last = self._stream.prompts


def for_camera(state: dict[str, Any], was: str, now: str) -> dict[str, Any]:
    """What a snapshot says of the camera that was called `was`, under its name of now."""
    sessions = {now: state["sessions"][was]} if was in state["sessions"] else {}
    readout = [view | {"camera": now} for view in state["readout"] if view["camera"] == was]
    return state | {"sessions": sessions, "readout": readout}
