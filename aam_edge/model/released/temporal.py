"""What the public code calls Fokker-Planck dynamics: one block over the frames of a window.

A density u over the places of each frame is read from the features, mixed along time at each place
(drift), smoothed along time (diffusion), pulled back to what was read (correction), and multiplied
into the features; an attention block over time does the rest. Nothing outlives the window, every
frame sees those after it, and u moves nothing in space: `native/fpd.py` is the filter that does.
With u summing to 1 over some hundred places, its part in the features is below a thousandth.

Written with B windows of T frames of N = h w places and C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.released.dinov3 import Mlp

HEADS = 8
TABLE = 64
"""Frames of the learned table of times; other lengths are interpolated from it."""
TEMPERATURE = 2.0
COUPLING = 0.5
"""Largest factor of the density in the features."""
TINY = 1e-6


class Frames(NamedTuple):
    """Which slots of a ring are which frames; a frame's slot is its number modulo the length."""

    age_rank: Tensor
    """(W,), int64: 0 for the slot of the oldest frame, then 1, ..."""
    known: Tensor
    """(), int64, frames in the ring."""
    wanted: Tensor
    """(), int64, rank of the frame that is asked for."""


class TimeAttention(nn.Module):
    """The projections of attention over time; its softmax is shared with the drift.

    Queries are apart from keys and values, since a stream asks for one frame and looks at all.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def attend(
        self, queries: Tensor, frames: Tensor, is_seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, N, R, C) look at frames (B, N, T, C), at those where is_seen (T,).

        Returns:
            (B, N, R, C), and the mean weight over heads, (B, N, R, T), without gradient.
        """
        k, v = self.key_value(frames).chunk(2, dim=-1)
        q, k, v = (
            x.unflatten(-1, (HEADS, -1)).transpose(2, 3) for x in (self.query(queries), k, v)
        )
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 / TEMPERATURE)
        if is_seen is not None:
            scores = scores.masked_fill(~is_seen, -torch.inf)
        weights = scores.softmax(-1)  # (B, N, heads, R, T)
        mixed: Tensor = self.proj((weights @ v).transpose(2, 3).flatten(3))
        return mixed, weights.mean(2).detach()


