"""Fits nano to people's gaze: the body finetuned, the decoder learned, an average of both kept.

Run as a module; `aam-edge train` will wrap it:

    python -m aam_edge.training.fit --data DATA --start efficientnet-lite0.pth --out runs/nano

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
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.engine.size import input_size
from aam_edge.model.native.decoder import PROMPT_CHANNELS
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.vision import load_lite0
from aam_edge.training.data import Photo, human_density, read_gaze_set
from aam_edge.training.evaluate import GAZE_SETS, evaluate, observer
from aam_edge.training.losses import gaze_loss, variance_loss

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """What a run is made of; written into its checkpoint."""

    sets: tuple[str, ...] = GAZE_SETS
    epochs: int = 12
    batch: int = 16
    learning_rate: float = 2e-3
    body_rate: float = 0.15
    """Learning rate of the body as a part of the decoder's."""
    weight_decay: float = 2e-2
    warm_up_epochs: int = 1
    average_decay: float = 0.998
    smallest_crop: float = 0.8
    """Side of the smallest random crop as a part of the picture's."""
    drop: float = 0.1
    """Part of the taps' channels that is silenced in training."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A photo in memory."""

    photo: Photo
    image: NDArray[np.uint8]


def augment(
    example: Example, config: FitConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A random view: crop, mirror, light and colour. Returns the picture and its density at 1/4."""
    image, points = example.image, example.photo.points
    part = rng.uniform(config.smallest_crop, 1, 2) if rng.random() < 0.7 else np.ones(2)
    corner = rng.uniform(0, 1 - part)
    height, width = image.shape[:2]
    x0, y0 = (corner * (width, height)).astype(int)
    x1, y1 = np.ceil((corner + part) * (width, height)).astype(int)
    inside = (points >= corner).all(1) & (points < corner + part).all(1)
    if inside.sum() >= 5:
        image = image[y0:y1, x0:x1]
        points = (points[inside] - corner) / part
    sigma = example.photo.sigma * (width / image.shape[1])
    rows, columns = input_size(example.image.shape[1], example.image.shape[0])
    image = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    density = human_density(points, (rows // 4, columns // 4), sigma)
    if rng.random() < 0.5:
        image, density = image[:, ::-1], density[:, ::-1]
    gain, shift = rng.uniform(0.8, 1.2, 3) * rng.uniform(0.8, 1.2), rng.uniform(-15, 15)
    if rng.random() < 0.1:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    return np.clip(image * gain + shift, 0, 255).astype(np.uint8), density


def batches(
    examples: list[Example], config: FitConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All examples once, in an order and with views that only seed and epoch decide.

    Pictures of one input size share a batch. Yields (B, 3, H, W) float 0..255 and (B, 1, h, w).
    """
    rng = np.random.default_rng((config.seed, epoch))
    waiting: dict[tuple[int, ...], list[tuple[NDArray[np.uint8], NDArray[np.float64]]]] = {}
    for i in rng.permutation(len(examples)):
        view = augment(examples[i], config, rng)
        group = waiting.setdefault(view[0].shape, [])
        group.append(view)
        if len(group) == config.batch:
            yield collate(group)
            group.clear()
    for group in waiting.values():
        if group:
            yield collate(group)


def collate(views: list[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> tuple[Tensor, Tensor]:
    """Views of one size to a batch."""
    pictures = torch.from_numpy(np.stack([image for image, _ in views]).astype(np.float32))
    densities = torch.from_numpy(np.stack([density for _, density in views]).astype(np.float32))
    last = torch.channels_last
    return pictures.permute(0, 3, 1, 2).contiguous(memory_format=last), densities[:, None]


class Fitting:
    """The state of a run: network, its running average, optimiser, epoch."""

    def __init__(self, config: FitConfig, steps_per_epoch: int):
        torch.manual_seed(config.seed)
        self.config = config
        self.network = NativeNetwork()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        body = list(self.network.body.parameters())
        rest = [p for n, p in self.network.named_parameters() if not n.startswith("body.")]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": body, "lr": config.learning_rate * config.body_rate},
                {"params": rest, "lr": config.learning_rate},
            ],
            weight_decay=config.weight_decay,
        )
        total, warm = steps_per_epoch * config.epochs, steps_per_epoch * config.warm_up_epochs

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
        weights = torch.load(path, weights_only=True)["average"]
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def run_epoch(self, examples: list[Example]) -> list[float]:
        """All examples once; returns the loss of each step.

        Seed and epoch alone decide what is drawn, so an interrupted run goes on as if it had not
        been.
        """
        torch.manual_seed(self.config.seed * 10_000 + self.epoch)
        losses = [self.step(*batch) for batch in batches(examples, self.config, self.epoch)]
        self.epoch += 1
        return losses

    def step(self, pictures: Tensor, human: Tensor) -> float:
        """One step of the optimiser; returns the loss."""
        network, prompt = self.network, torch.zeros(len(pictures), PROMPT_CHANNELS)
        with torch.autocast("cpu", torch.bfloat16):
            taps = network.body(pictures)
            taps = [torch.nn.functional.dropout2d(tap, self.config.drop) for tap in taps]
            log_density, log_variance = network.decoder(network.decoder.project(taps), prompt)
        loss = gaze_loss(log_density, human)
        loss = loss + 0.1 * variance_loss(log_density, log_variance, human)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        steps = self.schedule.last_epoch
        decay = min(self.config.average_decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return float(loss.detach())

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


def fit(data: Path, start: Path, out: Path, config: FitConfig, evaluate_every: int) -> None:
    """Runs or continues a fit; the checkpoint is `out/last.pt`, the log `out/log.jsonl`.

    Args:
        data: folder of gaze sets.
        start: a published EfficientNet-Lite0 (.pth) or another run's checkpoint (.pt).
        out: folder, made if need be.
        config: of the run.
        evaluate_every: epochs between two evaluations on the val splits.
    """
    out.mkdir(parents=True, exist_ok=True)
    photos = [p for name in config.sets for p in read_gaze_set(data / name, "train")]
    held = {name: read_gaze_set(data / name, "val") for name in config.sets}
    examples = [Example(photo, photo.image()) for photo in photos]
    fitting = Fitting(config, steps_per_epoch=math.ceil(len(examples) / config.batch))
    checkpoint = out / "last.pt"
    if checkpoint.exists():
        fitting.restore(checkpoint)
    elif start.suffix == ".pth":
        fitting.load_body(start)
    else:
        fitting.load_start(start)
    while fitting.epoch < config.epochs:
        began = time.monotonic()
        losses = fitting.run_epoch(examples)
        seconds = time.monotonic() - began
        line: dict[str, object] = {
            "epoch": fitting.epoch,
            "loss": round(float(np.mean(losses)), 4),
            "photos_per_s": round(len(examples) / seconds, 1),
        }
        if fitting.epoch % evaluate_every == 0 or fitting.epoch == config.epochs:
            line["val"] = {name: evaluate(observer(fitting.average), p) for name, p in held.items()}
        fitting.save(checkpoint)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        logger.info("%s", json.dumps(line))


def main() -> None:
    """Reads the options and fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of gaze sets")
    parser.add_argument(
        "--start", type=Path, required=True, help="EfficientNet-Lite0 .pth, or a checkpoint .pt"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--epochs", type=int, default=FitConfig().epochs)
    parser.add_argument("--learning-rate", type=float, default=FitConfig().learning_rate)
    parser.add_argument("--seed", type=int, default=FitConfig().seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluate-every", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    config = FitConfig(
        epochs=options.epochs, learning_rate=options.learning_rate, seed=options.seed
    )
    fit(options.data, options.start, options.out, config, options.evaluate_every)


if __name__ == "__main__":
    main()
