"""What every door must stand, and how it is tried.

A door is a function that takes the bytes of one input. It may take them in, or refuse them with an
error of `aam_edge.errors` in one line; anything else is a defect: another exception, an error of
several lines, a long silence, a jump in memory.

Inputs that broke something once lie in `corpus/<door>/`, one file each, and are tried for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from aam_edge.errors import AamEdgeError
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.source import Source

Door = Callable[[bytes], None]


def play_to_end(source: Source) -> None:
    """Reads a source as the loop does, and closes it whatever happens."""
    try:
        source.open()
        with suppress(Ended):
            while True:
                source.read()
    finally:
        source.close()


class Input(bytes):
    """The bytes of one input, of which hypothesis shows the beginning."""

    def __repr__(self) -> str:
        return f"{bytes(self[:80])!r}... {len(self)} bytes"


CORPUS = Path(__file__).parent / "corpus"
FEW, SOME, MANY, ALL = 50, 100, 200, 2000
LONGEST_LINE = 1000
MOST_CPU_S = 10.0
"""Of one input. CPU time, so that a busy machine does not count; a real hang takes far longer."""
MOST_GROWTH_BYTES = 400 << 20
"""That one input of some hundred kilobytes may cost at its peak."""


LONG = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


def times(short: int = MANY) -> pytest.MarkDecorator:
    """Runs a test with `short` inputs, the same each time; with 2,000 where slow tests run."""
    long_form = pytest.param(ALL, marks=LONG)
    return pytest.mark.parametrize("cases", [short, long_form])


def corpus(door: str) -> list[Path]:
    """The inputs that were found for a door; at least one."""
    found = sorted((CORPUS / door).iterdir())
    assert found, f"{door} has no corpus"
    return found


def replayed(door: str) -> pytest.MarkDecorator:
    """Runs a test with each input that was found for a door."""
    return pytest.mark.parametrize("case", corpus(door), ids=lambda path: path.name)


def attack(door: Door, inputs: SearchStrategy[bytes], cases: int) -> None:
    """Tries a door with so many inputs."""

    @settings(
        max_examples=cases,
        derandomize=cases != ALL or settings().derandomize,
        database=None,
        deadline=None,
        # Shrinking asks a broken door thousands of times; one case is enough to look at.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs.map(Input))
    def one(content: Input) -> None:
        stands(door, content)

    one()


def stands(door: Door, content: bytes) -> None:
    """Fails where one input breaks a door; keeps the input if FUZZ_FOUND names a folder."""
    try:
        _tried(door, content)
    except BaseException:
        if folder := os.environ.get("FUZZ_FOUND"):
            path = Path(folder) / f"{abs(hash(content)) % 10**8:08d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        raise


def _tried(door: Door, content: bytes) -> None:
    before_bytes = _forget_peak()
    start_s = time.process_time()
    try:
        door(content)
    except AamEdgeError as problem:
        line = str(problem)
        assert line.isprintable(), f"an error is not one clean line: {line!r}"
        assert len(line) < LONGEST_LINE, f"an error is {len(line)} characters long"
    spent_s = time.process_time() - start_s
    assert spent_s < MOST_CPU_S, f"one input took {spent_s:.1f} s"
    growth_bytes = _memory("VmHWM") - before_bytes
    assert growth_bytes < MOST_GROWTH_BYTES, f"one input took {growth_bytes >> 20} MiB"


def _forget_peak() -> int:
    """Makes the peak of memory begin anew; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no {name} in /proc/self/status")
