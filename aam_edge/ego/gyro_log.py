"""A gyro's log: CSV with a header line, a sample a line.

    time_s,wx,wy,wz          seconds since the first picture of the clip that belongs to it
    time_ns,wx,wy,wz         UNIX nanoseconds, as the stamps of pictures are

Rates are rad/s in the sensor's own frame; other columns are passed over.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam_edge.ego.gyro import LONGEST_HOLE_NS, Gyro, Times
from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats

logger = logging.getLogger(__name__)
RATES = ("wx", "wy", "wz")
REMEDY = f"the first line is time_s or time_ns, {', '.join(RATES)}; rates in rad/s"
LARGEST_RATE = 100.0
"""rad/s; beyond it the numbers are degrees, or raw."""


@dataclass(frozen=True, slots=True, eq=False)
class GyroLog:
    """A whole log."""

    times_ns: Times
    """(n,), rising."""
    rates: Floats
    """(n, 3), rad/s."""
    is_unix: bool
    """Whether times are UNIX times; else they count from the clip's first picture."""

    @property
    def holes(self) -> list[tuple[float, float]]:
        """Where samples are missing: seconds since the log's start, and length in seconds."""
        steps = np.diff(self.times_ns)
        wide = np.flatnonzero(steps > LONGEST_HOLE_NS)
        starts = (self.times_ns - self.times_ns[0]) / 1e9
        return [(float(starts[k]), float(steps[k] / 1e9)) for k in wide]

    def gyro(self, start_ns: int = 0) -> Gyro:
        """The samples for pictures whose first has the stamp `start_ns`, if times count from it."""
        offset_ns = 0 if self.is_unix else start_ns
        return Gyro((self.times_ns + offset_ns).tolist(), self.rates)


def read_gyro_log(path: Path) -> GyroLog:
    """Reads a log; DataError says which line is wrong. Holes are said in the log, once."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            log = _parse(csv.reader(file), path)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        why = getattr(problem, "strerror", None) or "it is no text"
        raise DataError("gyro log cannot be read", f"{path}: {why}", "check the path") from problem
    say_holes(log, path)
    return log


def say_holes(log: GyroLog, path: Path) -> None:
    """One line in the log where samples are missing."""
    if holes := log.holes:
        start_s, length_s = max(holes, key=lambda hole: hole[1])
        values = f"{path}: {len(holes)}, longest {length_s:.2f} s at {start_s:.2f} s"
        logger.warning("gyro log has holes (%s): no motion is known there", values)


def _parse(rows: Iterator[list[str]], path: Path) -> GyroLog:
    header = [name.strip() for name in next(rows, [])]
    clock = next((name for name in ("time_ns", "time_s") if name in header), None)
    if clock is None or not set(RATES) <= set(header):
        raise DataError("gyro log has no such columns", f"{path}: {','.join(header)[:80]}", REMEDY)
    columns = [header.index(name) for name in RATES]
    times_ns: list[int] = []
    rates: list[list[float]] = []
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            time_ns = _to_ns(row[header.index(clock)], clock)
            rate = [float(row[column]) for column in columns]
        except (ValueError, IndexError, OverflowError) as problem:
            values = f"{path}, line {number}: {','.join(row)[:80]}"
            raise DataError("gyro log has a line without numbers", values, REMEDY) from problem
        _check(time_ns, rate, times_ns, f"{path}, line {number}")
        times_ns.append(time_ns)
        rates.append(rate)
    if len(times_ns) < 2:
        raise DataError("gyro log is empty", path, REMEDY)
    return GyroLog(np.array(times_ns, np.int64), np.array(rates), clock == "time_ns")


def _to_ns(text: str, clock: str) -> int:
    # A float of UNIX nanoseconds would step by 240.
    return int(text) if clock == "time_ns" else round(float(text) * 1e9)


def _check(time_ns: int, rate: list[float], before_ns: list[int], where: str) -> None:
    if before_ns and time_ns <= before_ns[-1]:
        raise DataError("gyro log goes back in time", where, "sort it, leave out repeated lines")
    largest = max(map(abs, rate))
    if not largest <= LARGEST_RATE or math.isnan(sum(rate)):
        raise DataError("gyro log has a rate that cannot be", f"{where}: {rate}", "give rad/s")
