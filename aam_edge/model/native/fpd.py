"""Fokker-Planck dynamics with a correction: the density that lives across frames (DESIGN 5).

    du/dt = -div(v u) + D lap u + lambda u (beta log o - log u - mean)

solved frame by frame with the frame's own dt. Predict: carry u along the drift v, diffuse it by the
exact heat semigroup with closed border, let its error grow. Correct: with gain K = P / (P + R) the
log-density moves to the observation's. Letters: u density, P variance of log u's error, o
observation, R its variance, v drift, D diffusivity (cells^2/s), K gain. Maps are (B, N, h, w) for B
cameras and N prompts at 1/4 of the input; a cell is one of its pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.native import flow

FLOOR = 1e-6
"""Least density of a cell before normalisation."""
LARGEST_VARIANCE = 1e4
"""P of a density nobody has seen yet: K is near 1 whatever R."""
DRIFT_GRID = 4
"""Cells of the map along one cell of the stored drift."""


class State(NamedTuple):
    """All that lives across frames, for B cameras and N prompts."""

    log_density: Tensor
    """(B, N, h, w), log u; u sums to 1."""
    variance: Tensor
    """(B, N, h, w), P."""
    luminance: Tensor
    """(B, 1, h, w), the last frame's, 0..1."""
    drift: Tensor
    """(B, 2, h/4, w/4), v, cells per second, x then y."""


def initial_state(cameras: int, prompts: int, height: int, width: int) -> State:
    """Looks nowhere and knows nothing; height and width are the map's."""
    maps = (cameras, prompts, height, width)
    return State(
        log_density=torch.full(maps, -math.log(height * width)),
        variance=torch.full(maps, LARGEST_VARIANCE),
        luminance=torch.zeros(cameras, 1, height, width),
        drift=torch.zeros(cameras, 2, height // DRIFT_GRID, width // DRIFT_GRID),
    )


def cosine_basis(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal cosines of a closed border and the grid's own rates.

    Returns C (n, n), frequency by cell, with C C^T = 1, and 2 - 2 cos(pi k / n), (n,). The rates of
    the continuum, (pi k / n)^2, would make a point mass negative at small dt.
    """
    k = torch.arange(n, device=like.device, dtype=like.dtype)
    angle = math.pi / n * k
    basis = torch.cos(angle[:, None] * (k + 0.5)) * (2 / n) ** 0.5
    first = torch.where(k == 0, 0.5**0.5, 1.0)[:, None]
    return basis * first, 2 - 2 * torch.cos(angle)


def diffuse(density: Tensor, amount: Tensor) -> Tensor:
    """Spreads densities by heat flow with a closed border, exactly, for any amount >= 0.

    Args:
        density: (B, N, h, w), >= 0.
        amount: D dt in cells^2, (B, 1, 1, 1).

    Returns:
        (B, N, h, w), >= 0 up to rounding, same sums.
    """
    height, width = density.shape[2:]
    rows, row_rates = cosine_basis(height, density)
    columns, column_rates = cosine_basis(width, density)
    # One (h, h) and one (w, w) matrix a step: the semigroup of each axis.
    along_y = rows.T @ (torch.exp(-amount * row_rates[:, None]) * rows)  # (B, 1, h, h)
    along_x = columns.T @ (torch.exp(-amount * column_rates[:, None]) * columns)
    return along_y @ density @ along_x  # both are symmetric


def normalise(log_density: Tensor) -> Tensor:
    """Log-densities (B, N, h, w) that sum to 1 over the map."""
    return log_density - log_density.logsumexp(dim=(2, 3), keepdim=True)


class Fpd(nn.Module):
    """The filter. Its numbers were set with tools/ablate_filter, see docs/model.md."""

    def __init__(self) -> None:
        super().__init__()
        numbers = {
            "diffusivity": 1.0,  # cells^2/s
            "ignorance": 6.0,  # Q, growth of P a second
            "surprise": 12.0,  # growth of P where the picture changed and did not move
            "memory_s": 0.3,  # time constant of a drift that is not seen again
            "cut_at": 0.25,  # part of the picture's variance left unexplained that makes a cut
        }
        for name, value in numbers.items():
            self.register_buffer(name, torch.tensor(value))
        self.diffusivity: Tensor
        self.ignorance: Tensor
        self.surprise: Tensor
        self.memory_s: Tensor
        self.cut_at: Tensor

    def predict(self, state: State, luminance: Tensor, dt_s: Tensor) -> tuple[State, Tensor]:
        """Carries the state to the time of a new frame.

        Args:
            state: at the last frame.
            luminance: (B, 1, h, w) of the new frame, 0..1.
            dt_s: (B,), seconds since the last frame; 0 for none before.

        Returns:
            The state before correction, and (B,) bool: a scene cut.
        """
        dt = dt_s.view(-1, 1, 1, 1)
        seen, confidence = flow.estimate(state.luminance, luminance)
        change = flow.change_left(state.luminance, luminance, seen)
        cut = (change.mean(dim=(1, 2, 3)) > self.cut_at) & (dt_s > 0)
        fresh = ((dt_s > 0) & ~cut).to(dt.dtype).view(-1, 1, 1, 1)  # 0: nothing to go on from

        expected = F.interpolate(state.drift, scale_factor=float(DRIFT_GRID), mode="bilinear")
        expected = expected * self.memory_s * (1 - torch.exp(-dt / self.memory_s))  # cells over dt
        moved = (expected + confidence * (seen - expected)) * fresh  # (B, 2, h, w)
        drift = F.avg_pool2d(moved, DRIFT_GRID) / dt.clamp_min(1e-3)

        prompts = state.log_density.shape[1]
        maps = torch.cat([state.log_density.exp(), state.variance], dim=1)
        density, variance = flow.warp(maps, moved).split([prompts, prompts], dim=1)
        density = diffuse(density, self.diffusivity * dt).clamp_min(0) + FLOOR
        growth = self.ignorance * dt + self.surprise * flow.box(change, 5)
        variance = (variance + growth + LARGEST_VARIANCE * (1 - fresh)).clamp_max(LARGEST_VARIANCE)
        return State(normalise(density.log()), variance, luminance, drift), cut

    def correct(self, state: State, log_evidence: Tensor, log_variance: Tensor) -> State:
        """Moves the log-density to the observation's: log u <- (1 - K) log u + K log o.

        Args:
            state: as predicted.
            log_evidence: log o, (B, N, h, w), normalised.
            log_variance: log R, (B, N, h, w).
        """
        observed = log_variance.exp()
        gain = state.variance / (state.variance + observed)
        log_evidence = (log_evidence.exp() + FLOOR).log()
        log_density = state.log_density + gain * (log_evidence - state.log_density)
        # (1 - K) P, written so that it stays exact in half precision when K is near 1.
        variance = gain * observed
        return state._replace(log_density=normalise(log_density), variance=variance)
