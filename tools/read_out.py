"""A read-out on frozen features: where people look, freely or instructed.

The teacher of `tools/teach_views`. A classifier and a detector at two to four times nano's pixels
see more than nano does, and frozen they cannot forget it; 0.2 M weights read from their strides 8,
16 and 32.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aam_edge.training.losses import gaze_loss
from aam_edge.training.prompts import TASKS

WAYS = ("free viewing", *TASKS, "search")
"""What a read-out tells apart; all searches in rooms are one."""
WIDTH = 48
PRIOR = 12
"""Cells of the learned prior along each side."""
BATCH = 16
RATE, LOWEST = 2e-3, 0.02
WARM_UP = 100
DECAY = 0.998
"""Of the running average, a step."""


@dataclass(slots=True, eq=False)
class Seen:
    """One view of a photo."""

    taps: tuple[Tensor, ...]
    """(c, h, w) each, half precision, at strides 8, 16, 32."""
    wanted: list[tuple[int, NDArray[np.float16]]]
    """Number in WAYS, and a density in thousandths at stride 4."""


class ReadOut(nn.Module):
    """Taps and the number of a way of viewing to a log-density at stride 4."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.norm = nn.ModuleList(nn.GroupNorm(1, c) for c in channels)
        self.project = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in channels)
        self.scene = nn.Linear(channels[-1], WIDTH)
        self.mix = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in channels)
        self.ask = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.film = nn.ModuleList(nn.Embedding(len(WAYS), 2 * WIDTH) for _ in range(2))
        for layer in self.film:
            nn.init.zeros_(layer.weight)
        self.head = nn.Conv2d(WIDTH, 1, 1)
        self.prior = nn.Parameter(torch.zeros(len(WAYS), 1, PRIOR, PRIOR))

    def forward(self, taps: Sequence[Tensor], ways: Tensor) -> Tensor:
        """(B, c, h, w) each and (B,) to (B, 1, 2 h, 2 w)."""
        drop = self.training
        normed = [F.dropout2d(n(t), 0.15, drop) for n, t in zip(self.norm, taps, strict=True)]
        fine, middle, x = (p(t) for p, t in zip(self.project, normed, strict=True))
        mean = F.dropout(normed[-1].mean((2, 3)), 0.2, drop)
        x = F.relu(x + self.scene(mean)[:, :, None, None])
        x = F.relu(x + self.mix[2](x))
        x = F.relu(middle + _like(x, middle))
        x = F.relu(x + self.mix[1](x))
        x = F.relu(fine + _like(x, fine))
        x = F.dropout2d(F.relu(x + self._asked(0, self.mix[0](x), ways)), 0.1, drop)
        x = F.relu(x + self._asked(1, self.ask(x), ways))
        y = F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear")
        y = y + _like(self.prior[ways], y)
        log_density: Tensor = y.flatten(1).log_softmax(1).view_as(y)
        return log_density

    def _asked(self, layer: int, x: Tensor, ways: Tensor) -> Tensor:
        gain, shift = self.film[layer](ways)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = x * (1 + gain) + shift
        return out


def _like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[2:], mode="bilinear")


def fit(groups: Sequence[Sequence[Seen]], steps: int, seed: int) -> ReadOut:
    """Trains a read-out and returns its running average.

    Args:
        groups: views, those of one shape together.
        steps: batches of BATCH.
        seed: decides weights and order.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    groups = [group for group in groups if group]
    rows = [[(seen, k) for seen in group for k in range(len(seen.wanted))] for group in groups]
    shares = np.array([len(r) for r in rows]) / sum(len(r) for r in rows)
    net = ReadOut([tap.shape[0] for tap in groups[0][0].taps])
    means = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    for step in range(steps):
        rate = LOWEST + (1 - LOWEST) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = RATE * rate * min(1, (step + 1) / WARM_UP)
        group = rows[rng.choice(len(rows), p=shares)]
        loss = _loss(net, [group[i] for i in rng.integers(len(group), size=BATCH)])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        decay = min(DECAY, (1 + step) / (10 + step))
        for mean, now in zip(means, net.parameters(), strict=True):
            mean.lerp_(now.detach(), 1 - decay)
        if step % 200 == 199:
            lost = float(loss.detach())
            sys.stderr.write(f"read-out: step {step + 1} of {steps}, loss {lost:.3f}\n")
    with torch.no_grad():
        for now, mean in zip(net.parameters(), means, strict=True):
            now.copy_(mean)
    return net.eval()


def _loss(net: ReadOut, rows: Sequence[tuple[Seen, int]]) -> Tensor:
    taps = [torch.stack(tap).float() for tap in zip(*(seen.taps for seen, _ in rows), strict=True)]
    ways = torch.tensor([seen.wanted[k][0] for seen, k in rows])
    wanted = torch.from_numpy(np.stack([seen.wanted[k][1] for seen, k in rows]).astype(np.float32))
    wanted = wanted / wanted.sum((1, 2), keepdim=True)
    loss: Tensor = gaze_loss(net(taps, ways), wanted[:, None]).mean()
    return loss
