"""Scales the log-odds of presence, so that they are right as chances: a temperature.

After C. Guo et al., "On calibration of modern neural networks" (ICML 2017). The weights that make
the log-odds are scaled, so the network is the same in all engines:

    python -m aam_edge.training.temper runs/mean.pt --by 0.76 --out runs/tempered.pt
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.errors import UsageError, exit_code_of
from aam_edge.training.run import checkpoint

LINEAR = ("presence", "recognition.line", "recognition.ask_gist", "recognition.ask_keys")
SHARPNESS = "decoder.recognition.sharpness"


def temper(weights: dict[str, Tensor], by: float) -> dict[str, Tensor]:
    """The weights of a network whose log-odds of presence are `by` times what they were.

    All parts of the log-odds are linear in LINEAR, but for the maximum over cells S of
    `model.native.recognition`: S(by x) with a sharpness of t / by is by S(x).

    Raises:
        UsageError: `by` is not above 0.
    """
    if not (by > 0 and math.isfinite(by)):
        raise UsageError("temperature is out of range", f"--by {by:g}", "give more than 0")
    names = tuple(f"decoder.{name}" for name in LINEAR)
    scaled = {n: by * t if n.startswith(names) else t for n, t in weights.items()}
    sharpness = F.softplus(weights[SHARPNESS]) / by
    scaled[SHARPNESS] = sharpness + torch.log(-torch.expm1(-sharpness))  # inverse of softplus
    return scaled


def main() -> None:
    """Reads the options and writes the scaled weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--by", type=float, required=True, help="1 leaves all as it is")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    whole = checkpoint.read(options.checkpoint)
    whole["average"] = temper(whole["average"], options.by)
    checkpoint.write(options.out, whole)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
