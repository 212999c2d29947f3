"""The mean of several runs' weights, as a checkpoint: often better than each of them.

After M. Wortsman et al., "Model soups" (ICML 2022). The runs must come from one start: the same
seed, or `--start` from the same checkpoint. A packaged network can be one of them:

    python -m aam_edge.training.average runs/a/last.pt runs/b/last.pt --out runs/mean.pt
    python -m aam_edge.training.average runs/a/last.pt nano --weights 0.7 0.3 \
        --parts decoder.film decoder.head --out runs/mean.pt

`--times` makes a linear layer count for more or less, such as how much the nearness of a cell to
what is searched for adds to the evidence: `--times 1.5 decoder.search_gain`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from aam_edge.errors import UsageError, exit_code_of
from aam_edge.training.run import checkpoint
from aam_edge.training.run.networks import read_weights


def average_weights(
    runs: Sequence[str | Path], weights: Sequence[float] | None = None, parts: Sequence[str] = ("",)
) -> dict[str, Tensor]:
    """Each tensor's mean over the runs' own averages.

    Args:
        runs: checkpoints (.pt), weights files or packaged networks.
        weights: of each run, of sum 1; equal if not given.
        parts: what is averaged, as the tensors' names begin; the rest is the first run's.

    Raises:
        UsageError: weights do not belong to the runs.
        ModelError: a run cannot be read, or is of another network than the first.
    """
    shares = torch.tensor(weights or [1 / len(runs)] * len(runs))
    if len(shares) != len(runs) or not math.isclose(float(shares.sum()), 1, abs_tol=1e-4):
        value = " ".join(f"{share:g}" for share in shares.tolist())
        raise UsageError("weights do not fit the runs", value, f"give {len(runs)}, of sum 1")
    read = [read_weights(str(run)) for run in runs]
    first, todo = read[0], "give runs that began with the same weights"
    for run, name in zip(read, runs, strict=True):
        checkpoint.fitted(run, first, Path(name), todo)
    return {
        name: torch.einsum("r,r...->...", shares, torch.stack([run[name].float() for run in read]))
        if name.startswith(tuple(parts))
        else tensor
        for name, tensor in first.items()
    }


def times(weights: dict[str, Tensor], factor: float, part: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a part, times a factor.

    Raises:
        UsageError: no name begins so, or the factor is not finite.
    """
    if not math.isfinite(factor):
        raise UsageError("factor is no number", f"{factor:g}", "give one, such as 1.5")
    if not any(name.startswith(part) for name in weights):
        raise UsageError("no tensor's name begins so", part, "give one such as decoder.search_gain")
    return {n: factor * t if n.startswith(part) else t for n, t in weights.items()}


def main() -> None:
    """Reads the options and writes the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="checkpoints, or packaged networks")
    parser.add_argument("--weights", type=float, nargs="+", help="of each; equal if not given")
    parts = "begins of the names of what is averaged; all if not given"
    parser.add_argument("--parts", nargs="+", default=[""], help=parts)
    scaled = "a number, and the begin of the names of what is multiplied by it"
    parser.add_argument("--times", nargs=2, metavar=("FACTOR", "PART"), help=scaled)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    weights = average_weights(options.runs, options.weights, options.parts)
    if options.times:
        weights = times(weights, _number(options.times[0]), options.times[1])
    files = [Path(run) for run in options.runs if run.endswith(".pt")]
    epochs = max((checkpoint.read(file).get("epoch", 0) for file in files), default=0)
    checkpoint.write(options.out, {"average": weights, "epoch": epochs})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("factor is no number", text, "give one, such as 1.5") from None


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
