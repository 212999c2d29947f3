"""What other networks say of photos: a teacher's views, a classifier's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.batch import Embed
from aam_edge.training.sample import Sample
from aam_edge.training.tables import read_arrays


def teach(samples: list[Sample], views: Path, weight: float = 0.5) -> None:
    """Lets trained networks say where people would look.

    Args:
        samples: photos.
        views: an .npz with `free`, (n, 48, 64) uint8 maps in the order of the samples, full scale
            per map. If it has `instructions` (k,), their maps are `instructed` (n, k, 48, 64).
            Taken where they are not all 0. People's own of the same prompt are mixed with them.
            If it has `searched`, as `free`, it is where people look in a search without success.
        weight: below 1, the weight of people's own.
    """
    table = read_arrays(views)
    texts = [str(text) for text in table.get("instructions", ())]
    for i, sample in enumerate(samples):
        maps = [table["free"][i], *(table["instructed"][i] if texts else ())]
        told = [
            (text, whole)
            for text, whole in zip((FREE_VIEWING, *texts), maps, strict=True)
            if whole.any()
        ]
        if "searched" in table and table["searched"][i].any():
            sample.searched = table["searched"][i].astype(np.float32)
        for text, whole in told:
            sample.maps.append((text, whole.astype(np.float32) / whole.sum(), weight))


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
