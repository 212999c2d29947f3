"""Imported encoders to networks that run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from aam_edge.model.released.files import read_weights
from aam_edge.model.released.fit import check_fit
from aam_edge.model.released.stored import Stored

Network = TypeVar("Network", bound=nn.Module)


def load_encoder(network: Callable[[], Network], stored: Stored) -> Network:
    """CLIP's tower or Wav2CLIP with imported weights, in single precision, for evaluation.

    Raises:
        ModelError: damaged, or of another shape.
    """
    stored.check()
    tensors = read_weights(stored.path).tensors
    with torch.device("meta"):
        made = network()
    check_fit(tensors, made.state_dict(), stored.path)
    counts = {n: torch.zeros((), dtype=torch.int64) for n in made.state_dict() if n not in tensors}
    wide = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    made.load_state_dict(wide | counts, assign=True)
    return made.eval().requires_grad_(False)
