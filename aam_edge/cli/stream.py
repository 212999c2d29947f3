"""`aam-edge` itself: runs the stream until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from pathlib import Path

from aam_edge.cli.stopping import Stopping
from aam_edge.config import Config, load_config
from aam_edge.settings import known_settings

logger = logging.getLogger(__name__)

EPILOG = """\
examples:
  aam-edge                                  camera 0, or the demo clip where there is none
  aam-edge --camera 0 --prompt "search for cup"
  aam-edge --camera clip.mp4 --mic none --page 127.0.0.1:8088
  aam-edge --config configs/robot.yaml --set zmq.hwm=4

exit codes: 0 done or stopped, 2 usage, 3 source, 4 model, 5 output, 6 data, 1 a defect
`aam-edge COMMAND --help` tells more; `--set help` lists all settings."""

OPTIONS = {
    "camera": "source.cameras",
    "size": "source.size",
    "fps": "source.fps",
    "pixel_format": "source.pixel_format",
    "accept_nearest": "source.accept_nearest",
    "mic": "source.mic",
    "prompt": "prompts",
    "model": "model.name",
    "engine": "model.engine",
    "pub": "zmq.pub",
    "control": "zmq.control",
    "ros": "ros.url",
    "namespace": "ros.namespace",
    "page": "page.listen",
    "record": "record.file",
    "calibration": "source.calibration",
    "pace": "source.pace",
    "duration": "duration_s",
    "frames": "frames",
}
"""Option to setting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the stream."""
    words = {option: known_settings(Config)[key][1] for option, key in OPTIONS.items()}
    parser.epilog = EPILOG
    seen = parser.add_argument_group("what is seen and heard")
    seen.add_argument(
        "--camera", metavar="SPEC", action="append", help=f"{words['camera']} (repeatable)"
    )
    seen.add_argument("--size", metavar="WxH", help=words["size"])
    seen.add_argument("--fps", metavar="N", type=float, help=words["fps"])
    seen.add_argument("--pixel-format", metavar="F", help=words["pixel_format"])
    seen.add_argument(
        "--accept-nearest", action="store_true", default=None, help=words["accept_nearest"]
    )
    seen.add_argument("--mic", metavar="SPEC", help=words["mic"])
    seen.add_argument(
        "--calibration",
        metavar="FILE",
        action="append",
        help=f"{words['calibration']} (repeatable)",
    )
    seen.add_argument("--pace", choices=("real", "every"), help=f"{words['pace']} (real)")
    _add_network(parser, words)
    _add_outputs(parser, words)
    run = parser.add_argument_group("run")
    run.add_argument("--duration", metavar="S", type=float, help=words["duration"])
    run.add_argument("--frames", metavar="N", type=int, help=words["frames"])
    run.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML with settings over the defaults"
    )
    run.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting; help lists them",
    )


def _add_network(parser: argparse.ArgumentParser, words: dict[str, str]) -> None:
    network = parser.add_argument_group("network")
    network.add_argument(
        "--prompt",
        metavar="TEXT",
        action="append",
        help=f"{words['prompt']} (repeatable; free viewing)",
    )
    network.add_argument("--model", metavar="NAME|FILE", help=f"{words['model']} (nano)")
    network.add_argument(
        "--engine", metavar="NAME", help=f"{words['engine']} (the fastest that is installed)"
    )


def _add_outputs(parser: argparse.ArgumentParser, words: dict[str, str]) -> None:
    out = parser.add_argument_group("where it goes")
    out.add_argument("--pub", metavar="ENDPOINT", help=f"{words['pub']} (tcp://127.0.0.1:5560)")
    out.add_argument(
        "--control", metavar="ENDPOINT", help=f"{words['control']} (tcp://127.0.0.1:5561)"
    )
    out.add_argument("--ros", metavar="URL", help=f"{words['ros']} (none)")
    out.add_argument("--namespace", metavar="NS", help=f"{words['namespace']} (/aam)")
    out.add_argument("--page", metavar="HOST:PORT", help=f"{words['page']} (127.0.0.1:8088)")
    out.add_argument("--record", metavar="FILE", help=f"{words['record']} (none)")


def run(options: argparse.Namespace) -> int:
    """Streams until the sources end, SIGINT or SIGTERM."""
    if "help" in options.set:
        print_settings()
        return 0
    from aam_edge.cli.terminal import Terminal  # with all that a stream needs
    from aam_edge.runtime import Runtime
    from aam_edge.sinks.sink import Sink
    from aam_edge.watchdog import find_watchdog

    watchdog = find_watchdog(os.environ, os.getpid())
    sinks: list[Sink] = [Terminal(options.quiet), *([watchdog] if watchdog else [])]
    runtime = Runtime(config_of(options), extra_sinks=sinks)
    stop = threading.Event()

    with Stopping(runtime, stop):
        try:
            runtime.run(stop)
        except Exception:
            # Interrupted while it opened, libraries turn that into what they like.
            if not (stop.is_set() and runtime.was_interrupted):
                raise
            logger.debug("interrupted", exc_info=True)
    return 0


def config_of(options: argparse.Namespace) -> Config:
    """Settings from file, --set and options."""
    chosen = {key: getattr(options, option) for option, key in OPTIONS.items()}
    if options.prompt:
        chosen["source.as_recorded"] = False
    return load_config(options.config, options.set, chosen)


def print_settings() -> None:
    """All settings with default and meaning."""
    for key, (default, words) in known_settings(Config).items():
        shown = "" if default in (None, ()) else f" ({default})"
        sys.stdout.write(f"{key}{shown}\n    {words}\n")
