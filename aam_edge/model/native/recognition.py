"""Whether the picture shows what is asked for, read from the body's taps beside the geometry.

A cell near the prompt in hyperbolic space tells where a thing is; that a picture holds it at all is
told by more: what kind of place it is, and how often such a thing is seen. With k the keys of
stride 16 cells, g the picture's gist, e the prompt, M and d of `decoder`,

    log-odds = (a + A e) . (M, d, 1) + S_p(q(e) . k_p) + r(e) . g,    S = 1/t log mean_p exp(t x)

S lies between the mean and the maximum over cells (multiple instance learning: nobody says which
cell shows the thing); t is learned. It is 0 until it is trained, so weights without it are whole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 64
"""Of keys and gist."""


class Recognition(nn.Module):
    """`look` once a picture, then `forward` for its prompts."""

    def __init__(self, tap_channels: tuple[int, ...], prompt_channels: int):
        super().__init__()
        middle, coarse = tap_channels[-2:]
        self.to_keys = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in (middle, coarse))
        self.to_gist = nn.Linear(coarse, CHANNELS)
        self.ask_keys = nn.Linear(prompt_channels, CHANNELS)
        self.ask_gist = nn.Linear(prompt_channels, CHANNELS)
        self.line = nn.Linear(prompt_channels, 3, bias=False)
        """A."""
        self.sharpness = nn.Parameter(torch.tensor(1.0))
        """t before softplus."""
        for layer in (self.ask_keys, self.ask_gist, self.line):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.ask_keys.bias)
        nn.init.zeros_(self.ask_gist.bias)
        self.register_load_state_dict_pre_hook(_fill)  # type: ignore[no-untyped-call]

    def look(self, taps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys (B, CHANNELS, h/4, w/4) and gist (B, CHANNELS) of pictures."""
        middle, coarse = (to(tap) for to, tap in zip(self.to_keys, taps[-2:], strict=True))
        keys = middle + F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return keys, self.to_gist(taps[-1].mean(dim=(2, 3)))

    def forward(self, keys: Tensor, gist: Tensor, told: Tensor, prompts: Tensor) -> Tensor:
        """What it adds to the log-odds of presence.

        Args:
            keys, gist: of `look`.
            told: (B, M, 2), what the geometry tells: M and d.
            prompts: (B, M, channels), or (1, M, channels) where all pictures are asked the same.

        Returns:
            (B, M).
        """
        scale = CHANNELS**-0.5
        of_cells = scale * (self.ask_keys(prompts) @ keys.flatten(2))  # (B, M, cells)
        of_whole = scale * (self.ask_gist(prompts) @ gist[:, :, None]).squeeze(2)
        gains, shift = self.line(prompts).split([2, 1], dim=2)
        of_geometry = (gains * told).sum(2) + shift.squeeze(2)
        sharpness = F.softplus(self.sharpness)
        found = log_mean_exp(sharpness * of_cells.float()) / sharpness
        log_odds: Tensor = found + of_geometry.float() + of_whole.float()
        return log_odds


def log_mean_exp(x: Tensor) -> Tensor:
    """log of the mean of exp over the last dimension; keeps the others."""
    highest = x.amax(-1, keepdim=True)
    mean: Tensor = (x - highest).exp().mean(-1).log() + highest.squeeze(-1)
    return mean


def _fill(module: nn.Module, tensors: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights of before there was this: they begin as they are here, which adds nothing."""
    own = {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}
    if not any(name in tensors for name in own):
        tensors.update(own)
