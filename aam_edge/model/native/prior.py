"""Where people look before they know the picture: a mixture of Gaussians, placed by the prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

COMPONENTS = 4


class Prior(nn.Module):
    """Log of a mixture of axis-parallel Gaussians over the picture.

    For free viewing this is the centre bias; it starts as four wide Gaussians side by side.
    """

    def __init__(self, prompt_channels: int) -> None:
        super().__init__()
        self.to_mixture = nn.Linear(prompt_channels, 5 * COMPONENTS)
        nn.init.zeros_(self.to_mixture.weight)
        with torch.no_grad():
            # Five rows a component: logit of weight, x, y in [-1, 1], log sigma x, log sigma y.
            start = torch.zeros(COMPONENTS, 5)
            start[:, 1] = torch.linspace(-0.3, 0.3, COMPONENTS)
            start[:, 3:] = math.log(0.5)
            self.to_mixture.bias.copy_(start.flatten())

    def forward(self, prompt: Tensor, height: int, width: int) -> Tensor:
        """(B, prompt_channels) to (B, 1, height, width); its exponential peaks below 1."""
        mixture = self.to_mixture(prompt).view(-1, COMPONENTS, 5)
        weight = mixture[:, :, 0].softmax(1)
        x = (torch.arange(width, device=prompt.device) + 0.5) * (2 / width) - 1
        y = (torch.arange(height, device=prompt.device) + 0.5) * (2 / height) - 1
        from_x = (x - mixture[:, :, 1:2]) * torch.exp(-mixture[:, :, 3:4])  # (B, K, w)
        from_y = (y - mixture[:, :, 2:3]) * torch.exp(-mixture[:, :, 4:5])  # (B, K, h)
        along_x = torch.exp(-0.5 * from_x * from_x) * weight[:, :, None]
        along_y = torch.exp(-0.5 * from_y * from_y)
        mass = torch.matmul(along_y.transpose(1, 2), along_x)  # (B, h, w)
        return torch.log(mass + 1e-4)[:, None]
