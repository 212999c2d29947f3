"""What other networks say of photos: a teacher's views, a classifier's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aam_edge.training.batch import Embed
from aam_edge.training.sample import Sample
from aam_edge.training.tables import read_arrays


def teach(samples: list[Sample], views: Path, weight: float = 0.5) -> None:
    """Lets a trained network say where people would look on photos that nobody looked at.

    `views` is an .npz with `free`, (n, 48, 64) uint8 maps in the order of the samples, full scale
    per map; `weight` below 1, the weight of people's own.
    """
    maps = read_arrays(views)["free"]
    for sample, whole in zip(samples, maps, strict=True):
        if not sample.has_people:
            sample.maps.append(("free viewing", whole.astype(np.float32) / whole.sum(), weight))


def read_lexicon(samples: list[Sample], words: Path | None, embed: Embed) -> Tensor:
    """The vectors of a classifier's names; names without a word leave the samples too."""
    if words is None:
        return torch.zeros(0, 128)
    names = [str(name) for name in read_arrays(words)["names"]]
    kept = [i for i, name in enumerate(names) if name]
    for sample in samples:
        if sample.words is not None:
            sample.words = sample.words[kept]
    return torch.from_numpy(np.stack([embed(names[i]) for i in kept]))
