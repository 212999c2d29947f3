"""The command `aam-edge`: without a sub-command it streams.

Only here exceptions become exit codes.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Collection, Sequence
from types import ModuleType

import aam_edge
from aam_edge.cli import log, stopping
from aam_edge.cli.parser import Parser
from aam_edge.errors import AamEdgeError

logger = logging.getLogger(__name__)

STREAM = "stream"
COMMANDS = {
    "predict": "photos, folders and videos to maps, overlays and a table of targets",
    "prompt": "tell a running stream what to look for",
    "keys": "say who may connect to a stream from other machines",
    "bench": "measure rate, latency, memory and rivals on this machine",
    "doctor": "show versions, devices that open, and engines with their measured rate",
    "calibrate": "measure a camera's lens, the delay of its sound, the place of its gyro",
    "train": "learn from gaze data, and pack it (needs aam-edge[train])",
    "evaluate": "score models, maps and rivals on where people looked",
    "export": "make files that engines read of a trained checkpoint (needs aam-edge[train])",
    "weights": "list networks, import yours (AAM, CLIP, Wav2CLIP, DINOv3), look inside",
    "build": "make a TensorRT engine for this machine's GPU, ahead of time",
    "replay": "publish a recording again, run it again, or make a killed one whole",
    "completion": "print a script that makes a shell complete commands and options",
}


def build_parser(wanted: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The options of the stream and of the commands that are wanted; others are names only.

    So a start imports what it runs, and `aam-edge doctor` works where a library is broken.
    """
    parser = Parser(
        prog="aam-edge",
        description="Where to look, from a camera and a microphone, in real time.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"aam-edge {aam_edge.__version__}")
    _module(STREAM).add_arguments(parser)
    log.add_arguments(parser)
    parser.set_defaults(command=STREAM)
    children = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, words in COMMANDS.items():
        sentence = f"{words[0].upper()}{words[1:]}."
        child = children.add_parser(name, help=words, description=sentence, allow_abbrev=False)
        child.set_defaults(command=name)
        if name in wanted:
            _module(name).add_arguments(child)
            log.add_arguments(child, is_command=True)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"aam_edge.cli.{command}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    is_program = arguments is None
    if is_program:
        stopping.leave_at_once()
    try:
        options = build_parser(given).parse_args(given)
        log.configure(options)
        if is_program and options.command != STREAM:
            stopping.as_usual()
        code = int(_module(options.command).run(options))
        if is_program and options.command == STREAM:
            stopping.leave(code)
        return code
    except AamEdgeError as problem:
        logger.debug("trace", exc_info=True)
        print(f"aam-edge: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 0
    except ImportError as problem:
        logger.debug("trace", exc_info=True)
        todo = "install it; aam-edge doctor tells what is missing"
        print(f"aam-edge: a library cannot be loaded ({problem}): {todo}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has gone, as in `aam-edge ... | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        logger.critical("a defect in aam-edge", exc_info=True)
        todo = "please report it with what aam-edge doctor prints"
        print(f"aam-edge: a defect (see the trace): {todo}", file=sys.stderr)
        return 1
    finally:
        if is_program:
            stopping.ignore()


if __name__ == "__main__":
    sys.exit(main())
