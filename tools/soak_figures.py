"""What tools/soak makes of its samples: slopes, percentiles, verdicts, and the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from drawing import FADED, INK, save_png, sheet, write
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SETTLED_S = 60.0
"""What the first minute holds back does not count: buffers and histories fill."""
MOST_GROWTH_MB_H = 1.0
MOST_RISE = 0.10
"""Of the last minute's p99 over that of the first that counts."""
MOST_DRIFT_MS = 1.0
COLOUR = (160, 90, 20)


@dataclass
class Samples:
    """What was seen of one run; times in seconds since its first map."""

    time_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    """Open file descriptors."""
    threads: list[int] = field(default_factory=list)
    map_s: list[float] = field(default_factory=list)
    """When each map came."""
    delay_ms: list[float] = field(default_factory=list)
    """Of each map: from its capture at a camera's pace, from the map before it at full rate."""
    frame: list[int] = field(default_factory=list)
    capture_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    found: str
    asked: str
    is_held: bool


def slope_an_hour(time_s: Floats, values: Floats) -> float:
    """By least squares."""
    return float(np.polyfit(time_s, values, 1)[0] * 3600)


def drift_ms(frame: NDArray[np.int64], capture_ns: NDArray[np.int64], fps: float) -> float:
    """How far the stamps run from the source's own rate between begin and end, ms."""
    off_ms = (capture_ns - capture_ns[0]) / 1e6 - (frame - frame[0]) * 1e3 / fps
    return float(np.ptp(off_ms))


def findings(samples: Samples, fps: float, *, is_paced: bool) -> list[Finding]:
    """Everything that is asked of hours, from a run of at least three minutes."""
    time_s, rss = np.array(samples.time_s), np.array(samples.rss_mb)
    settled = time_s >= min(SETTLED_S, time_s[-1] / 3)
    growth = slope_an_hour(time_s[settled], rss[settled])
    late = time_s >= time_s[-1] / 2  # tells what grew once from what goes on growing
    later = slope_an_hour(time_s[late], rss[late])
    rows = [
        Finding(
            "memory after the first minute",
            f"{rss[settled].min():.1f} to {rss[settled].max():.1f} MB, {growth:+.2f} MB/h"
            f" ({later:+.2f} in the second half)",
            f"below {MOST_GROWTH_MB_H:+.0f} MB/h",
            growth < MOST_GROWTH_MB_H,
        )
    ]
    for what, counts, most in (
        # The recorder opens its next file before it leaves the last.
        ("file descriptors", samples.files, 1),
        ("threads", samples.threads, 0),
    ):
        seen = np.array(counts)[settled]
        found = f"{seen.min()}" if seen.min() == seen.max() else f"{seen.min()} to {seen.max()}"
        asked = "constant, one more for the recorder's next file" if most else "constant"
        rows.append(Finding(what, found, asked, seen.max() - seen.min() <= most))
    map_s, delay = np.array(samples.map_s), np.array(samples.delay_ms)
    first, last = (delay[minute] for minute in minutes(map_s))
    p99 = [float(np.percentile(part, 99)) for part in (first, last)]
    name = "latency" if is_paced else "time of a frame"
    rows.append(
        Finding(
            f"{name} p99, first and last minute",
            f"{p99[0]:.1f}, {p99[1]:.1f} ms ({p99[1] / p99[0] - 1:+.0%})",
            f"at most {MOST_RISE:+.0%}",
            p99[1] <= (1 + MOST_RISE) * p99[0],
        )
    )
    off = drift_ms(np.array(samples.frame), np.array(samples.capture_ns), fps)
    rows.append(
        Finding(
            "drift of stamps", f"{off:.3f} ms", f"below {MOST_DRIFT_MS} ms", off < MOST_DRIFT_MS
        )
    )
    return rows


def minutes(map_s: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which maps are of the first settled minute and of the last."""
    length = min(SETTLED_S, map_s[-1] / 3)
    return (map_s >= length) & (map_s < 2 * length), map_s >= map_s[-1] - length


def table(rows: list[Finding]) -> str:
    """Markdown."""
    lines = ["| what | found | asked | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.found} | {row.asked} | {'holds' if row.is_held else '**fails**'} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw(samples: Samples, title: str, path: Path, *, is_paced: bool) -> None:
    """Memory, and median and p99 of every ten seconds, over the run."""
    page = sheet(430, 900)
    write(page, title, 20, 24, 0.5)
    _plot(page, (60, 50), np.array(samples.time_s), [np.array(samples.rss_mb)], "memory, MB")
    at, delay = np.array(samples.map_s), np.array(samples.delay_ms)
    parts = [delay[(at >= t) & (at < t + 10)] for t in np.arange(0, at[-1] - 10, 10)]
    full = [k for k, part in enumerate(parts) if len(part)]
    lines = [np.array([np.percentile(parts[k], q) for k in full]) for q in (50, 99)]
    words = "latency" if is_paced else "time of a frame"
    _plot(page, (60, 250), np.array(full) * 10.0, lines, f"{words}, p50 and p99 of 10 s, ms")
    save_png(page, path)


def _plot(
    page: NDArray[np.uint8],
    corner: tuple[int, int],
    time_s: Floats,
    lines: list[Floats],
    words: str,
) -> None:
    x0, y0, width, height = *corner, 800, 140
    top = 1.15 * max(float(line.max()) for line in lines)
    write(page, words, x0, y0 - 6)
    for part in (0, 0.5, 1):
        y = round(y0 + height * (1 - part))
        cv2.line(page, (x0, y), (x0 + width, y), FADED, 1)
        write(page, f"{top * part:.0f}", x0 - 45, y + 4, 0.4)
    x = x0 + width * time_s / time_s[-1]
    for line in lines:
        places = np.stack([x, y0 + height * (1 - line / top)], axis=1)
        cv2.polylines(page, [np.rint(places).astype(np.int32)], False, COLOUR, 1, cv2.LINE_AA)
    write(page, f"{time_s[-1] / 60:.0f} min", x0 + width - 45, y0 + height + 16, 0.4, INK)
