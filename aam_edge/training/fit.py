"""Fits nano: the body finetuned, the decoder learned, an average of both kept.

Run as a module; `aam-edge train` will wrap it:

    python -m aam_edge.training.fit --root SHARED --heat heat.npz --words words.npz \
        --start efficientnet-lite0.pth --out runs/nano

It writes a checkpoint and a log line after each epoch and goes on from the checkpoint it finds.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.engine.text import TextTable
from aam_edge.errors import DataError
from aam_edge.model.native.decoder import Pieces
from aam_edge.model.native.network import NativeNetwork, repeated
from aam_edge.model.native.vision import load_lite0
from aam_edge.training.batch import Batch, BatchConfig, Embed, batches
from aam_edge.training.data import read_gaze_set
from aam_edge.training.evaluate import GAZE_SETS, evaluate, observer
from aam_edge.training.evaluate_search import evaluate_search
from aam_edge.training.objective import Shares, objective
from aam_edge.training.sample import Sample
from aam_edge.training.search_data import held_out_photos, read_photos

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """What a run is made of; written into its checkpoint."""

    epochs: int = 24
    small_epochs: int = 10
    """The first of them, with inputs of half the sides."""
    learning_rate: float = 2e-3
    body_rate: float = 0.05
    """Learning rate of the body as a part of the decoder's. At 0.15 from the first step on, what a
    random decoder asked for left its last features with an effective rank of 2 in place of 83."""
    held_epochs: int = 3
    """The first epochs, in which the body stays as it is."""
    weight_decay: float = 2e-2
    frozen_stages: int = 2
    """Of the body's seven, with the stem: they cost half of the time and know enough of edges."""
    warm_up_epochs: float = 0.3
    average_decay: float = 0.998
    drop: float = 0.1
    """Part of the taps' channels that is silenced in training."""
    seed: int = 0
    pieces: Pieces = field(default_factory=Pieces)
    drawing: BatchConfig = field(default_factory=BatchConfig)
    shares: Shares = field(default_factory=Shares)


