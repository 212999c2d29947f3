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
from aam_edge.model.native.ego import backwards, believed, cells, coverage, project

FLOOR = 1e-6
"""Least density of a cell before normalisation."""
LARGEST_VARIANCE = 1e4
"""P of a density nobody has seen yet: K is near 1 whatever R."""
PRIOR_VARIANCE = 8.0
"""P of a cell that was not in the picture, about the variance of log-densities over pictures. With
P without bound instead, one frame's flicker at the border outdid all that is known elsewhere."""
NO_NUMBER = 80.0
"""A logarithm from here on is none."""
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


class Motion(NamedTuple):
    """What happened between two frames."""

    before: Tensor
    """(B, 1, h, w), luminance of the last frame where the ego-motion has taken it, 0..1."""
    now: Tensor
    """(B, 1, h, w), luminance of this frame."""
    displacement: Tensor
    """(B, 2, h, w), from `before` to `now`, cells, and its"""
    confidence: Tensor
    """(B, 1, h, w), 0..1."""
    origin: Tensor
    """(B, 2, h, w), where in the last map each cell comes from, cells."""
    known: Tensor
    """(B, 1, h, w), 1 where `origin` lies in the picture, 0 outside."""
    covered: Tensor
    """(B, 1, h, w), the same for ego-motion alone: flow only guesses at the border."""
    change: Tensor
    """(B, 1, h, w), the part of the picture's variance that is not explained."""
    fresh: Tensor
    """(B, 1, 1, 1), 0 where there is nothing to go on from: a cut, or no frame before."""
    drift: Tensor
    """(B, 2, h/4, w/4), of the state to come."""


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
    # Row by row: ONNX Runtime adds one number after the other, and thousands of small equal ones
    # behind a large sum are all rounded the same way, which leaves 3e-5 of the mass.
    return log_density - log_density.logsumexp(3, keepdim=True).logsumexp(2, keepdim=True)


class Fpd(nn.Module):
    """The filter. Its numbers were set with tools/ablate_filter, see docs/model.md."""

    def __init__(self) -> None:
        super().__init__()
        numbers = {
            "diffusivity": 0.3,  # D, cells^2/s; bilinear transport spreads besides
            "ignorance": 1.0,  # Q, growth of P a second
            "surprise": 1800.0,  # S, growth of P a second^2 where the picture changed unexplained
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

    def predict(
        self, state: State, luminance: Tensor, dt_s: Tensor, ego: Tensor
    ) -> tuple[State, Tensor]:
        """Carries the state to the time of a new frame.

        Args:
            state: at the last frame.
            luminance: (B, 1, h, w) of the new frame, 0..1; what is no number counts as 0.5.
            dt_s: (B,), seconds since the last frame; 0 for none before.
            ego: (B, 3, 3), the camera's motion since the last frame (ego.py).

        Returns:
            The state before correction, and (B,) bool: a scene cut.
        """
        motion = self.compare(state, luminance, dt_s, ego)
        is_cut = ((motion.fresh < 1) & (dt_s.view(-1, 1, 1, 1) > 0)).flatten()
        return self.carry(state, motion, dt_s), is_cut

    def carry(self, state: State, motion: Motion, dt_s: Tensor) -> State:
        """The state where the motion has taken it, before correction."""
        dt = dt_s.view(-1, 1, 1, 1)
        prompts, (height, width) = state.log_density.shape[1], motion.now.shape[2:]
        maps = torch.cat([state.log_density.exp(), state.variance], dim=1)
        density, variance = flow.sample(maps, motion.origin).split([prompts, prompts], dim=1)

        # From outside the picture comes what is as likely as anywhere.
        density = motion.known * density + (1 - motion.known) / (height * width)
        density = diffuse(density, self.diffusivity * dt).clamp_min(0) + FLOOR

        # What changed and was not seen to move may be anywhere within reach, which grows with dt.
        lost = self.surprise * dt.clamp_max(1).square() * flow.box(motion.change, 5)
        growth = self.ignorance * dt + lost + LARGEST_VARIANCE * (1 - motion.fresh)
        variance = motion.covered * variance + PRIOR_VARIANCE * (1 - motion.covered) + growth
        variance = variance.clamp_max(LARGEST_VARIANCE)
        return State(normalise(density.log()), variance, motion.now, motion.drift)

    def compare(self, state: State, luminance: Tensor, dt_s: Tensor, ego: Tensor) -> Motion:
        """Ego-motion first, then the flow of what it leaves; arguments as of `predict`."""
        dt, ego = dt_s.view(-1, 1, 1, 1), believed(ego)
        luminance = torch.nan_to_num(luminance, 0.5).clamp(0, 1)
        height, width = luminance.shape[2:]
        here, back = cells(height, width, luminance), backwards(ego)
        source, depth = project(back, here)
        covered = coverage(source, depth)
        # Where nothing was seen before there is nothing to compare: no motion, no change.
        before = luminance + covered * (flow.sample(state.luminance, source) - luminance)
        seen, confidence = flow.estimate(before, luminance)
        change = flow.change_left(before, luminance, seen)
        is_other = change.mean((1, 2, 3)) > self.cut_at * covered.mean((1, 2, 3))
        fresh = ((dt > 0) & ~is_other.view(-1, 1, 1, 1)).to(dt.dtype)

        drift = F.interpolate(state.drift, scale_factor=float(DRIFT_GRID), mode="bilinear")
        lasting_s = self.memory_s * (1 - torch.exp(-dt / self.memory_s))
        # Through the homography with both ends, so that a rolled camera turns the drift too.
        there, _ = project(ego, source + lasting_s * flow.sample(drift, source))
        expected = covered * (there - here)
        moved = (expected + confidence * (seen - expected)) * fresh  # (B, 2, h, w), cells over dt
        drift = F.avg_pool2d(moved, DRIFT_GRID) / dt.clamp_min(1e-3)
        origin, depth = project(back, here - moved)
        return Motion(
            before=before,
            now=luminance,
            displacement=seen,
            confidence=confidence,
            origin=origin,
            known=coverage(origin, depth),
            covered=covered,
            change=change,
            fresh=fresh,
            drift=drift,
        )

    def correct(
        self, state: State, log_evidence: Tensor, log_variance: Tensor, beta: Tensor
    ) -> State:
        """Moves the log-density to the observation's: log u <- (1 - K) log u + K beta log o.

        A cell whose evidence or variance is no number, or infinite, keeps what it has.

        Args:
            state: as predicted.
            log_evidence: log o, (B, N, h, w), normalised; -inf is 0.
            log_variance: log R, (B, N, h, w).
            beta: (B, N), what evidence for one place adds up to, 1 for free viewing; a still
                scene becomes o^beta, normalised.
        """
        is_known = (log_evidence < NO_NUMBER) & (log_variance.abs() < NO_NUMBER)
        observed = torch.where(is_known, log_variance, 0).exp()
        gain = torch.where(is_known, state.variance / (state.variance + observed), 0)
        evidence = torch.where(is_known, log_evidence, state.log_density).clamp_min(-NO_NUMBER)
        powered = normalise(beta[:, :, None, None] * evidence)
        aim = (powered.exp() + FLOOR).log()
        log_density = state.log_density + gain * (aim - state.log_density)
        # (1 - K) P, written so that it stays exact in half precision when K is near 1.
        variance = torch.where(is_known, gain * observed, state.variance)
        return state._replace(log_density=normalise(log_density), variance=variance)
