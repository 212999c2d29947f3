"""A recording run through the network again, and how its maps differ from the recorded ones."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aam_edge.config import ModelConfig, SourceConfig
from aam_edge.errors import DataError
from aam_edge.messages import Attention, Frame, Image, Map
from aam_edge.model_api import Model
from aam_edge.prompts import FREE_VIEWING, checked_prompt
from aam_edge.recall import Recall
from aam_edge.recording.published import published
from aam_edge.recording.reader import Recording
from aam_edge.settings import load_settings
from aam_edge.sources.catalog import split_channel
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.recording import RecordingSource
from aam_edge.sources.synchroniser import Synchroniser

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A recorded map and the one of now."""

    time_s: float
    """Of the recorded map's publishing, since the recording's start."""
    then: Attention
    now: Attention
    image: Image

    @property
    def is_same(self) -> bool:
        """Whether both are the same bit for bit."""
        then, now = self.then.density, self.now.density
        return then.shape == now.shape and then.tobytes() == now.tobytes()

    @property
    def cc(self) -> float:
        """Correlation of the two maps, -1..1."""
        return correlation(self.then.density, self.now.density)

    @property
    def shift_px(self) -> float:
        """Between the best targets, pixels of the picture; NaN where one map has none."""
        if not (self.then.targets and self.now.targets):
            return float("nan")
        then, now = self.then.targets[0], self.now.targets[0]
        return float(np.hypot(then.x - now.x, then.y - now.y))


@dataclass(slots=True)
class Row:
    """One prompt's line of the table."""

    prompt_then: str
    prompt_now: str
    maps: int = 0
    same: int = 0
    """Bit for bit."""
    cc: list[float] = field(default_factory=list)
    shift_px: list[float] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        """Counts a pair in."""
        self.maps += 1
        self.same += pair.is_same
        self.cc.append(pair.cc)
        if not np.isnan(pair.shift_px):
            self.shift_px.append(pair.shift_px)

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        shifts = self.shift_px or [float("nan")]
        kept = {k: v for k, v in asdict(self).items() if not isinstance(v, list)}
        return kept | {
            "cc_mean": float(np.mean(self.cc)),
            "cc_least": float(np.min(self.cc)),
            "shift_px_median": _or_none(np.median(shifts)),
            "shift_px_p95": _or_none(np.percentile(shifts, 95)),
        }


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def run_again(options: argparse.Namespace) -> int:
    """Compares, prints the table and draws the plot."""
    rows: dict[tuple[str, str, int], Row] = {}
    kept = Kept()
    path, channel = split_channel(str(options.file))
    with Recording(path) as recording:
        for pair in pairs(recording, options, channel):
            key = pair.then.prompt, pair.now.prompt, pair.now.prompt_index
            rows.setdefault(key, Row(*key[:2])).add(pair)
            kept.add(pair)
    if not rows:
        todo = "give one made with aam-edge --record, or another --from"
        raise DataError("recording has no maps to compare with", options.file, todo)
    summaries = [row.summary() for row in rows.values()]
    print(json.dumps(summaries) if options.json else table(summaries))
    if options.plot is not None:
        from aam_edge.cli.replay_plot import draw

        write_picture(options.plot, draw(kept.curve, kept.worst))
    return 0


class Kept:
    """What the plot needs: a point a map, and the few pairs that differ most."""

    MOST = 3
    APART_S = 1.0

    def __init__(self) -> None:
        self.curve: list[tuple[float, float, float]] = []
        """Time (s), CC, shift (px) of the first prompt."""
        self.worst: list[Pair] = []

    def add(self, pair: Pair) -> None:
        """Looks at one pair."""
        if pair.now.prompt_index:
            return
        self.curve.append((pair.time_s, pair.cc, pair.shift_px))
        near = [p for p in self.worst if abs(p.time_s - pair.time_s) < self.APART_S]
        if any(p.cc <= pair.cc for p in near):
            return
        others = [p for p in self.worst if p not in near]
        self.worst = sorted([*others, pair], key=lambda p: p.cc)[: self.MOST]


