"""`aam-edge bench`: rate, latency, memory and start-up on this machine, and what rivals do.

Everything is measured through the running stream, source to socket, in one run, so that rows can be
compared even on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aam_edge.cli.findings import processor_name
from aam_edge.config import Config, load_config
from aam_edge.engine.catalog import ENGINES, GPU_ENGINES, is_installed
from aam_edge.engine.package import find_package
from aam_edge.errors import ModelError
from aam_edge.heat import ROOT, power_mode
from aam_edge.messages import Attention, Frame, Health
from aam_edge.model_api import load
from aam_edge.process import resident_bytes
from aam_edge.prompts import FREE_VIEWING
from aam_edge.runtime import Runtime
from aam_edge.sources.catalog import open_source

WARM_FRAMES = 30
FEWEST_FRAMES = 100
SHORTEST_S = 2.0
REAL_FPS = 30
SOURCE = {"source.cameras": ("synthetic",), "source.size": "640x480", "source.mic": "none"}
QUIET = {"page.listen": "none", "zmq.pub": "tcp://127.0.0.1:*", "zmq.control": "none"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "example:\n  aam-edge bench --engine onnx --frames 20000"
    parser.add_argument(
        "--model", metavar="NAME|FILE", default="nano", help="network to measure (%(default)s)"
    )
    parser.add_argument(
        "--engine",
        metavar="NAME",
        action="append",
        help="engine to measure (all that are installed)",
    )
    parser.add_argument(
        "--frames", metavar="N", type=int, default=1000, help="frames at full rate (%(default)s)"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=10.0, help="time at 30 frames/s (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


@dataclass
class Recorder:
    """A sink that keeps what a benchmark needs."""

    name: str = "recorder"
    dropped: int = 0
    published_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    health: Health | None = None

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Notes when a frame left."""
        self.published_s.append(time.perf_counter())
        self.latencies_s.append((time.time_ns() - frame.capture_ns) / 1e9)

    def offer_health(self, health: Health) -> None:
        """Notes memory and stages."""
        self.rss_bytes.append(health.rss_bytes)
        self.health = health

    def state(self) -> str:
        """Always ok."""
        return "ok"

    def close(self) -> None:
        """Nothing is open."""


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    engines = options.engine or [
        name for name in ENGINES if is_installed(name) and name not in ("eager", *GPU_ENGINES)
    ]
    frames, seconds = max(options.frames, FEWEST_FRAMES), max(options.seconds, SHORTEST_S)
    find_package(options.model)  # a wrong name is said once, not by each engine's process
    if len(engines) == 1:
        logging.getLogger().setLevel(logging.ERROR)
        rows = [measure_engine(options.model, engines[0], frames, seconds)]
    else:
        rows = [measure_apart(options.model, name, frames, seconds) for name in engines]
    result = {
        "machine": machine(),
        "model": options.model,
        "engines": rows,
        "rivals": measure_rivals(),
    }
    print(json.dumps(result) if options.json else as_text(result))
    return 0


