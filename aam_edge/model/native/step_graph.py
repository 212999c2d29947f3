"""The native network's step as engines run it: tensors in, tensors out, nothing kept inside."""

from __future__ import annotations

from torch import Tensor, nn

from aam_edge.model.native.network import Moment, NativeNetwork, State
from aam_edge.model.native.second_look import Part

WHOLE_PARTS = (
    "hearing",
    "fpd",
    "decoder.scene",
    "decoder.to_cells",
    "decoder.taps_to_cells",
    "decoder.to_whole",
    "decoder.to_point",
    "decoder.film_middle.to_gain_shift",
    "decoder.film_fine.to_gain_shift",
    "decoder.head",
    "decoder.search_gain",
    "decoder.searching",
    "decoder.prior",
)
"""Stay in single precision: the filter, hearing, all that makes points of hyperbolic space, and
what the log-density is read from."""


class StepGraph(nn.Module):
    """`step` with moment and state spread out, as a graph's inputs and outputs are.

    With `taps`, so many tensors come first that another engine has computed with the body.
    """

    def __init__(self, network: NativeNetwork, taps: int = 0):
        super().__init__()
        self.network = network
        self._taps = taps

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        taps = list(given[: self._taps]) or None
        given = given[self._taps :]
        inputs = len(Moment._fields)
        *outputs, after = self.network.step(Moment(*given[:inputs]), State(*given[inputs:]), taps)
        return *outputs, *after


class LookGraph(nn.Module):
    """`look` with part, moment and state spread out."""

    def __init__(self, network: NativeNetwork):
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        parts, moments = len(Part._fields), len(Moment._fields)
        part, moment = Part(*given[:parts]), Moment(*given[parts : parts + moments])
        *outputs, after = self.network.look(moment, part, State(*given[parts + moments :]))
        return *outputs, *after


class BodyGraph(nn.Module):
    """The visual encoder alone: (B, 3, H, W), BGR, float, 0..255 to its taps."""

    def __init__(self, network: NativeNetwork):
        super().__init__()
        self.body = network.body

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(picture))
