"""The mean of several runs' weights, as a checkpoint: often better than each of them.

After M. Wortsman et al., "Model soups" (ICML 2022). The runs must come from one start: the same
seed, or `--start` from the same checkpoint.

    python -m aam_edge.training.average runs/a/last.pt runs/b/last.pt --out runs/mean.pt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from aam_edge.errors import exit_code_of
from aam_edge.training.run import checkpoint


def average_weights(checkpoints: list[Path]) -> dict[str, Tensor]:
    """Each tensor's mean over the runs' own averages."""
    runs = [checkpoint.read(path)["average"] for path in checkpoints]
    todo = "give runs that began with the same weights"
    for run, path in zip(runs, checkpoints, strict=True):
        checkpoint.fitted(run, runs[0], path, todo)
    return {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}


def main() -> None:
    """Reads the options and writes the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    epochs = max(checkpoint.read(path).get("epoch", 0) for path in options.checkpoints)
    weights = average_weights(options.checkpoints)
    checkpoint.write(options.out, {"average": weights, "epoch": epochs})


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