class TemporalBlock(nn.Module):
    """Features of a window's frames to features of the same shape.

    `forward` gives all frames of a clip, `at` a single one of a ring, with no more work than that
    one needs.
    """

    def __init__(
        self, channels: int, *, table: int = TABLE, drifts: bool = True, attends: bool = True
    ):
        """The public code's switches, both on in the published network.

        Args:
            channels: C, a multiple of 8.
            table: frames of the learned table of times.
            drifts: off takes the density out altogether, not only its drift.
            attends: off takes out attention and MLP of the features.
        """
        super().__init__()
        self._drifts, self._attends = drifts, attends
        self.time_embedding = nn.Parameter(torch.empty(1, table, channels))
        nn.init.trunc_normal_(self.time_embedding, std=0.02)
        self.temporal_norm = nn.LayerNorm(channels)
        self.temporal_attn = TimeAttention(channels)
        self.temporal_dense = nn.Linear(channels, channels)
        self.temporal_attention_scale = nn.Parameter(torch.full((1,), 1e-3))
        self.temporal_ffn_norm = nn.LayerNorm(channels)
        self.temporal_ffn = Mlp(channels, 4 * channels)
        self.temporal_ffn_scale = nn.Parameter(torch.full((1,), 1e-3))
        self.spatial_mixer = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
        )
        self.sal_obs_head = nn.Linear(channels, 1)
        self.nu_head = nn.Linear(channels, 1)
        self.lam_head = nn.Linear(channels, 1)
        self.fp_alpha_logit = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, C, T, h, w) to the same shape, and densities (B, T, 1, h, w)."""
        frames, places = x.shape[2], x.shape[3:]
        tokens = x.flatten(3).permute(0, 3, 2, 1) + self.times(frames)  # (B, N, T, C)
        normed = self.temporal_norm(tokens)
        attended, mean_weights = self.temporal_attn.attend(normed, normed)
        observed = self.observe(tokens)
        u = drift(observed, mean_weights)
        if frames >= 3:
            past, here, next_ = u[..., :-2], u[..., 1:-1], u[..., 2:]
            spread = self._viscosity(normed)[..., 1:-1] * (past - 2 * here + next_)
            u = torch.cat([u[..., :1], here + spread, u[..., -1:]], dim=-1)
        u = u + self._gain(normed) * (observed - u)
        # The first sum of the public code runs over all clips of a batch, the second over each.
        u = u.clamp_min(0)
        u = u / (u.sum((0, 1)) + TINY)
        u = u / (u.sum(1, keepdim=True) + TINY)
        y = self._finish(tokens, attended, u, places)  # (B, T, C, h, w)
        return y.transpose(1, 2), u.transpose(1, 2).unflatten(2, (1, *places))

    def at(self, ring: Tensor, frames: Frames, times: Tensor) -> Tensor:
        """One frame of a window, as `forward` over the window's frames gives it for B = 1.

        Args:
            ring: (B, W, C, h, w), frames in their slots.
            frames: which slot is which.
            times: (W, W, C), `window_times` of this block.

        Returns:
            (B, C, h, w).
        """
        is_seen = frames.age_rank < frames.known
        table = times.index_select(0, frames.known[None] - 1)[0]
        added = table.index_select(0, frames.age_rank)  # (W, C)
        tokens = ring.flatten(3).permute(0, 3, 1, 2) + added  # (B, N, W, C)
        normed = self.temporal_norm(tokens)
        # The frame, and the two beside it that diffusion takes from.
        size = ring.shape[1]
        oldest = frames.age_rank.argmin()
        beside = torch.arange(-1, 2, device=ring.device)
        slots = (oldest + frames.wanted + beside) % size
        near, here = normed.index_select(2, slots), slots[1:2]
        attended, mean_weights = self.temporal_attn.attend(near, normed, is_seen)
        observed = self.observe(tokens)
        past, u, next_ = drift(observed, mean_weights).unbind(-1)
        is_inner = (frames.wanted > 0) & (frames.wanted < frames.known - 1)
        mine, seen = near[:, :, 1], observed.index_select(2, here)[:, :, 0]
        u = u + is_inner * self._viscosity(mine) * (past - 2 * u + next_)
        u = (u + self._gain(mine) * (seen - u)).clamp_min(0)
        for _ in range(2):
            u = u / (u.sum(1, keepdim=True) + TINY)
        y = self._finish(
            tokens.index_select(2, here), attended[:, :, 1:2], u[..., None], ring.shape[3:]
        )
        return y[:, 0]

    def times(self, frames: int) -> Tensor:
        """(T, C), the table resampled to a window of T frames."""
        table = self.time_embedding
        if frames == table.shape[1]:
            return table[0]
        return F.interpolate(table.transpose(1, 2), size=frames, mode="linear")[0].T

    def window_times(self, window: int) -> Tensor:
        """(W, W, C): the tables of 1 to W frames, the rest of each filled with 0."""
        rows = [F.pad(self.times(n), (0, 0, 0, window - n)) for n in range(1, window + 1)]
        return torch.stack(rows)

    def observe(self, tokens: Tensor) -> Tensor:
        """(B, N, T), sums to 1 over places: the density as the features of each frame have it."""
        return self.observed_logits(tokens).softmax(1)

    def observed_logits(self, tokens: Tensor) -> Tensor:
        """(B, N, T) of tokens (B, N, T, C)."""
        logits: Tensor = self.sal_obs_head(tokens)[..., 0]
        return logits

    def _viscosity(self, normed: Tensor) -> Tensor:
        viscosity: Tensor = F.softplus(self.nu_head(normed)[..., 0])
        return viscosity

    def _gain(self, normed: Tensor) -> Tensor:
        gain: Tensor = self.lam_head(normed)[..., 0].sigmoid()
        return gain

    def _finish(self, tokens: Tensor, attended: Tensor, u: Tensor, places: torch.Size) -> Tensor:
        """Couples the density into tokens (B, N, T, C) and mixes them: (B, T, C, h, w)."""
        y: Tensor = tokens
        if self._drifts:
            coupling = COUPLING * self.fp_alpha_logit.sigmoid()
            y = y + (coupling * u[..., None]).to(y.dtype) * y
        if self._attends:
            y = y + self.temporal_attention_scale * self.temporal_dense(attended)
            y = y + self.temporal_ffn_scale * self.temporal_ffn(self.temporal_ffn_norm(y))
        y = y.permute(0, 2, 3, 1).unflatten(3, places)  # (B, T, C, h, w)
        mixed = F.gelu(self.spatial_mixer(y.flatten(0, 1)))
        out: Tensor = y + mixed.unflatten(0, y.shape[:2])
        return out


def drift(observed: Tensor, weights: Tensor) -> Tensor:
    """(B, N, R): each place's values of all frames (B, N, T) mixed by attention (B, N, R, T)."""
    return (weights * observed[:, :, None]).sum(-1)