def pairs(recording: Recording, options: argparse.Namespace, channel: str = "") -> Iterator[Pair]:
    """Each recorded map of a camera, the first or `channel`, with what the network gives now."""
    settings = _map_in(recording.run, "settings")
    model = Model(model_config(_map_in(settings, "model"), options))
    prompts = [checked_prompt(prompt) for prompt in options.prompts or ()]
    recorded_prompts = settings.get("prompts") or [FREE_VIEWING]
    if not isinstance(recorded_prompts, list):
        todo = "give --prompt"
        raise DataError("recording names no prompts", recording.path, todo)
    stream = model.stream(prompts or [checked_prompt(prompt) for prompt in recorded_prompts])
    recall = Recall(stream, follows=not prompts)
    synchroniser = Synchroniser()
    start_ns = recording.index.start_ns
    from_ns = start_ns + round(options.start_s * 1e9)
    end_s = float("inf") if options.end_s is None else options.end_s
    # From the state before --from, so that the maps from there on are those of then.
    begin_ns = recording.state_before(from_ns)
    then = Then(recording, begin_ns)
    for frame in frames(recording.path, (begin_ns - start_ns) / 1e9, channel):
        recall.before(frame)
        readings = stream.step(synchroniser.observe(frame))
        recorded = then.of(frame)
        if not recorded:
            continue
        time_s = (recorded[0].publish_ns - start_ns) / 1e9
        if time_s >= end_s:
            return
        for now in readings if time_s >= options.start_s else ():
            index = min(now.prompt_index, len(recorded) - 1)
            yield Pair(time_s, recorded[index], now, frame.image)


def _map_in(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of what was recorded; empty where it is none."""
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def model_config(recorded: dict[str, Any], options: argparse.Namespace) -> ModelConfig:
    """The recorded settings of the network, but for what is asked otherwise."""
    names = ("name", "engine", "precision", "text", "pixels")
    known: dict[str, Any] = {name: recorded[name] for name in names if name in recorded}
    if options.model:
        known["name"] = options.model
    if options.engine:
        known |= {"engine": options.engine, "precision": "auto"}
    return load_settings(ModelConfig, options=known)


class Then:
    """The recorded maps of a frame, found by its stamp."""

    def __init__(self, recording: Recording, from_ns: int):
        self._maps = (m for _, m in published(recording, from_ns) if isinstance(m, Attention))
        self._next = next(self._maps, None)

    def of(self, frame: Frame) -> list[Attention]:
        """In the order of the prompts; empty where the frame has none."""
        was = frame.recorded.camera if frame.recorded else ""
        found: list[Attention] = []
        # Maps of other cameras lie between, with stamps of their own.
        while self._next is not None and (
            self._next.camera != was or self._next.capture_ns <= frame.capture_ns
        ):
            if (self._next.capture_ns, self._next.camera) == (frame.capture_ns, was):
                found.append(self._next)
            self._next = next(self._maps, None)
        return found


def frames(path: Path, start_s: float, channel: str = "") -> Iterator[Frame]:
    """A camera's pictures from a time on, as fast as they are taken."""
    source = RecordingSource(path, SourceConfig(pace="every", start_s=start_s), "replay", channel)
    source.open()
    try:
        while True:
            item = source.read()
            if isinstance(item, Frame):
                yield item
    except Ended:
        return
    finally:
        source.close()


def correlation(one: Map, other: Map) -> float:
    """CC of two maps; the smaller one is brought to the size of the larger."""
    if one.size < other.size:
        one, other = other, one
    if one.shape != other.shape:
        other = np.asarray(cv2.resize(other, one.shape[::-1]), np.float32)
    a, b = (np.ravel(m).astype(np.float64) - m.mean(dtype=np.float64) for m in (one, other))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float(np.array_equal(one, other))


def table(rows: list[dict[str, Any]]) -> str:
    """Lines for people."""
    lines = [f"{'maps':>6} {'same':>6} {'CC':>7} {'least':>7} {'shift px':>9} {'p95':>7}  prompt"]
    for row in rows:
        then, now = row["prompt_then"], row["prompt_now"]
        shifts = [row["shift_px_median"], row["shift_px_p95"]]
        median, p95 = ("-" if value is None else f"{value:.1f}" for value in shifts)
        lines.append(
            f"{row['maps']:6} {row['same']:6} {row['cc_mean']:7.4f} {row['cc_least']:7.4f}"
            f" {median:>9} {p95:>7}  {now if then == now else f'{then} -> {now}'}"
        )
    return "\n".join(lines)


def write_picture(path: Path, image: Image) -> None:
    """As PNG; DataError where it cannot be."""
    is_done, data = cv2.imencode(".png", image)
    assert is_done, "any uint8 picture has a PNG"
    try:
        path.write_bytes(np.asarray(data, np.uint8).tobytes())
    except OSError as problem:
        why = f"{path}: {problem.strerror}"
        raise DataError("plot cannot be written", why, "give another --plot") from problem
    logger.info("plot: %s", path)
