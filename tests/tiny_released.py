"""The public network in the tiny size of the reference tensors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from aam_edge.model.released.lora import LoraShape
from aam_edge.model.released.network import TINY_SHAPE, ReleasedNetwork

TINY_LORA = LoraShape(4, 6, 3)


def random_released(seed: int = 0) -> ReleasedNetwork:
    """A network of which every weight matters."""
    torch.manual_seed(seed)
    network = ReleasedNetwork(TINY_SHAPE).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network
