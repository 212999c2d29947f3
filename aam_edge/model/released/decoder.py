"""From feature maps at 1/16 to a map at 1/2: three steps up, each led by the prompt, and an end.

Five separate curvatures measure the prompt's point, which was made with a sixth; that is how the
weights were trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.released import lorentz
from aam_edge.model.released.maps import GlobalMap
from aam_edge.model.released.operators import Condition, ScaleGate, SpatialOperator

GROUPS = 8
GAUSSIANS = 6
SHAPE_HIDDEN = 128
AMPLITUDE_HIDDEN = 256


@dataclass(frozen=True, slots=True)
class Widths:
    """Of what the prompt enters as."""

    text: int = 768
    hyperbolic: int = 128


class UpStage(nn.Module):
    """Twice the size, led by the prompt."""

    def __init__(self, c_in: int, c_out: int, widths: Widths):
        super().__init__()
        self.up_conv = nn.ConvTranspose2d(c_in, c_out, 2, stride=2)
        self.norm = nn.GroupNorm(GROUPS, c_out)
        self.style_mlp = nn.Sequential(nn.SiLU(), nn.Linear(widths.text, 2 * c_out))
        self.scale_gate = ScaleGate(widths.text, widths.hyperbolic)
        self.ms_op = SpatialOperator(c_out)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """(B, out, 2 h, 2 w) for (B, in, h, w)."""
        x = self.norm(self.up_conv(x))
        gain, shift = self.style_mlp(condition.text)[:, :, None, None].chunk(2, dim=1)
        x = x * (1 + gain) + shift
        y = self.ms_op.fuse(self.ms_op(x, condition.z), self.scale_gate(condition))
        return F.relu(x + self.strength(condition.z, x) * y)

    def strength(self, z: Tensor | None, x: Tensor) -> Tensor:
        """How much of the operators is added, the more the deeper the prompt: 0.1 to 0.5."""
        if z is None:
            return x.new_full((1, 1, 1, 1), 0.25)
        depth = lorentz.radius(z, self.scale_gate.map.c).clamp(0, 1)
        return (0.1 + 0.4 * depth).to(x.dtype)[:, :, None, None]


class SqueezeExcite(nn.Module):
    """A gain a channel from the mean of all (J. Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        gain: Tensor = self.fc(x.mean((2, 3))).sigmoid()
        return x * gain[:, :, None, None]


class OutputHead(nn.Module):
    """Features to logits: a convolution, a few Gaussians of the prompt, and operators on it."""

    def __init__(self, channels: int, widths: Widths, *, swaps_six: bool = False):
        """`swaps_six` brings back what the public code does to batches of exactly six."""
        super().__init__()
        self.swaps_six = swaps_six
        width = widths.hyperbolic
        self.final_conv = nn.Conv2d(channels, 1, 3, padding=1)
        self.shape_predictor = nn.Sequential(
            nn.Linear(widths.text, SHAPE_HIDDEN),
            nn.ReLU(),
            nn.Linear(SHAPE_HIDDEN, 4 * GAUSSIANS),
        )
        self.img_to_hyp_tan = nn.Linear(channels, width, bias=False)
        self.global_map = GlobalMap(width)
        self.amp_mlp = nn.Sequential(
            nn.LayerNorm(2 * width + 3),
            nn.Linear(2 * width + 3, AMPLITUDE_HIDDEN),
            nn.GELU(),
            nn.Linear(AMPLITUDE_HIDDEN, GAUSSIANS),
        )
        self.ms_op = SpatialOperator(1)
        self.scale_gate = ScaleGate(widths.text, width)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """(B, 1, H, W) for (B, C, H, W); the condition must have its point."""
        text, z = condition
        assert z is not None
        s: Tensor = self.final_conv(x)
        y = self.ms_op.fuse(self.ms_op(s, z), self.scale_gate(condition))
        depth = lorentz.radius(z, self.global_map.c).clamp(0, 1)
        strength = (0.2 + 0.5 * depth).to(x.dtype)[:, :, None, None]
        bias = self.prior(self.amplitudes(x, z), text, x)
        return s + 0.5 * bias + strength * y

    def amplitudes(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, 6), 0..1, of each Gaussian, from how picture and prompt lie to each other."""
        c = self.global_map.c
        v = self.global_map.to_hyp(self.img_to_hyp_tan(x.mean((2, 3))))
        depths = lorentz.radius(v, c), lorentz.radius(z, c)
        parts = [lorentz.log0(v, c), lorentz.log0(z, c), lorentz.pair_distance(v, z, c), *depths]
        amplitudes: Tensor = self.amp_mlp(torch.cat(parts, dim=-1).to(x.dtype)).sigmoid()
        return amplitudes

    def prior(self, amplitudes: Tensor, text: Tensor, x: Tensor) -> Tensor:
        """(B, 1, H, W), sum of Gaussians whose places and sizes depend on the text alone."""
        shapes = self.shape_predictor(text).unflatten(1, (GAUSSIANS, 4)).sigmoid()
        cx, cy, sx, sy = shapes[..., None, None].unbind(2)  # (B, 6, 1, 1), 0..1 over the picture
        sx, sy = 0.5 * sx + 0.05, 0.5 * sy + 0.05
        height, width = x.shape[2:]
        yy = torch.linspace(0, 1, height, device=x.device, dtype=x.dtype)[:, None]
        xx = torch.linspace(0, 1, width, device=x.device, dtype=x.dtype)
        hills = torch.exp(-((xx - cx).square() / (2 * sx**2) + (yy - cy).square() / (2 * sy**2)))
        heights = amplitudes[:, :, None, None]
        if self.swaps_six and len(x) == GAUSSIANS:
            # A repair of axes that were never wrong: each sample gets one Gaussian of all samples.
            hills, heights = hills.transpose(0, 1), heights.transpose(0, 1)
        return (heights * hills).sum(1, keepdim=True)
