"""The decoder of the native network: four taps and a prompt to the log-density of the observation.

A top-down pyramid: each tap is projected, the coarser level is added to the finer one, and a head
at stride 4 reads log o and its variance R. The prompt shifts and scales each level (FiLM, E. Perez
et al., AAAI 2018) and places the prior, a mixture of Gaussians over the picture, which for free
viewing is the centre bias.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROMPT_CHANNELS = 128
LEVEL_CHANNELS = (32, 64, 96, 96)
"""Widths at strides 4, 8, 16, 32."""
PRIOR_COMPONENTS = 4
MAX_LOG_VARIANCE = 4.0
MIN_LOG_VARIANCE = -6.0


class Film(nn.Module):
    """Scales and shifts channels by the prompt; the identity until it is trained."""

    def __init__(self, channels: int):
        super().__init__()
        self.to_gain_shift = nn.Linear(PROMPT_CHANNELS, 2 * channels)
        nn.init.zeros_(self.to_gain_shift.weight)
        nn.init.zeros_(self.to_gain_shift.bias)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        gain, shift = self.to_gain_shift(prompt)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = x * (1 + gain) + shift
        return out


class Prior(nn.Module):
    """Log of a mixture of axis-parallel Gaussians over the picture, placed by the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.to_mixture = nn.Linear(PROMPT_CHANNELS, 5 * PRIOR_COMPONENTS)
        nn.init.zeros_(self.to_mixture.weight)
        with torch.no_grad():
            # Five rows a component: logit of weight, x, y in [-1, 1], log sigma x, log sigma y.
            start = torch.zeros(PRIOR_COMPONENTS, 5)
            start[:, 1] = torch.linspace(-0.3, 0.3, PRIOR_COMPONENTS)
            start[:, 3:] = math.log(0.5)
            self.to_mixture.bias.copy_(start.flatten())

    def forward(self, prompt: Tensor, height: int, width: int) -> Tensor:
        """(B, 128) to (B, 1, height, width); its exponential peaks below 1."""
        mixture = self.to_mixture(prompt).view(-1, PRIOR_COMPONENTS, 5)
        weight = mixture[:, :, 0].softmax(1)
        x = (torch.arange(width, device=prompt.device) + 0.5) * (2 / width) - 1
        y = (torch.arange(height, device=prompt.device) + 0.5) * (2 / height) - 1
        from_x = (x - mixture[:, :, 1:2]) * torch.exp(-mixture[:, :, 3:4])  # (B, K, w)
        from_y = (y - mixture[:, :, 2:3]) * torch.exp(-mixture[:, :, 4:5])  # (B, K, h)
        along_x = torch.exp(-0.5 * from_x * from_x) * weight[:, :, None]
        along_y = torch.exp(-0.5 * from_y * from_y)
        mass = torch.matmul(along_y.transpose(1, 2), along_x)  # (B, h, w)
        return torch.log(mass + 1e-4)[:, None]


class Decoder(nn.Module):
    """Taps of B pictures and N prompts each to log o and log R.

    Returns (B * N, 1, h, w) twice, at stride 4: log o normalised over the map, log R within
    [MIN_LOG_VARIANCE, MAX_LOG_VARIANCE].
    """

    def __init__(self, tap_channels: tuple[int, ...]):
        super().__init__()
        pairs = zip(tap_channels, LEVEL_CHANNELS, strict=True)
        self.taps = nn.ModuleList(nn.Conv2d(c_in, c_out, 1) for c_in, c_out in pairs)
        self.films = nn.ModuleList(Film(c) for c in LEVEL_CHANNELS)
        self.down = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(LEVEL_CHANNELS)
        )
        self.mix = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in LEVEL_CHANNELS)
        self.mix_again = nn.Conv2d(LEVEL_CHANNELS[1], LEVEL_CHANNELS[1], 3, padding=1)
        self.scene = nn.Linear(tap_channels[-1], LEVEL_CHANNELS[-1])
        self.head = nn.Conv2d(LEVEL_CHANNELS[0], 2, 1)
        self.prior = Prior()

    def project(self, taps: list[Tensor]) -> list[Tensor]:
        """The part that knows no prompt, done once a picture."""
        levels = [project(tap) for project, tap in zip(self.taps, taps, strict=True)]
        scene = self.scene(taps[-1].mean(dim=(2, 3)))  # (B, c)
        levels[-1] = levels[-1] + scene[:, :, None, None]
        return levels

    def forward(self, levels: list[Tensor], prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Levels of `project` (B, c, ., .) repeated to (B * N, ...) and prompts (B * N, 128)."""
        last = len(levels) - 1
        x = levels[last]
        for i in range(last, -1, -1):
            if i < last:
                x = levels[i] + F.interpolate(self.down[i](x), scale_factor=2.0, mode="bilinear")
            x = F.relu(self.films[i](x, prompt))
            x = F.relu(x + self.mix[i](x))
            if i == 1:
                x = F.relu(x + self.mix_again(x))
        evidence, log_variance = self.head(x).float().chunk(2, dim=1)  # (B * N, 1, h, w)
        height, width = evidence.shape[2:]
        logits = evidence + self.prior(prompt.float(), height, width)
        log_density = logits - logits.logsumexp(dim=(2, 3), keepdim=True)
        return log_density, log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
