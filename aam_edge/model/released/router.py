"""A mixture of LoRA experts led by the prompt's place in hyperbolic space.

Part of the public code that its published network never builds; here so that weights which have it
can be read and compared. The router's score takes the first space coordinate for the time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aam_edge.model.released import lorentz
from aam_edge.model.released.maps import curvature, scale

EXPERTS = 4
RANK, ALPHA = 8, 32
LARGEST_LOGIT = math.log(10.0)


class HyperbolicRouter(nn.Module):
    """Text to weights of experts."""

    def __init__(self, text_width: int = 768, width: int = 128, experts: int = EXPERTS):
        super().__init__()
        self.register_buffer("device_buffer", torch.empty(0))
        self.curv = nn.Parameter(torch.zeros(()))
        self.textual_proj = nn.Linear(text_width, width, bias=False)
        self.textual_alpha = nn.Parameter(torch.tensor(math.log(width**-0.5)))
        self.none_anchor_tan = nn.Parameter(torch.zeros(1, width))
        self.expert_centroids_tan = nn.Parameter(0.2 * torch.randn(experts, width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(5.0)))

    def forward(self, text: Tensor) -> Tensor:
        """(B, K), sums to 1, for texts (B, E)."""
        z, _ = self.points(text)
        e = lorentz.exp0(self.expert_centroids_tan, curvature(self.curv))
        scores = z[:, 1:] @ e[:, 1:].T - z[:, :1] * e[:, 0]
        return (scores * self.logit_scale.clamp(0, LARGEST_LOGIT).exp()).softmax(-1)

    def points(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts and the anchor as points, each (B, d)."""
        c, factor = curvature(self.curv), scale(self.textual_alpha)
        z = lorentz.exp0(factor * self.textual_proj(text), c)
        anchor = lorentz.exp0(factor * self.none_anchor_tan, c)
        return z, anchor.expand_as(z)


class ExpertLora(nn.Module):
    """A frozen linear layer and what several experts learn beside it."""

    def __init__(
        self, base: nn.Linear, rank: int = RANK, alpha: float = ALPHA, experts: int = EXPERTS
    ):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A_experts = nn.Parameter(torch.empty(experts, base.in_features, rank))
        self.lora_B_experts = nn.Parameter(torch.zeros(experts, rank, base.out_features))
        nn.init.kaiming_uniform_(self.lora_A_experts, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """(B, N, out) for (B, N, in) and experts' weights (B, K); None: the base layer alone."""
        y: Tensor = self.base(x)
        if weights is None:
            return y
        low = torch.einsum("bni,kir->bknr", x, self.lora_A_experts)
        learned = torch.einsum("bk,bknr,kro->bno", weights, low, self.lora_B_experts)
        return y + self.scale * learned

    def merged_weights(self, weights: Tensor) -> Tensor:
        """(B, out, in): what one plain layer would have for each prompt."""
        learned = torch.einsum("bk,kir,kro->boi", weights, self.lora_A_experts, self.lora_B_experts)
        return self.base.weight + self.scale * learned
