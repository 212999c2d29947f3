"""Where the time of a step goes, as torch's profiler sees it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from aam_edge.training.run.drawing import Drawer
from aam_edge.training.run.settings import RunConfig
from aam_edge.training.run.trainer import NETWORK, Trainer, Watcher

WAIT, STEP = "aam.wait", "aam.step"
WARM_UP_STEPS = 2
DRAWN = 8
"""Batches of photos that are drawn to see how fast that is."""


@dataclass(frozen=True, slots=True)
class Times:
    """Of some steps; seconds by the wall's clock."""

    steps: int
    pictures: int
    step_s: float
    """All."""
    wait_s: float
    """For batches."""
    network_s: float
    """Forward, backward, optimiser."""
    gpu_s: float | None
    """Kernels on the GPU; None without one."""
    drawn_per_s: float
    """Photos that one core decodes and augments in a second of its time."""
    heaviest: list[tuple[str, float]]
    """Operators with their own seconds, heaviest first."""

    @property
    def pictures_per_s(self) -> float:
        """Of photos and frames."""
        return self.pictures / self.step_s


def measure(config: RunConfig, steps: int, watcher: Watcher) -> Times:
    """Runs some steps of a run without leaving anything behind.

    Args:
        config: of the run; its folder is left alone.
        steps: that are measured; two more warm it up.
        watcher: is told of each.
    """
    with tempfile.TemporaryDirectory() as out:
        quiet = replace(config.save, tensorboard=False)
        trainer = Trainer(replace(config, out=out, save=quiet), watcher)
        batches = trainer.batches()
        for _ in range(WARM_UP_STEPS):
            watcher.step(trainer.step(next(batches)))
        on_gpu = trainer.processes.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        pictures, began = 0, time.perf_counter()
        with profile(activities=activities) as profiler:
            for _ in range(steps):
                with record_function(WAIT):
                    drawn = next(batches, None)
                if drawn is None:
                    break
                with record_function(STEP):
                    told = trainer.step(drawn)
                pictures += told.pictures
                watcher.step(told)
        seconds = time.perf_counter() - began
        drawn_per_s = _drawn_per_s(trainer)
    return _times(profiler.key_averages(), steps, pictures, seconds, drawn_per_s, on_gpu=on_gpu)


def _drawn_per_s(trainer: Trainer) -> float:
    """By the core's own time, so that it does not matter what else the machine does."""
    drawer = Drawer(trainer.config, trainer.material, trainer.embed)
    entries = [e for e in islice(trainer.plan.entries(), 4 * DRAWN) if not e.is_clips][:DRAWN]
    for entry in entries[:1]:
        drawer[entry]  # reads tables for the first time
    began_s = time.process_time()
    for entry in entries:
        drawer[entry]
    seconds = time.process_time() - began_s
    return sum(len(entry.rows) for entry in entries) / max(seconds, 1e-9)


def _times(
    averages: Any, steps: int, pictures: int, seconds: float, drawn_per_s: float, *, on_gpu: bool
) -> Times:
    total = {entry.key: entry.cpu_time_total / 1e6 for entry in averages}
    own = [(e.key, e.self_cpu_time_total / 1e6) for e in averages if not e.key.startswith("aam.")]
    gpu_s = sum(e.self_device_time_total for e in averages) / 1e6 if on_gpu else None
    waited = total.get(WAIT, 0.0)
    return Times(
        steps, pictures, waited + total.get(STEP, seconds), waited, total.get(NETWORK, 0.0),
        gpu_s, drawn_per_s, sorted(own, key=lambda pair: -pair[1])[:8],
    )  # fmt: skip
