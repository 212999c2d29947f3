"""What can go wrong, one kind for each exit code.

    AamEdgeError
    ├── UsageError      2  an option or setting is wrong
    ├── SourceError     3  a camera, file or microphone cannot be opened, or was lost for good
    ├── ModelError      4  network, weights or engine
    ├── SinkError       5  a port is taken, a bridge refuses
    └── DataError       6  data set, recording or calibration file

Each takes what happened, the value, and what to do, and writes one line of them. Exit code 0 is
done, or asked to stop and stopped; 1 is a defect of aam-edge.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

LONGEST_PART = 300
"""Characters of what happened, value and remedy each: what comes from a file may be endless."""


class AamEdgeError(Exception):
    """A problem that the user can mend; its text is one line."""

    exit_code = 1

    def __init__(self, what: str, value: object, todo: str):
        super().__init__(what, value, todo)
        self.what, self.value, self.todo = what, value, todo

    def __str__(self) -> str:
        what, value, todo = (one_line(str(part)) for part in (self.what, self.value, self.todo))
        return f"{what} ({value}): {todo}"


def one_line(text: str) -> str:
    """One line that a terminal can show: nothing from a file may move its cursor."""
    line = " ".join(text[: 4 * LONGEST_PART].split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= LONGEST_PART else f"{line[:LONGEST_PART]}..."


def exit_code_of(program: Callable[[], None]) -> int:
    """Runs a small program of ours to its end; says an error in one line and returns its code."""
    try:
        program()
    except AamEdgeError as problem:
        sys.stderr.write(f"aam-edge: {problem}\n")
        return problem.exit_code
    return 0


class UsageError(AamEdgeError):
    """An option or setting has a value that cannot be used."""

    exit_code = 2


class SourceError(AamEdgeError):
    """A source cannot be opened or was lost for good."""

    exit_code = 3


class ModelError(AamEdgeError):
    """A network, its weights or its engine cannot be used."""

    exit_code = 4


class SinkError(AamEdgeError):
    """An output cannot be opened."""

    exit_code = 5


class DataError(AamEdgeError):
    """A data set, recording or calibration file cannot be read."""

    exit_code = 6
