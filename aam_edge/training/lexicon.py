"""A classifier's names as vectors, for samples that know its probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aam_edge.training.batch import Embed
from aam_edge.training.sample import Sample


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
