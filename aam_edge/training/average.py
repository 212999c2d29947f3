"""The mean of several runs' weights, as a checkpoint: often better than each of them.

After M. Wortsman et al., "Model soups" (ICML 2022). The runs must come from one start: the same
seed, or `--start` from the same checkpoint.

    python -m aam_edge.training.average runs/a/last.pt runs/b/last.pt --out runs/mean.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor


def average_weights(checkpoints: list[Path]) -> dict[str, Tensor]:
    """Each tensor's mean over the runs' own averages."""
    runs = [torch.load(path, weights_only=True)["average"] for path in checkpoints]
    return {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}


def main() -> None:
    """Reads the options and writes the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    epochs = max(torch.load(p, weights_only=True)["epoch"] for p in options.checkpoints)
    weights = average_weights(options.checkpoints)
    torch.save({"average": weights, "epoch": epochs}, options.out)


if __name__ == "__main__":
    main()
