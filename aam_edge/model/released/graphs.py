"""The public network's step in two pure graphs, with the rings between them.

    levels = LookGraph(picture)            the backbone and its projections, nearly all of the work
    rings <- levels                        in place, by whoever runs the step
    logits = ReadGraph(text, rings)        what a map needs of them

So neither a compiler nor TensorRT meets state that changes under it.
"""

from __future__ import annotations

from torch import Tensor, nn

from aam_edge.model.released.network import Head, ReleasedNetwork
from aam_edge.model.released.stream import ReleasedStream, RingState, state_of

RING_NAMES = (*(f"level{i}" for i in range(4)), "sound", "heard", "count")
"""Of `RingState.tensors`, in their order."""


def whole_parts(head: Head) -> tuple[str, ...]:
    """Parts that stay in single precision: all of the head that is no projection of taps."""
    return tuple(f"head.{name}" for name, _ in head.named_children() if name != "projects")


class LookGraph(nn.Module):
    """Pictures (B, 3, H, W), RGB, normalised, to the four projected levels."""

    def __init__(self, network: ReleasedNetwork):
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        return self.network.look(picture)


class ReadGraph(nn.Module):
    """Texts (B, N, 768) and rings with the newest frame in them to logits (B, N, 8 h, 8 w)."""

    def __init__(self, stream: ReleasedStream):
        super().__init__()
        self.stream = stream

    def forward(self, text: Tensor, *rings: Tensor) -> Tensor:
        state: RingState = state_of(dict(zip(RING_NAMES, rings, strict=True)))
        levels, _ = self.stream.recall(state)
        return self.stream.decode(levels, text)
