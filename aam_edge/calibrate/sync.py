"""How much later sound is stamped than the picture of the same moment, from claps or flashes.

A clap is seen as motion that suddenly ends, a flash (with a click) as light that suddenly comes;
both are heard as an onset. An event at time t shows first in the frame whose exposure follows, so
its stamp is up to one interval T late: t = stamp - T/2 on average, and several events average that
out.

    offset = t(sound) - t(picture), positive where sound is stamped too late
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.intrinsics import Floats

By = Literal["flash", "clap"]
Kind = Literal["auto", "flash", "clap"]
HOP_S = 0.001
"""Step of the sound's loudness."""
BEFORE_S, AFTER_S = 0.03, 0.004
"""An onset is loudness just after against loudness before."""
ONSET_DB = 15.0
FLOOR_DB = -60.0
"""What is softer is silence: an onset from nothing to hardly anything is none."""
APART_S = 0.25
"""Between two events."""
STANDS_OUT = 8.0
"""An event's strength, in median absolute deviations of its signal."""
LARGEST_S = 1.0
"""Offsets are looked for up to so much, both ways."""
AGREE_INTERVALS = 1.1
"""Pairs belong together if their offsets differ by at most so many frame intervals."""
LEAST_EVENTS = 3
REMEDY = "record five or more claps or flashes with a click, a second apart, in a quiet room"


@dataclass(frozen=True, slots=True)
class Offset:
    """What was found."""

    offset_s: float
    error_s: float
    """Standard error."""
    events: int
    by: By


@dataclass(frozen=True, slots=True, eq=False)
class PictureSignals:
    """What the pictures of a recording say, one value a frame."""

    times_s: Floats
    light: Floats
    """(n,), mean brightness, 0..1."""
    motion: Floats
    """(n,), mean absolute change since the frame before, 0..1."""


def find_offset(
    signals: PictureSignals, samples: NDArray[np.float32], rate_hz: int, by: Kind = "auto"
) -> Offset:
    """The offset of sound (n,) that starts at time 0; DataError where no events agree."""
    heard = onsets(samples, rate_hz)
    ways: tuple[By, ...] = ("flash", "clap") if by == "auto" else (by,)
    counts = [f"sound: {len(heard)} events"]
    found = []
    for way in ways:
        seen = flashes(signals) if way == "flash" else claps(signals)
        counts.append(f"{way}: {len(seen)}")
        offset = match(seen, heard, interval_s(signals.times_s), way)
        found += [] if offset is None else [offset]
    if not found:
        raise DataError("no claps or flashes that are seen and heard", ", ".join(counts), REMEDY)
    # Hands that come together change the light a little too: what agrees more often is right.
    return max(found, key=lambda offset: offset.events)


def onsets(samples: NDArray[np.float32], rate_hz: int) -> Floats:
    """Times (k,) at which sound suddenly begins, seconds."""
    hop = round(HOP_S * rate_hz)
    power = np.square(samples[: len(samples) // hop * hop].reshape(-1, hop)).mean(axis=1)
    before, after = round(BEFORE_S / HOP_S), round(AFTER_S / HOP_S)
    if len(power) <= before + after:
        return np.zeros(0)
    total = np.concatenate([[0.0], np.cumsum(power, dtype=np.float64)])
    at = np.arange(before, len(power) - after)
    soft, loud = (
        _decibels((total[end] - total[start]) / (end - start).max())
        for start, end in ((at - before, at), (at, at + after))
    )
    rise = np.zeros(len(power))
    rise[at] = loud - np.maximum(soft, FLOOR_DB)
    return np.asarray(_tops(rise, ONSET_DB, round(APART_S / HOP_S)) * HOP_S, np.float64)


def flashes(signals: PictureSignals) -> Floats:
    """Stamps (k,) of the frames that suddenly became lighter."""
    return _events(signals, np.diff(signals.light, prepend=signals.light[:1]))


def claps(signals: PictureSignals) -> Floats:
    """Stamps (k,) of the frames in which motion suddenly ended."""
    motion = signals.motion
    ended = np.zeros_like(motion)
    # Frame k shows the last of the motion: much before it, little after.
    ended[1:-1] = motion[:-2] - motion[2:]
    return _events(signals, ended)


def match(seen: Floats, heard: Floats, interval: float, by: By) -> Offset | None:
    """The offset that most pairs of events agree on; None where they are too few.

    Args:
        seen: (k,), stamps of frames, seconds.
        heard: (m,), seconds.
        interval: between two frames, seconds.
        by: what was seen.
    """
    differences = (heard[None, :] - (seen[:, None] - interval / 2)).ravel()
    differences = np.sort(differences[np.abs(differences) <= LARGEST_S])
    if not len(differences):
        return None
    ends = np.searchsorted(differences, differences + AGREE_INTERVALS * interval, "right")
    counts = ends - np.arange(len(differences))
    first = int(np.argmax(counts))
    agreed = differences[first : ends[first]]
    if len(agreed) < max(LEAST_EVENTS, len(seen) / 2):
        return None
    spread = max(float(agreed.std(ddof=1)), interval / math.sqrt(12))
    return Offset(float(agreed.mean()), spread / math.sqrt(len(agreed)), len(agreed), by)


def interval_s(times_s: Floats) -> float:
    """Usual time between two frames."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0


def _events(signals: PictureSignals, strength: Floats) -> Floats:
    middle = np.median(strength)
    deviation = max(float(np.median(np.abs(strength - middle))), 1e-4)
    apart = max(1, round(APART_S / interval_s(signals.times_s)))
    least = max(STANDS_OUT * deviation, 0.3 * float(strength.max(initial=0)))
    return np.asarray(signals.times_s[_tops(strength, middle + least, apart)])


def _tops(strength: Floats, least: float, apart: int) -> NDArray[np.intp]:
    """Places of the strongest values, none nearer than `apart` to a stronger one."""
    kept: list[int] = []
    for place in np.argsort(-strength, kind="stable"):
        if strength[place] < least:
            break
        if all(abs(place - other) >= apart for other in kept):
            kept.append(int(place))
    return np.array(sorted(kept), np.intp)


def _decibels(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))
