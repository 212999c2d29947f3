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

    def __init__(self, stream: Stream, *, follows: bool = True, is_alone: bool = True):
        """`follows`: whether the stream takes over the prompts; `is_alone`: it has one camera."""
        self._stream, self._follows, self._is_alone = stream, follows, is_alone
        self._last: dict[str, tuple[str, ...]] = {}

    def before(self, frame: Frame) -> None:
        """Restores what was recorded with the frame, if anything."""
        if frame.recorded is None or frame.recorded.state is None:
            return
        stream, camera = self._stream, frame.camera
        if stream.prompts_of(camera) != self._last.setdefault(camera, stream.prompts_of(camera)):
            self._follows = False  # set_prompt came from outside
        try:
            state = unpack_snapshot(frame.recorded.state)
        except ValueError as problem:
            logger.warning("recorded state is not of this version, it is left out: %s", problem)
            return
        state = for_camera(state, frame.recorded.camera, camera)
        prompts = tuple(state["prompts"])
        if not self._follows and prompts != stream.prompts_of(camera):
            return
        if prompts != stream.prompts_of(camera):
            logger.info("prompts as recorded: %s", ", ".join(prompts))
        before = stream.state()
        try:
            if self._is_alone:
                stream.restore(state)
            else:
                stream.restore_camera(state, camera)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            stream.restore(before)
            logger.warning("recorded state is of another network, it is left out: %s", problem)
            return
        self._last[camera] = prompts


def for_camera(state: dict[str, Any], was: str, now: str) -> dict[str, Any]:
    """What a snapshot says of the camera that was called `was`, under its name of now."""
    sessions = {now: state["sessions"][was]} if was in state["sessions"] else {}
    readout = [view | {"camera": now} for view in state["readout"] if view["camera"] == was]
    its: dict[str, Any] = state["asked"].get(was, {})
    return state | its | {"asked": {}, "sessions": sessions, "readout": readout}
