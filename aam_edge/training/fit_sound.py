"""Fits hearing alone, on synthetic scenes without end (sound_scenes).

    python -m aam_edge.training.fit_sound --out hearing.pt --photos PHOTOS --clips A.mp4 B.mp4

Only luminance and its flow are needed, no body of the network; a made-up log o stands for the
silent network's. Backpropagation runs through SPAN frames at a time, the memory goes on. It writes
weights and a checkpoint as it goes, and goes on from the checkpoint it finds.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.errors import ModelError, SinkError, exit_code_of
from aam_edge.model.native import flow
from aam_edge.model.native.hearing import (
    CELL,
    Hearing,
    Judgement,
    Sight,
    add_evidence,
    initial_memory,
)
from aam_edge.model.released.files import DAMAGED
from aam_edge.training.run import checkpoint
from aam_edge.training.sound_pictures import Material, read_material
from aam_edge.training.sound_scenes import Scene, draw_scene

logger = logging.getLogger(__name__)
SHAPES = ((48, 64), (40, 72), (56, 56))
"""Maps that scenes are drawn on."""
CUT_AT = 0.25
"""As the filter's `cut_at`."""
SPAN = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundFitConfig:
    """What a run is made of; written into its checkpoint."""

    steps: int = 600
    batch: int = 10
    frames: int = 100
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warm_up_steps: int = 20
    stray: float = 20.0
    """Weight of the total variation where nothing in view sounds."""
    seed: int = 0


class Batch(NamedTuple):
    """B scenes of T frames on one map, (B, T, ...)."""

    sight: Sight
    """Tensors (B * T, ...)."""
    dt_s: Tensor
    mel: Tensor
    heard: Tensor
    truth: Tensor
    """(B, T, h, w), part of the cell that the sounding thing covers."""
    sounds: Tensor
    """(B, T), 1.0 where it was heard lately and is in view."""
    is_sounding: Tensor
    """(B,), 1.0 where something in view sounds at some time."""
    silent: Tensor
    """(B, 1, h, w), made-up log o."""


class Outcome(NamedTuple):
    """What hearing makes of a batch."""

    density: Tensor
    """(B, T, h, w)."""
    judged: Judgement
    """Tensors (B, T, h/4, w/4)."""
    memory: Tensor


