"""What each command does to a running stream; a wrong one is answered and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aam_edge.commands import Answer, Command, refusal
from aam_edge.errors import UsageError
from aam_edge.messages import Health
from aam_edge.model_api import Stream
from aam_edge.prompts import checked_prompt
from aam_edge.snapshot import pack_snapshot, unpack_snapshot

logger = logging.getLogger(__name__)


class Steering:
    """The doors of CONTRACT 2, in the loop's thread, between two frames."""

    def __init__(self, stream: Stream, health: Callable[[], Health]):
        self.is_paused = False
        self.changes = 0
        """Commands so far that changed what the next map will be."""
        self._stream, self._health = stream, health
        self._doors: dict[object, Callable[[Command], Answer]] = {
            "status": self._status,
            "set_prompt": self._set_prompt,
            "reset": self._reset,
            "pause": lambda _: self._pause(True),
            "resume": lambda _: self._pause(False),
            "snapshot": lambda _: {"ok": True, "snapshot": pack_snapshot(stream.state())},
            "restore": self._restore,
        }

    def execute(self, command: Command) -> Answer:
        """Runs one command."""
        name = command.get("cmd")
        door = self._doors.get(name) if isinstance(name, str) else None
        if door is None:
            known = ", ".join(map(str, self._doors))
            return refusal(f"unknown cmd ({str(name)[:40]}): give one of {known}")
        return door(command)

    def _status(self, command: Command) -> Answer:
        health, package = self._health(), self._stream.model.package
        return {
            "ok": True,
            "prompts": list(self._stream.prompts),
            "cameras": list(health.source_state),
            "paused": self.is_paused,
            "rate_hz": health.rate_hz,
            "latency_ms": health.latency_ms,
            "engine": health.engine,
            "model": package.name,
            "weights": package.weights_id,
            "uptime_s": health.uptime_s,
            "warnings": list(health.warnings),
        }

    def _set_prompt(self, command: Command) -> Answer:
        index, prompts = command.get("index", 0), list(self._stream.prompts)
        try:
            prompt = checked_prompt(command.get("prompt"))
        except UsageError as problem:
            return refusal(str(problem))
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(prompts):
            last = len(prompts) - 1
            return refusal(f"no prompt with this index ({str(index)[:20]}): give 0 to {last}")
        prompts[index] = prompt
        self._stream.set_prompts(prompts)
        self.changes += 1
        logger.info("prompt %d is now: %s", index, prompt)
        return {"ok": True, "prompts": prompts, "warnings": list(self._health().warnings)}

    def _reset(self, command: Command) -> Answer:
        self._stream.reset()
        self.changes += 1
        return {"ok": True}

    def _pause(self, paused: bool) -> Answer:
        self.is_paused = paused
        return {"ok": True, "paused": paused}

    def _restore(self, command: Command) -> Answer:
        try:
            self._stream.restore(unpack_snapshot(command.get("snapshot")))
            self.changes += 1
        except (ValueError, KeyError, TypeError, IndexError) as problem:
            return refusal(f"not a snapshot of a stream: {problem}")
        return {"ok": True, "prompts": list(self._stream.prompts)}
