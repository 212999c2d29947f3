"""The native filter on top of the public network's maps, so that a density outlives its window.

The public blocks over time forget all that leaves the window, and move nothing in space. Here each
map is an observation o of the Fokker-Planck filter of `model/native/fpd.py`: the density so far is
carried along the picture's motion, spread, and corrected towards o with a gain of P / (P + R). The
network tells no R; one number stands for it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aam_edge.model.native import fpd
from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.flow import luminance

MAP_VARIANCE = 0.25
"""R of the log-density of every cell of a map: an error of half an e-fold."""


class Filtered(NamedTuple):
    """What the filter gives."""

    density: Tensor
    """(1, N, h, w), sums to 1."""
    variance: Tensor
    """(1, N, h, w), of the error of its logarithm."""
    is_cut: bool


class MapFilter:
    """One camera's filter, for N prompts on maps of (h, w); sides multiples of 4."""

    def __init__(self, prompts: int, height: int, width: int, variance: float = MAP_VARIANCE):
        self._fpd = fpd.Fpd()
        self._shape, self._log_variance = (prompts, height, width), math.log(variance)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.state = fpd.initial_state(1, *self._shape)

    @torch.no_grad()
    def update(self, picture: Tensor, density: Tensor, dt_s: float, ego: Tensor | None) -> Filtered:
        """One frame.

        Args:
            picture: (1, 3, 4 h, 4 w), BGR, 0..255.
            density: (1, N, h, w), of the network, sums to 1.
            dt_s: since the last frame; 0 for the first.
            ego: (1, 3, 3), the camera's own motion; None for none.
        """
        step = torch.tensor([dt_s])
        motion = identity_ego(1) if ego is None else ego
        predicted, is_cut = self._fpd.predict(self.state, luminance(picture), step, motion)
        log_variance = torch.full_like(density, self._log_variance)
        beta = torch.ones(1, self._shape[0])
        self.state = self._fpd.correct(predicted, density.log(), log_variance, beta)
        return Filtered(self.state.log_density.exp(), self.state.variance, bool(is_cut))