class Fitting:
    """The state of a run: network, its running average, optimiser, epoch."""

    def __init__(self, config: FitConfig, photos: int, embed: Embed, lexicon: Tensor):
        """`photos` an epoch; `lexicon` (W, 128), the vectors of a classifier's names."""
        torch.manual_seed(config.seed)
        self.config, self.embed, self.lexicon = config, embed, lexicon
        self.network = NativeNetwork(config.pieces)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        body = self.network.body
        for part in (body.stem, *body.stages[: config.frozen_stages]):
            part.requires_grad_(False)
        learned = list(body.stages[config.frozen_stages :].parameters())
        rest = [p for n, p in self.network.named_parameters() if not n.startswith("body.")]
        numbers = [p for p in rest if p.ndim <= 1 and p.numel() <= 3]
        rest = [p for p in rest if p.ndim > 1 or p.numel() > 3]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": learned, "lr": config.learning_rate * config.body_rate},
                {"params": rest, "lr": config.learning_rate},
                {"params": numbers, "lr": 3 * config.learning_rate, "weight_decay": 0.0},
            ],
            weight_decay=config.weight_decay,
        )
        steps = math.ceil(photos / config.drawing.batch)
        total, warm = steps * config.epochs, round(steps * config.warm_up_epochs)

        def rate(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rate)
        self.epoch = 0

    def load_body(self, path: Path) -> None:
        """Starts the body from a published EfficientNet-Lite0 file."""
        load_lite0(self.network.body, torch.load(path, weights_only=True))
        self.average.load_state_dict(self.network.state_dict())

    def load_start(self, path: Path) -> None:
        """Starts everything from the average of another run's checkpoint."""
        self._take(torch.load(path, weights_only=True)["average"])

    def load_body_of(self, path: Path) -> None:
        """Starts the body alone from the average of another run's checkpoint."""
        weights = torch.load(path, weights_only=True)["average"]
        self._take({name: w for name, w in weights.items() if name.startswith("body.")})

    def _take(self, weights: dict[str, Tensor]) -> None:
        """Takes these weights over; the others stay as they are, and are named."""
        missing, unknown = self.network.load_state_dict(weights, strict=False)
        if unknown:
            raise DataError("checkpoint is of another network", unknown[0], "start from another")
        if missing:
            logger.info("%d tensors begin anew, %s first", len(missing), missing[0])
        self.average.load_state_dict(self.network.state_dict())

    def drawn(self, samples: list[Sample]) -> Iterator[Batch]:
        """The batches of this epoch, decided by seed and epoch alone."""
        small = self.epoch < self.config.small_epochs
        drawing = replace(self.config.drawing, scale=0.5 if small else 1.0)
        return batches(samples, drawing, (self.config.seed, self.epoch), self.embed)

    def run_epoch(self, samples: list[Sample]) -> dict[str, float]:
        """All examples once; returns the means of the losses.

        Seed and epoch alone decide what is drawn, so an interrupted run goes on as if it had not
        been.
        """
        torch.manual_seed(self.config.seed * 10_000 + self.epoch)
        is_held = self.epoch < self.config.held_epochs
        for stage in self.network.body.stages[self.config.frozen_stages :]:
            stage.requires_grad_(not is_held)
        losses = [self.step(batch) for batch in self.drawn(samples)]
        self.epoch += 1
        return {name: round(float(np.mean([x[name] for x in losses])), 4) for name in losses[0]}

    def step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; returns the parts of the loss."""
        network, config = self.network, self.config
        taps = [F.dropout2d(tap, config.drop) for tap in network.body(batch.pictures)]
        seen = network.decoder.look(taps)
        evidence = network.decoder(
            repeated(seen, batch.prompts.shape[1]), batch.prompts.flatten(0, 1)
        )
        loss, parts = objective(network.decoder, seen, evidence, batch, self.lexicon, config.shares)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self._follow()
        return parts

    def _follow(self) -> None:
        """Moves the running average."""
        steps = self.schedule.last_epoch
        decay = min(self.config.average_decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def save(self, path: Path) -> None:
        """Writes the checkpoint beside the old one and swaps them, so that one is always whole."""
        whole = {
            "config": asdict(self.config),
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(whole, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Goes on where `save` left off."""
        whole = torch.load(path, weights_only=True)
        self.epoch = whole["epoch"]
        self.network.load_state_dict(whole["network"])
        self.average.load_state_dict(whole["average"])
        self.optimiser.load_state_dict(whole["optimiser"])
        self.schedule.load_state_dict(whole["schedule"])


@dataclass(frozen=True, slots=True)
class Paths:
    """What a run reads, and where it writes."""

    root: Path
    """Folder of `data/`, `photos/`, `photos_more/`."""
    heat: Path
    words: Path | None
    start: Path
    """A published EfficientNet-Lite0 (.pth) or another run's checkpoint (.pt)."""
    out: Path
    views: Path | None = None
    """Free viewing by a teacher, on photos that nobody looked at (see `teach`)."""


