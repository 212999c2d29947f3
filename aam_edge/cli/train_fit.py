"""`aam-edge train fit`: runs the trainer, or goes on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_edge.cli.offline import module
from aam_edge.cli.parser import add_step
from aam_edge.cli.train_watcher import TrainWatcher
from aam_edge.errors import UsageError
from aam_edge.settings import known_settings, load_settings

if TYPE_CHECKING:  # the base install lacks what it needs
    from aam_edge.training.run.profile import Times

EPILOG = """\
examples:
  aam-edge train fit --set data.sets=native:gaze/mine --set out=runs/mine --set epochs=10
  aam-edge train fit --config configs/train_own.yaml

Learns from gaze data, beginning with the packaged nano, and writes into the folder `out`:
  last.pt       checkpoint; the same command goes on from it, whatever ended the run
  log.jsonl     losses of each step, scores of each validation; event files for TensorBoard
  report.html   curves, scores of each set, best and worst photos
Settings: aam-edge train fit --list, and docs/guides/train.md.
"""


def add_arguments(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the step."""
    words = "learn from gaze data, on one device or many"
    add = add_step(steps, "fit", words, EPILOG).add_argument
    add("--config", metavar="FILE", type=Path, help="YAML with settings of the run")
    add("--set", metavar="KEY=VALUE", action="append", default=[], dest="sets", help="one setting")
    add("--list", action="store_true", help="print all settings with their defaults, and end")
    add("--profile", metavar="STEPS", type=int, help="run so many steps, print where time goes")


def run(options: argparse.Namespace) -> int:
    """Runs it."""
    settings = module("run.settings")
    if options.list:
        for name, (default, words) in known_settings(settings.RunConfig).items():
            print(f"{name:28} {_shown(default):24} {words}")
        return 0
    config = load_settings(settings.RunConfig, options.config, options.sets)
    with TrainWatcher(is_quiet=options.quiet) as watcher:
        if options.profile is not None:
            if options.profile < 1:
                raise UsageError("nothing to profile", f"--profile {options.profile}", "give 1")
            times = module("run.profile").measure(config, options.profile, watcher)
        else:
            module("run.trainer").fit(config, watcher)
            return 0
    _tell(times)
    return 0


def _tell(times: Times) -> None:
    """Where the time of the steps went."""
    rest_s = times.step_s - times.wait_s - times.network_s
    print(f"{times.steps} steps, {times.pictures_per_s:.1f} images/s")
    for name, seconds in (
        ("network", times.network_s), ("waiting for batches", times.wait_s), ("rest", rest_s),
        ("GPU busy", times.gpu_s),
    ):  # fmt: skip
        if seconds is not None:
            print(f"{name:28} {seconds:8.3f} s {100 * seconds / times.step_s:6.1f} %")
    print(f"a core decodes and augments {times.drawn_per_s:.0f} photos/s")
    for name, seconds in times.heaviest:
        print(f"  {name:26} {seconds:8.3f} s {100 * seconds / times.step_s:6.1f} %")


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default) or "-"
    return "-" if default is None else str(default)
