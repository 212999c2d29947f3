"""What each command does to a running stream; a wrong one is answered and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from aam_edge.commands import Answer, Command, refusal
from aam_edge.errors import UsageError
from aam_edge.messages import Health
from aam_edge.model_api import Stream
from aam_edge.prompts import checked_prompt
from aam_edge.snapshot import pack_snapshot, unpack_snapshot

logger = logging.getLogger(__name__)


class Steering:
    """The doors of CONTRACT 2, in the loop's thread, between two frames.

    Commands that may name a `camera` are for all cameras where they do not.
    """

    def __init__(self, stream: Stream, health: Callable[[], Health], cameras: Sequence[str]):
        self.changes = 0
        """Commands so far that changed what the next map will be."""
        self._stream, self._health, self._cameras = stream, health, tuple(cameras)
        self._paused: set[str] = set()
        self._doors: dict[object, Callable[[Command], Answer]] = {
            "status": self._status,
            "set_prompt": self._set_prompt,
            "reset": self._reset,
            "pause": lambda command: self._pause(command, True),
            "resume": lambda command: self._pause(command, False),
            "snapshot": lambda _: {"ok": True, "snapshot": pack_snapshot(stream.state())},
            "restore": self._restore,
        }

    def is_paused(self, camera: str) -> bool:
        """Whether this camera's frames are passed over."""
        return camera in self._paused

    @property
    def troubles(self) -> list[str]:
        """What is paused, for health."""
        if self._paused.issuperset(self._cameras):
            return ["paused"]
        return [f"{camera}: paused" for camera in sorted(self._paused)]

    def execute(self, command: Command) -> Answer:
        """Runs one command."""
        name = command.get("cmd")
        door = self._doors.get(name) if isinstance(name, str) else None
        if door is None:
            known = ", ".join(map(str, self._doors))
            return refusal(f"unknown cmd ({str(name)[:40]}): give one of {known}")
        camera = command.get("camera")
        if camera is not None and camera not in self._cameras:
            known = ", ".join(self._cameras)
            return refusal(f"no such camera ({str(camera)[:40]}): give one of {known}")
        return door(command)

    def _status(self, command: Command) -> Answer:
        health, package = self._health(), self._stream.model.package
        prompts_of = {camera: list(self._stream.prompts_of(camera)) for camera in self._cameras}
        return {
            "ok": True,
            "prompts": list(self._prompts(command)),
            "prompts_of": prompts_of,
            "cameras": list(self._cameras),
            "paused": self._paused.issuperset(self._cameras),
            "paused_cameras": sorted(self._paused),
            "rate_hz": health.rate_hz,
            "latency_ms": health.latency_ms,
            "engine": health.engine,
            "model": package.name,
            "weights": package.weights_id,
            "uptime_s": health.uptime_s,
            "warnings": list(health.warnings),
        }

    def _prompts(self, command: Command) -> tuple[str, ...]:
        camera = command.get("camera")
        return self._stream.prompts if camera is None else self._stream.prompts_of(camera)

    def _set_prompt(self, command: Command) -> Answer:
        index, prompts = command.get("index", 0), list(self._prompts(command))
        try:
            prompt = checked_prompt(command.get("prompt"))
        except UsageError as problem:
            return refusal(str(problem))
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(prompts):
            last = len(prompts) - 1
            return refusal(f"no prompt with this index ({str(index)[:20]}): give 0 to {last}")
        prompts[index] = prompt
        camera = command.get("camera")
        self._stream.set_prompts(prompts, camera)
        self.changes += 1
        whose = "" if camera is None else f" of {camera}"
        logger.info("prompt %d%s is now: %s", index, whose, prompt)
        return {"ok": True, "prompts": prompts, "warnings": list(self._health().warnings)}

    def _reset(self, command: Command) -> Answer:
        self._stream.reset(command.get("camera"))
        self.changes += 1
        return {"ok": True}

    def _pause(self, command: Command, paused: bool) -> Answer:
        cameras = set(self._cameras) if command.get("camera") is None else {command["camera"]}
        self._paused = self._paused | cameras if paused else self._paused - cameras
        return {"ok": True, "paused": paused}

    def _restore(self, command: Command) -> Answer:
        before = self._stream.state()
        try:
            self._stream.restore(unpack_snapshot(command.get("snapshot")))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            # Of another network, which only the engine can tell: half of it may be in already.
            self._stream.restore(before)
            return refusal(f"not a snapshot of a stream: {problem}")
        self.changes += 1
        return {"ok": True, "prompts": list(self._stream.prompts)}