def collate(scenes: Sequence[Scene]) -> Batch:
    """Scenes of one shape to a batch, their flow with it."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(scene, name) for scene in scenes]))

    luminance, dt_s, truth = stacked("luminance"), stacked("dt_s"), stacked("truth")
    in_view = (truth.sum(dim=(2, 3)) > 4).float()
    return Batch(
        sight=see(luminance, dt_s),
        dt_s=dt_s,
        mel=stacked("mel"),
        heard=stacked("heard"),
        truth=truth,
        sounds=stacked("sounds") * in_view,
        is_sounding=torch.tensor([float(scene.kind == "sounding") for scene in scenes]),
        silent=stacked("silent_log_density")[:, None],
    )


@torch.no_grad()
def see(luminance: Tensor, dt_s: Tensor) -> Sight:
    """What the filter would find in clips (B, T, h, w) with steps (B, T), as (B * T, ...)."""
    now = luminance.flatten(0, 1)[:, None]
    before = F.pad(luminance[:, :-1], (0, 0, 0, 0, 1, 0)).flatten(0, 1)[:, None]
    displacement, confidence = flow.estimate(before, now)
    change = flow.change_left(before, now, displacement)
    fresh = (dt_s.flatten() > 0) & (change.mean(dim=(1, 2, 3)) <= CUT_AT)
    return Sight(before, now, displacement, confidence, change, fresh.float())


def hear(hearing: Hearing, batch: Batch, memory: Tensor) -> Outcome:
    """Runs over all frames: the same as `Hearing.forward` frame by frame, many at once."""
    scenes, frames = batch.dt_s.shape
    dt_s, heard = batch.dt_s.flatten(), batch.heard.flatten()
    streams, query, loud = hearing.listen(batch.mel.flatten(0, 1), dt_s)
    cells = hearing.look(batch.sight, dt_s)

    def at(x: Tensor, t: int) -> Tensor:
        return x.view(scenes, frames, *x.shape[1:])[:, t]

    memories = []
    for t in range(frames):
        sight = Sight(*(at(x, t) for x in batch.sight))
        counts = at(heard, t) * sight.fresh
        memory = hearing.remember(
            memory, at(cells, t), at(streams, t), counts, sight, batch.dt_s[:, t]
        )
        memories.append(memory)
    judged = hearing.judge(torch.stack(memories, dim=1).flatten(0, 1), query, loud * heard)
    judged = Judgement(*(x[:, 0].unflatten(0, (scenes, frames)) for x in judged))
    evidence = F.interpolate(judged.evidence, scale_factor=float(CELL), mode="bilinear")
    log_density = add_evidence(
        batch.silent.expand(-1, frames, -1, -1).flatten(0, 1)[:, None],
        evidence.flatten(0, 1)[:, None],
    )
    return Outcome(log_density.exp()[:, 0].unflatten(0, (scenes, frames)), judged, memory)


def spans(batch: Batch, length: int) -> list[Batch]:
    """The batch cut along time."""
    scenes, frames = batch.dt_s.shape
    cuts = []
    for begin in range(0, frames, length):
        part = slice(begin, begin + length)
        sight = Sight(
            *(x.unflatten(0, (scenes, frames))[:, part].flatten(0, 1) for x in batch.sight)
        )
        by_time = {
            name: getattr(batch, name)[:, part]
            for name in ("dt_s", "mel", "heard", "truth", "sounds")
        }
        cuts.append(batch._replace(sight=sight, **by_time))
    return cuts


def loss_of(outcome: Outcome, batch: Batch, stray: float) -> Tensor:
    """Divergence from the truth where something sounds, stray mass where nothing does."""
    silent = batch.silent.exp()  # (B, 1, h, w)
    truth = batch.truth + 1e-9
    goal = 0.9 * truth / truth.sum(dim=(2, 3), keepdim=True) + 0.1 * silent
    divergence = (goal * (goal.log() - outcome.density.log())).sum(dim=(2, 3))  # (B, T)
    variation = total_variation(outcome.density, silent)
    none = (1 - batch.is_sounding)[:, None].expand_as(variation)
    told = (divergence * batch.sounds).sum() / batch.sounds.sum().clamp_min(1)
    strayed = (variation * none).sum() / none.sum().clamp_min(1)
    return told + stray * strayed + _odds_loss(outcome, batch)


def _odds_loss(outcome: Outcome, batch: Batch) -> Tensor:
    """Binary cross entropy of the cells' odds; cells at the thing's edge say nothing."""
    cover = F.avg_pool2d(batch.truth, CELL)
    sounds = batch.sounds[:, :, None, None]
    is_it = ((cover > 0.25) & (sounds > 0)).float()
    is_clear = ((cover > 0.25) & (sounds > 0)) | (cover < 0.02)
    weight = is_clear * (1 + 2 * is_it)
    odds = F.binary_cross_entropy_with_logits(outcome.judged.score, is_it, reduction="none")
    return 4 * (odds * weight).mean()


def total_variation(density: Tensor, other: Tensor) -> Tensor:
    """Half the sum of what differs, over the last two axes; 0..1."""
    return 0.5 * (density - other).abs().sum(dim=(-2, -1))


def draw_batch(seed: Sequence[int], size: int, frames: int, material: Material) -> Batch:
    """Scenes that the seed alone decides."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    return collate([draw_scene(rng, shape, frames, material) for _ in range(size)])