def fit(paths: Paths, config: FitConfig, evaluate_every: int) -> None:
    """Runs or continues a fit; the checkpoint is `out/last.pt`, the log `out/log.jsonl`."""
    paths.out.mkdir(parents=True, exist_ok=True)
    samples = read_photos(paths.root, paths.heat, paths.words)
    if paths.views is not None:
        teach(samples, paths.views)
    embed = cache(TextTable().embed)
    lexicon = read_lexicon(samples, paths.words, embed)
    people = sum(sample.has_people for sample in samples)
    photos = people + min(config.drawing.others, len(samples) - people)
    fitting = Fitting(config, photos, embed, lexicon)
    checkpoint = paths.out / "last.pt"
    if checkpoint.exists():
        fitting.restore(checkpoint)
    elif paths.start.suffix == ".pth":
        fitting.load_body(paths.start)
    else:
        fitting.load_start(paths.start)
    logger.info("%d photos, %d looked at by people, %d an epoch", len(samples), people, photos)
    while fitting.epoch < config.epochs:
        began = time.monotonic()
        losses = fitting.run_epoch(samples)
        seconds = time.monotonic() - began
        line: dict[str, Any] = {
            "epoch": fitting.epoch,
            "losses": losses,
            "photos_per_s": round(photos / seconds, 1),
            "curvature": round(float(fitting.average.decoder.curvature), 3),
        }
        fitting.save(checkpoint)
        if fitting.epoch % evaluate_every == 0 or fitting.epoch == config.epochs:
            line |= scores(fitting.average, paths.root, embed)
        with (paths.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        logger.info("%s", json.dumps(line))


def scores(network: NativeNetwork, root: Path, embed: Embed) -> dict[str, Any]:
    """Scores on the val splits and on the photos kept from search."""
    free = observer(network, embed("free viewing"))
    held = {name: read_gaze_set(root / "data" / name, "val") for name in GAZE_SETS}
    return {
        "val": {name: evaluate(free, photos) for name, photos in held.items()},
        "search": evaluate_search(network, held_out_photos(root), embed),
    }


def teach(samples: list[Sample], views: Path) -> None:
    """Lets a trained network say where people would look on photos that nobody looked at.

    `views` is an .npz with `free`, (n, 48, 64) uint8 maps in the order of the samples, full scale
    per map.
    """
    with np.load(views) as archive:
        maps = archive["free"]
    for sample, whole in zip(samples, maps, strict=True):
        if not sample.has_people:
            sample.maps.append(("free viewing", whole.astype(np.float32) / whole.sum(), 0.5))


def read_lexicon(samples: list[Sample], words: Path | None, embed: Embed) -> Tensor:
    """The vectors of a classifier's names; names without a word leave the samples too."""
    if words is None:
        return torch.zeros(0, 128)
    with np.load(words) as archive:
        names = [str(name) for name in archive["names"]]
    kept = [i for i, name in enumerate(names) if name]
    for sample in samples:
        if sample.words is not None:
            sample.words = sample.words[kept]
    return torch.from_numpy(np.stack([embed(names[i]) for i in kept]))


def main() -> None:
    """Reads the options and fits."""
    given = FitConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of data/ and photos/")
    parser.add_argument("--heat", type=Path, required=True, help="heat maps of the photos")
    parser.add_argument("--words", type=Path, help="a classifier's probabilities of the photos")
    parser.add_argument("--views", type=Path, help="a teacher's free viewing of the photos")
    parser.add_argument(
        "--start", type=Path, required=True, help="EfficientNet-Lite0 .pth, or a checkpoint .pt"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--epochs", type=int, default=given.epochs)
    parser.add_argument("--small-epochs", type=int, default=given.small_epochs)
    parser.add_argument("--held-epochs", type=int, default=given.held_epochs)
    parser.add_argument("--others", type=int, default=given.drawing.others)
    parser.add_argument("--learning-rate", type=float, default=given.learning_rate)
    parser.add_argument("--seed", type=int, default=given.seed)
    parser.add_argument("--without", nargs="*", default=[], help="pieces of the geometry left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluate-every", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    config = FitConfig(
        epochs=options.epochs,
        small_epochs=options.small_epochs,
        held_epochs=options.held_epochs,
        learning_rate=options.learning_rate,
        seed=options.seed,
        pieces=Pieces(**dict.fromkeys(options.without, False)),
        drawing=BatchConfig(others=options.others),
    )
    paths = Paths(
        options.root, options.heat, options.words, options.start, options.out, options.views
    )
    fit(paths, config, options.evaluate_every)


if __name__ == "__main__":
    main()
