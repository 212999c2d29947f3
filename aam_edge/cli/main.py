"""The command `aam-edge`: without a sub-command it streams.

Only here exceptions become exit codes.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import aam_edge
from aam_edge.cli import log
from aam_edge.errors import AamEdgeError

logger = logging.getLogger(__name__)

STREAM = "stream"
COMMANDS = ("predict", "prompt", "bench", "doctor", "completion")


class Parser(argparse.ArgumentParser):
    """argparse with errors in our form: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and where help is."""
        self.exit(2, f"aam-edge: {message}: see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The options of the stream and of all sub-commands."""
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
    for name in COMMANDS:
        words = _module(name).HELP
        child = children.add_parser(
            name, help=words, description=f"{words[0].upper()}{words[1:]}.", allow_abbrev=False
        )
        _module(name).add_arguments(child)
        log.add_arguments(child, is_command=True)
        child.set_defaults(command=name)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"aam_edge.cli.{command}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    log.configure(options)
    try:
        return int(_module(options.command).run(options))
    except AamEdgeError as problem:
        logger.debug("trace", exc_info=True)
        print(f"aam-edge: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read our output has gone, as in `aam-edge ... | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        logger.critical("a defect in aam-edge", exc_info=True)
        print("aam-edge: a defect (see the trace): please report it with aam-edge doctor", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
