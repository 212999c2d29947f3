"""Small runs of the trainer for tests: little data, little pictures, few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aam_edge.settings import load_settings
from aam_edge.training.run.settings import RunConfig

QUICK = (
    "epochs=2",
    "drawing.batch=2",
    "drawing.scale=0.5",
    "drawing.prompts=2",
    "clips.frames=3",
    "clips.span=2",
    "data.workers=0",
    "devices.threads=1",
    "devices.accelerator=cpu",
    "devices.devices=1",
    "devices.strategy=auto",
    "save.tensorboard=false",
)


def settings_of(spec: str, out: Path, *more: str) -> list[str]:
    """`--set` texts of a quick run."""
    return [*QUICK, f"data.sets={spec}", f"out={out}", *more]


def options_of(spec: str, out: Path, *more: str) -> list[str]:
    """Arguments of `aam-edge` for a quick run."""
    sets = [part for text in settings_of(spec, out, *more) for part in ("--set", text)]
    return ["train", "fit", *sets]


def config_of(spec: str, out: Path, *more: str) -> RunConfig:
    """The same as settings."""
    return load_settings(RunConfig, None, settings_of(spec, out, *more))


def log_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses_of(out: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and parts of the loss, of each step."""
    return [(line["steps"], line["parts"]) for line in log_of(out) if "parts" in line]


class Silent:
    """Watches and says nothing."""

    def __init__(self) -> None:
        self.wants_stop = False
        self.lines: list[str] = []
        self.told: list[Any] = []

    def step(self, told: Any) -> None:
        """Keeps it."""
        self.told.append(told)

    def say(self, line: str) -> None:
        """Keeps it."""
        self.lines.append(line)
