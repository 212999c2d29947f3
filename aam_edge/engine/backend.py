"""What a runtime must do to run the network: load once, bind a stream's buffers, run a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from aam_edge.engine.buffers import Buffers

Runner = Callable[[int], None]
"""Runs one step that reads state `turn` and writes the other."""


class Backend(Protocol):
    """A network loaded into a runtime. One thread runs it; another may bind meanwhile."""

    name: str
    precision: str
    """f32, bf16, f16 or int8: what the network computes in."""
    device: str
    """cpu, or a GPU's name."""
    binds_slowly: bool
    """Whether `bind` takes so long that a stream should not wait. Never where binding records
    a CUDA graph: no other thread may use the GPU meanwhile."""
    prompt_channels: int
    """Numbers of a prompt."""

    def bind(self, buffers: Buffers) -> Runner:
        """Ties a stream's buffers to the network; cheap enough to do again when prompts change."""


@runtime_checkable
class LookingBackend(Backend, Protocol):
    """A backend that can look closer at a part of the picture (`Buffers.part`)."""

    def bind_look(self, buffers: Buffers) -> Runner:
        """Ties the same buffers to the second look; raises ModelError if the network has none."""