def measure_apart(model: str, engine: str, frames: int, seconds: float) -> dict[str, Any]:
    """The same in a process of its own, so that memory is this engine's alone."""
    command = [sys.executable, "-m", "aam_edge.cli.main", "bench", "--json", "--model", model]
    command += ["--engine", engine, "--frames", str(frames), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ModelError("engine could not be measured", engine, "see the line above")
    row: dict[str, Any] = json.loads(done.stdout)["engines"][0]
    return row


def measure_engine(model: str, engine: str, frames: int, seconds: float) -> dict[str, Any]:
    """All figures of one network in one engine."""
    chosen = {"model.name": model, "model.engine": engine}
    full = stream(chosen | {"source.pace": "every", "frames": frames + WARM_FRAMES})
    paced = stream(chosen | {"source.pace": "real", "source.fps": REAL_FPS, "duration_s": seconds})
    steps_ms = np.diff(full.published_s[WARM_FRAMES:]) * 1e3
    # A slow machine has not seen many frames by then: half of them count at least.
    warm = min(WARM_FRAMES, len(paced.latencies_s) // 2)
    latencies_ms = np.array(paced.latencies_s[warm:]) * 1e3
    assert full.health is not None
    stages = {name: round(ms, 2) for name, ms in full.health.stages_ms.items()}
    frame_ms = float(np.median(steps_ms))
    settled = full.rss_bytes[len(full.rss_bytes) // 3 :]
    return {
        "engine": full.health.engine,
        "maps_per_s": round(1e3 / frame_ms, 1),
        "frame_ms_min": round(float(steps_ms.min()), 2),
        "frame_ms_median": round(frame_ms, 2),
        "stages_ms": stages,
        "beside_network_ms": round(frame_ms - stages["network"], 2),
        "second_prompt": f"{second_prompt(model, engine, frames // 8 + WARM_FRAMES):+.0%}",
        "latency_ms_at_30": {
            "p50": round(float(np.percentile(latencies_ms, 50)), 1),
            "p99": round(float(np.percentile(latencies_ms, 99)), 1),
        },
        "first_map_s": round(min(first_map_s(model, engine) for _ in range(3)), 2),
        "rss_mb": round(settled[-1] / 1e6),
        "rss_growth_mb": round((settled[-1] - settled[0]) / 1e6, 1),
        "frames": frames,
    }


def second_prompt(name: str, engine: str, frames: int) -> float:
    """What a second prompt adds to the time of a frame's step, as a part of it.

    Two streams take turns on the same frames: one after the other, a shared machine that changes
    its pace in between says what it likes.
    """
    model = load(name, engine=engine)
    streams = model.stream(), model.stream((FREE_VIEWING, "search for cup"))
    times_s: tuple[list[float], list[float]] = ([], [])
    for frame in islice(open_source("synthetic"), frames):
        for one, its in zip(streams, times_s, strict=True):
            start = time.perf_counter()
            one.step(frame)
            its.append(time.perf_counter() - start)
    single, double = (float(np.median(its[WARM_FRAMES:])) for its in times_s)
    return double / single - 1


def stream(settings: dict[str, Any]) -> Recorder:
    """Runs the whole stream, publishing, and records it."""
    config: Config = load_config(options=SOURCE | QUIET | settings)
    recorder = Recorder()
    Runtime(config, extra_sinks=[recorder]).run(threading.Event())
    recorder.rss_bytes.append(resident_bytes())
    return recorder


def first_map_s(model: str, engine: str) -> float:
    """Seconds a new process needs from its start to its first map and end."""
    command = [sys.executable, "-m", "aam_edge.cli.main", "--quiet", "--engine", engine]
    command += ["--model", model, "--camera", "synthetic", "--frames", "1", "--page", "none"]
    command += ["--pub", "tcp://127.0.0.1:*", "--control", "none"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure_rivals() -> list[dict[str, Any]]:
    """What one would use instead, on the same picture, one thread."""
    if not hasattr(cv2, "saliency"):
        return [{"name": "OpenCV spectral residual", "note": "needs opencv-contrib-python"}]
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    residual = cv2.saliency.StaticSaliencySpectralResidual_create()
    return [
        {"name": "OpenCV spectral residual", **timed(lambda: residual.computeSaliency(picture))}
    ]


def timed(call: Callable[[], Any], times: int = 200) -> dict[str, float]:
    """Min and median of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    median = float(np.median(taken))
    return {
        "ms_min": round(min(taken), 2),
        "ms_median": round(median, 2),
        "maps_per_s": round(1e3 / median, 1),
    }


def machine(root: Path = ROOT) -> dict[str, Any]:
    """What the figures were measured on, with its power mode where the system tells."""
    found = {"cpu": processor_name(), "cores": os.cpu_count(), "system": platform.platform()}
    mode = power_mode(root)
    return found | ({"power": mode} if mode else {})


def as_text(result: dict[str, Any]) -> str:
    """The figures as lines of words and numbers."""
    at = result["machine"]
    lines = [f"{at['cpu']}, {at['cores']} cores, {at['system']}"]
    if "power" in at:
        lines.append(at["power"])
    lines.append(f"{result['model']}, source 640x480, publishing, one thread for the network")
    for row in result["engines"]:
        lines.append(row["engine"])
        lines += [f"  {name:<19}{words}" for name, words in row_words(row).items()]
    for rival in result["rivals"]:
        words = rival.get("note") or f"{rival['maps_per_s']} maps/s, {spread(rival, 'ms')}"
        lines.append(f"{rival['name']}: {words}")
    return "\n".join(lines)


def row_words(row: dict[str, Any]) -> dict[str, str]:
    """One engine's figures, by what they are."""
    latency, stages = row["latency_ms_at_30"], row["stages_ms"]
    growth = f"{row['rss_growth_mb']:+} MB over the last two thirds of {row['frames']} frames"
    return {
        "full rate": f"{row['maps_per_s']} maps/s, {spread(row, 'frame_ms')} a frame",
        "stages": ", ".join(f"{name} {ms} ms" for name, ms in stages.items()),
        "beside the network": f"{row['beside_network_ms']} ms a frame",
        "second prompt": f"{row['second_prompt']} time a frame",
        "latency at 30/s": f"p50 {latency['p50']} ms, p99 {latency['p99']} ms, capture to publish",
        "start": f"{row['first_map_s']} s from process start to first map and end",
        "memory": f"{row['rss_mb']} MB, {growth}",
    }


def spread(row: dict[str, Any], name: str) -> str:
    """`6.1 ms (least 5.8)`."""
    return f"{row[f'{name}_median']} ms (least {row[f'{name}_min']})"
