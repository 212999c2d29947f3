"""What every output looks like to the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from aam_edge.crops import Crops
from aam_edge.messages import Attention, Frame, Health


class Sink(Protocol):
    """An output. Its constructor opens it and raises SinkError; none of the calls below blocks."""

    name: str

    @property
    def dropped(self) -> int:
        """Messages thrown away because somebody was slow."""

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """A frame and its maps, one a prompt, already numbered and stamped."""

    def offer_health(self, health: Health) -> None:
        """Once a second."""

    def state(self) -> str:
        """`ok`, or what is wrong."""

    def close(self) -> None:
        """Lets go of everything within a second; twice is fine."""


@runtime_checkable
class CropSink(Protocol):
    """An output that hands on crops too."""

    def offer_crops(self, crops: Crops) -> None:
        """The crops of one frame, already numbered and stamped."""