class SoundFitting:
    """The state of a run."""

    def __init__(self, config: SoundFitConfig, material: Material):
        torch.manual_seed(config.seed)
        self.config, self.material = config, material
        self.hearing = Hearing()
        self.optimiser = torch.optim.AdamW(
            self.hearing.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        self.steps = 0

    def _rate(self, step: int) -> float:
        warm, total = self.config.warm_up_steps, self.config.steps
        if step < warm:
            return (step + 1) / warm
        return 0.51 + 0.49 * math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm)))

    def step(self) -> float:
        """One batch, a step of the optimiser each SPAN frames; returns the mean loss."""
        config = self.config
        batch = draw_batch((config.seed, self.steps), config.batch, config.frames, self.material)
        memory = initial_memory(config.batch, *batch.silent.shape[2:])
        losses = []
        for part in spans(batch, SPAN):
            outcome = hear(self.hearing, part, memory)
            loss = loss_of(outcome, part, config.stray)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.hearing.parameters(), 2.0)
            self.optimiser.step()
            memory = outcome.memory.detach()
            losses.append(float(loss.detach()))
        self.schedule.step()
        self.steps += 1
        return float(np.mean(losses))

    def save(self, out: Path) -> None:
        """Writes the weights to `out`, a plain state dict, and the checkpoint beside it."""
        whole = {
            "config": asdict(self.config),
            "steps": self.steps,
            "hearing": self.hearing.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        checkpoint.write(out, self.hearing.state_dict())
        checkpoint.write(out.with_suffix(".last"), whole)

    def restore(self, path: Path) -> None:
        """Goes on where `save` left off; ModelError where that is something else."""
        whole = checkpoint.read_named(path)
        try:
            self.steps = int(whole["steps"])
            self.hearing.load_state_dict(whole["hearing"])
            self.optimiser.load_state_dict(whole["optimiser"])
            self.schedule.load_state_dict(whole["schedule"])
        except DAMAGED as problem:
            todo = "give another --out, or remove it to begin anew"
            raise ModelError("checkpoint is of another fit", path, todo) from problem


def read_hearing(path: Path) -> Hearing:
    """Weights that a fit wrote; ModelError where they are not there, broken, or others."""
    hearing, todo = Hearing(), "give what fit_sound wrote"
    state = checkpoint.fitted(checkpoint.read_named(path), hearing.state_dict(), path, todo)
    hearing.load_state_dict(state)
    return hearing


def fit(
    out: Path,
    config: SoundFitConfig,
    material: Material,
    save_every: int = 25,
    start: Path | None = None,
) -> None:
    """Runs or continues a fit, from another one's weights if given; the log is `out` as .jsonl."""
    fitting = SoundFitting(config, material)
    if start:
        fitting.hearing.load_state_dict(read_hearing(start).state_dict())
    last = out.with_suffix(".last")
    if last.exists():
        fitting.restore(last)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise SinkError("folder cannot be made", out.parent, "choose another --out") from problem
    while fitting.steps < config.steps:
        began, losses = time.monotonic(), list[float]()
        while len(losses) < save_every and fitting.steps < config.steps:
            losses.append(fitting.step())
        line = {
            "steps": fitting.steps,
            "loss": round(float(np.mean(losses)), 4),
            "seconds_a_step": round((time.monotonic() - began) / len(losses), 2),
        }
        fitting.save(out)
        with out.with_suffix(".jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        logger.info("%s", json.dumps(line))


def main() -> None:
    """Reads the options and fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file of the weights, .pt")
    parser.add_argument("--photos", type=Path, help="folder of .jpg to cut things from")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="backgrounds that move")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--learning-rate", type=float, default=SoundFitConfig().learning_rate)
    parser.add_argument("--steps", type=int, default=SoundFitConfig().steps)
    parser.add_argument("--seed", type=int, default=SoundFitConfig().seed)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    material = read_material(options.photos, options.clips)
    config = SoundFitConfig(
        steps=options.steps, seed=options.seed, learning_rate=options.learning_rate
    )
    fit(options.out, config, material, start=options.start)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
