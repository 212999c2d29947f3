"""Makes the log-odds of presence right as chances: a temperature and a shift.

After C. Guo et al., "On calibration of modern neural networks" (ICML 2017). Both go into the
weights that make the log-odds, so the network is the same in all engines:

    python -m aam_edge.training.temper runs/last/last.pt --root SHARED --heat heat.npz \
        --out runs/tempered.pt

They are fitted to a detector's chances (tools/make_labels) of names in COCO's photos that are kept
out of training, names in view and names absent half and half. No boxes are read.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.engine.catalog import open_text
from aam_edge.engine.size import input_size
from aam_edge.errors import DataError, UsageError, exit_code_of
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.batch import Embed
from aam_edge.training.evaluate import as_input
from aam_edge.training.prompts import COCO_NAMES
from aam_edge.training.run import checkpoint
from aam_edge.training.search_data import chances_of, held_out_photos
from aam_edge.training.tables import read_arrays

LINEAR = ("presence", "recognition.line", "recognition.ask_gist", "recognition.ask_keys")
SHARPNESS = "decoder.recognition.sharpness"
CONSTANT = "decoder.presence"


def temper(weights: dict[str, Tensor], by: float, shift: float = 0.0) -> dict[str, Tensor]:
    """The weights of a network whose log-odds of presence are `by` times what they were, + `shift`.

    All parts of the log-odds are linear in LINEAR, but for the maximum over cells S of
    `model.native.recognition`: S(by x) with a sharpness of t / by is by S(x).

    Raises:
        UsageError: `by` is not above 0.
    """
    if not (by > 0 and math.isfinite(by)):
        raise UsageError("temperature is out of range", f"{by:g}", "give more than 0")
    names = tuple(f"decoder.{name}" for name in LINEAR)
    scaled = {n: by * t if n.startswith(names) else t for n, t in weights.items()}
    sharpness = F.softplus(weights[SHARPNESS]) / by
    scaled[SHARPNESS] = sharpness + torch.log(-torch.expm1(-sharpness))  # inverse of softplus
    scaled[CONSTANT] = scaled[CONSTANT] + shift * torch.tensor([0.0, 0.0, 1.0])
    return scaled


def fit(log_odds: Tensor, chances: Tensor) -> tuple[float, float]:
    """The factor and the shift that make log-odds likeliest.

    Args:
        log_odds: any shape.
        chances: the same, that each name is in view; those in view and those absent count alike.
    """
    there, absent = chances / chances.sum(), (1 - chances) / (1 - chances).sum()
    line = torch.tensor([0.0, 0.0], requires_grad=True)  # log of the factor, shift
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        told = line[0].exp() * log_odds + line[1]
        lost = (there * F.softplus(-told) + absent * F.softplus(told)).sum()
        lost.backward()
        return lost

    optimiser.step(loss)
    return float(line[0].detach().exp()), float(line[1].detach())


def odds_of(network: NativeNetwork, files: list[Path], embed: Embed) -> Tensor:
    """Log-odds of presence of COCO_NAMES in photos, (n, 80); DataError where one cannot be read."""
    prompts = torch.from_numpy(np.stack([embed(name) for name in COCO_NAMES]))
    decoder, rows = network.decoder, []
    points = decoder.point(prompts)
    for file in files:
        image = cv2.imread(str(file))
        if image is None:
            raise DataError("photo cannot be read", file, "give the --root of --heat's photos")
        size = input_size(image.shape[1], image.shape[0])
        seen = decoder.look(network.body(as_input(np.asarray(image, np.uint8), size)))
        nearness = decoder.nearness_to(seen.cells, points)
        rows.append(decoder.presence_of(seen, nearness, points, prompts))
    return torch.cat(rows)


def held_out(root: Path, heat: Path) -> tuple[list[Path], Tensor]:
    """The photos that are kept out of training, and what a detector says of COCO_NAMES, (n, 80).

    Raises:
        DataError: the detector has not seen them.
    """
    table, kept = read_arrays(heat), {path for path, _ in held_out_photos(root)}
    at = [i for i, file in enumerate(table["files"]) if root / str(file) in kept]
    if not at:
        raise DataError(
            "heat has no photo that is kept out", heat, "make it with tools/make_labels"
        )
    chances = chances_of(table["peaks"][at]).astype(np.float32)
    return [root / str(table["files"][i]) for i in at], torch.from_numpy(chances)


def main() -> None:
    """Reads the options and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--heat", type=Path, required=True, help="what a detector says of them")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    whole = checkpoint.read(options.checkpoint)
    network = NativeNetwork().eval()
    own = network.state_dict()
    state = checkpoint.fitted(whole["average"], own, options.checkpoint, "give one of nano")
    network.load_state_dict(state)
    files, chances = held_out(options.root, options.heat)
    with torch.no_grad():
        log_odds = odds_of(network, files, open_text())
    by, shift = fit(log_odds, chances)
    whole["average"] = temper(whole["average"], by, shift)
    checkpoint.write(options.out, whole)
    sys.stdout.write(f"log-odds of presence: times {by:.3f}, plus {shift:.3f}\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
