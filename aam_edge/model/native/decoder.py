"""The decoder of the native network: four taps and a prompt to the observation's log-density.

A top-down pyramid without prompt is built once a picture. What a prompt asks for is then read from
it by the geometry of hyperbolic space (DESIGN 4; entailment cones as in K. Desai et al., "MERU",
ICML 2023): the prompt is a point z_txt, every cell of stride 8 a point z_p, the picture z_img,

    scale weights     w_k = 4 softmax_k(-d(z_txt, mu_k))      which strides answer this prompt
    search evidence   s_p = -d(z_p, z_txt)                    how near a cell is to what is asked
    spatial focus     f_p = cos(exterior angle at z_txt to z_p)   whether it lies in its cone
    presence          sigmoid(a smooth max_p s_p - b d(z_img, z_txt) + c + recognition.py)

The prompt also shifts and scales channels (FiLM, E. Perez et al., AAAI 2018) and places the prior,
a mixture of Gaussians, which for free viewing is the centre bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.native import lorentz
from aam_edge.model.native.prior import Prior
from aam_edge.model.native.recognition import Recognition, log_mean_exp

PROMPT_CHANNELS = 128
LEVEL_CHANNELS = (32, 64, 96, 96)
"""Widths at strides 4, 8, 16, 32."""
SPACE = 64
"""Dimensions of the hyperbolic space."""
MAX_LOG_VARIANCE = 4.0
MIN_LOG_VARIANCE = -6.0
LOG_CURVATURE = (math.log(0.1), math.log(10.0))
"""Bounds of log c."""
DEEPEST = 3.0
"""Bound of tangents at the origin: points beyond have their direction left and little else."""
CELL_START, WHOLE_START, POINT_START = 0.06, 0.2, 3.0
"""What tangents are scaled by at first, so that all begin at a depth of about 1."""
SHARPNESS = 6.0
"""Of the smooth maximum over cells: how much nearer a cell must be to stand alone."""
USUAL_CELLS = 768
"""Of 192 x 256 pixels. In other numbers of cells each counts for more or less."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Which pieces of the geometry are at work; for ablation."""

    scale_weights: bool = True
    search: bool = True
    focus: bool = True
    prior: bool = True
    hyperbolic: bool = True
    """False: a dot product in place of the distance, a cosine in place of the angle."""


class Pyramid(NamedTuple):
    """What a picture gives, before any prompt."""

    fine: Tensor
    """(B, 32, h, w), stride 4."""
    levels: tuple[Tensor, ...]
    """(B, 64, h/2, w/2) three times: what strides 8, 16 and 32 say, brought to stride 8."""
    cells: Tensor
    """(B, SPACE, h/2, w/2), the points z_p, space part."""
    whole: Tensor
    """(B, SPACE), the points z_img."""
    keys: Tensor
    """(B, c, h/4, w/4), what `recognition` reads of cells of stride 16."""
    gist: Tensor
    """(B, c), and of the whole picture."""


class Evidence(NamedTuple):
    """The observation of each picture for its prompt."""

    log_density: Tensor
    """(B, 1, h, w), log o, normalised over the map."""
    log_variance: Tensor
    """(B, 1, h, w), log R, within [MIN_LOG_VARIANCE, MAX_LOG_VARIANCE]."""
    presence: Tensor
    """(B,), log-odds that what is asked for is in view."""
    searching: Tensor
    """(B,), log-odds that the prompt asks for a thing, not for a way of viewing."""


class Film(nn.Module):
    """Scales and shifts channels by the prompt; the identity until it is trained."""

    def __init__(self, channels: int, prompt_channels: int = PROMPT_CHANNELS):
        super().__init__()
        self.to_gain_shift = nn.Linear(prompt_channels, 2 * channels)
        nn.init.zeros_(self.to_gain_shift.weight)
        nn.init.zeros_(self.to_gain_shift.bias)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        gain, shift = self.to_gain_shift(prompt)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = x * (1 + gain) + shift
        return out


class Decoder(nn.Module):
    """`look` once a picture, then `forward` once a picture and prompt."""

    def __init__(
        self,
        tap_channels: tuple[int, ...],
        pieces: Pieces | None = None,
        prompt_channels: int = PROMPT_CHANNELS,
    ):
        super().__init__()
        self.pieces = pieces or Pieces()
        fine, middle = LEVEL_CHANNELS[:2]
        pairs = zip(tap_channels, LEVEL_CHANNELS, strict=True)
        self.taps = nn.ModuleList(nn.Conv2d(c_in, c_out, 1) for c_in, c_out in pairs)
        self.down = nn.ModuleList(
            nn.Conv2d(coarse, finer, 1) for finer, coarse in pairwise(LEVEL_CHANNELS[1:])
        )
        self.mix = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in LEVEL_CHANNELS[1:])
        self.scene = nn.Linear(tap_channels[-1], LEVEL_CHANNELS[-1])
        self.to_middle = nn.ModuleList(nn.Conv2d(c, middle, 1) for c in LEVEL_CHANNELS[1:])
        self.to_cells = nn.ModuleList(nn.Conv2d(c, SPACE, 1) for c in LEVEL_CHANNELS[1:])
        # Straight from the taps as well: what a pretrained body knows of names comes out linearly.
        self.taps_to_cells = nn.ModuleList(nn.Conv2d(c, SPACE, 1) for c in tap_channels[1:])
        self.to_whole = nn.Linear(tap_channels[-1], SPACE)
        self.to_point = nn.Linear(prompt_channels, SPACE)
        self.cell_scale = nn.Parameter(torch.tensor(math.log(CELL_START)))
        self.whole_scale = nn.Parameter(torch.tensor(math.log(WHOLE_START)))
        self.point_scale = nn.Parameter(torch.tensor(math.log(POINT_START)))
        self.anchor = nn.Parameter(0.02 * torch.randn(SPACE))
        self.scales = nn.Parameter(0.1 * torch.randn(len(LEVEL_CHANNELS), SPACE))
        self.log_curvature = nn.Parameter(torch.zeros(()))
        self.film_middle, self.film_fine = (Film(c, prompt_channels) for c in (middle, fine))
        self.ask_middle = nn.Conv2d(middle, middle, 3, padding=1)
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.hint = nn.Conv2d(2, fine, 1)
        self.ask_fine = nn.Conv2d(fine, fine, 3, padding=1)
        self.head = nn.Conv2d(fine, 2, 1)
        self.search_gain = nn.Linear(prompt_channels, 1)
        self.cell_line = nn.Parameter(torch.tensor([5.0, -1.0]))
        """Gain and shift from nearness to log-odds that a cell holds the thing; for training."""
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        """From nearness to the log-odds between names or cells; for training."""
        self.presence = nn.Parameter(torch.tensor([3.0, 1.0, -2.0]))
        self.recognition = Recognition(tap_channels, prompt_channels)
        self.searching = nn.Linear(prompt_channels, 1)
        self.prior = Prior(prompt_channels)

    @property
    def curvature(self) -> Tensor:
        """c of the space, within [0.1, 10]."""
        return self.log_curvature.clamp(*LOG_CURVATURE).exp()

    def look(self, taps: list[Tensor]) -> Pyramid:
        """The part that knows no prompt, done once a picture."""
        fine, *levels = (project(tap) for project, tap in zip(self.taps, taps, strict=True))
        mean = taps[-1].mean(dim=(2, 3))  # (B, c)
        x = F.relu(levels[-1] + self.scene(mean)[:, :, None, None])
        x = F.relu(x + self.mix[-1](x))
        above = [x]
        for i in (1, 0):
            x = F.relu(levels[i] + _twice(self.down[i](x)))
            x = F.relu(x + self.mix[i](x))
            above.insert(0, x)
        middle = [to(x) for to, x in zip(self.to_middle, above, strict=True)]
        cells = [
            to(x) + straight(tap)
            for to, x, straight, tap in zip(
                self.to_cells, above, self.taps_to_cells, taps[1:], strict=True
            )
        ]
        tangent = cells[0] + _twice(cells[1] + _twice(cells[2]))  # (B, SPACE, h/2, w/2)
        return Pyramid(
            fine,
            (middle[0], _twice(middle[1]), _twice(_twice(middle[2]))),
            self._lift(tangent.float() * self.cell_scale.exp()),
            self._lift(self.to_whole(mean).float() * self.whole_scale.exp()),
            *self.recognition.look(taps),
        )

    def point(self, prompt: Tensor) -> Tensor:
        """z_txt of prompts: (B, 128) to (B, SPACE), the space part."""
        return self._lift(self.to_point(prompt) * self.point_scale.exp())

    def _lift(self, tangent: Tensor) -> Tensor:
        """exp_0 of tangents along dimension 1, their length bounded smoothly."""
        length = tangent.square().sum(1, keepdim=True)
        bounded = tangent * (1 + length / DEEPEST**2).rsqrt()
        return lorentz.exp_map0(bounded, self.curvature)

    def forward(self, seen: Pyramid, prompt: Tensor) -> Evidence:
        """What B pictures, as `look` gave them, say of a prompt (B, 128) each."""
        point = self.point(prompt)
        weights = self._scale_weights(point)  # (B, 4)
        nearness, focus = self._geometry(seen.cells, point)  # (B, 1, h/2, w/2) each

        x = sum(weights[:, k + 1, None, None, None] * seen.levels[k] for k in range(3))
        x = F.relu(self.film_middle(x, prompt))
        x = F.relu(x + self.ask_middle(x))
        y = _twice(self.to_fine(x) + self.hint(torch.cat([nearness, focus], dim=1)))
        y = F.relu(self.film_fine(y + weights[:, 0, None, None, None] * seen.fine, prompt))
        y = F.relu(y + self.ask_fine(y))
        evidence, log_variance = self.head(y).float().chunk(2, dim=1)  # (B, 1, h, w)
        evidence = evidence + self.search_gain(prompt)[:, :, None, None] * _twice(nearness)
        if self.pieces.prior:
            evidence = evidence + self.prior(prompt, *evidence.shape[2:])
        return Evidence(
            evidence - evidence.logsumexp(dim=(2, 3), keepdim=True),
            log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE),
            self._presence(seen, nearness, point, prompt),
            self.searching(prompt).float().squeeze(1),
        )

    def nearness_to(self, cells: Tensor, points: Tensor) -> Tensor:
        """Search evidence of every cell for many prompts.

        Args:
            cells: (B, SPACE, h, w), points.
            points: (M, SPACE), of prompts.

        Returns:
            (B, M, h, w).
        """
        flat = cells.flatten(2)
        nearness: Tensor = torch.matmul(points, flat)  # (B, M, h w)
        if self.pieces.hyperbolic:
            squares = flat.square().sum(1)[:, None], points.square().sum(1)[:, None]
            nearness = -_distance(nearness, *squares, self.curvature)
        return nearness.view(len(cells), len(points), *cells.shape[2:])

    def presence_of(
        self, seen: Pyramid, nearness: Tensor, points: Tensor, prompts: Tensor
    ) -> Tensor:
        """Log-odds that what is asked for is in view, for many prompts.

        Args:
            seen: B pictures.
            nearness: (B, M, h, w), of `nearness_to`.
            points: (M, SPACE), of prompts.
            prompts: (M, 128).

        Returns:
            (B, M).
        """
        apart = self.nearness_to(seen.whole[:, :, None, None], points)[:, :, 0, 0]
        return self._log_odds(seen, smooth_max(nearness), apart, prompts[None])

    def _presence(self, seen: Pyramid, nearness: Tensor, point: Tensor, prompt: Tensor) -> Tensor:
        apart, _ = self._geometry(seen.whole[:, :, None, None], point)  # (B, 1, 1, 1)
        of_cells, of_whole = smooth_max(nearness), apart[:, :, 0, 0]  # (B, 1) each
        return self._log_odds(seen, of_cells, of_whole, prompt[:, None])[:, 0]

    def _log_odds(
        self, seen: Pyramid, of_cells: Tensor, of_whole: Tensor, prompts: Tensor
    ) -> Tensor:
        told = torch.stack([of_cells, of_whole], dim=2)  # (B, M, 2)
        plain = (told * self.presence[:2]).sum(2) + self.presence[2]
        log_odds: Tensor = plain + self.recognition(seen.keys, seen.gist, told, prompts)
        return log_odds

    def _scale_weights(self, point: Tensor) -> Tensor:
        if not self.pieces.scale_weights:
            return torch.ones(len(point), len(LEVEL_CHANNELS), device=point.device)
        scales = lorentz.exp_map0(self.scales, self.curvature)
        apart = lorentz.distance(point[:, None], scales[None], self.curvature, dim=2)  # (B, 4)
        return len(LEVEL_CHANNELS) * torch.softmax(-apart, dim=1)

    def _geometry(self, cells: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        """Search evidence and spatial focus of every cell."""
        if self.pieces.hyperbolic:
            distance, focus = cell_geometry(cells, point, self.curvature)
            nearness = -distance
        else:
            nearness = (cells * point[:, :, None, None]).sum(1, keepdim=True)
            focus = F.cosine_similarity(cells, point[:, :, None, None], dim=1)[:, None]
        nothing = torch.zeros_like(nearness)
        pieces = self.pieces
        return nearness if pieces.search else nothing, focus if pieces.focus else nothing


def smooth_max(x: Tensor) -> Tensor:
    """A smooth maximum over cells, (B, N, h, w) to (B, N)."""
    return (log_mean_exp(SHARPNESS * x.flatten(2)) + math.log(USUAL_CELLS)) / SHARPNESS


def cell_geometry(cells: Tensor, point: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of every cell to a point, and the cosine of the exterior angle there.

    `lorentz.distance` and `cos(lorentz.exterior_angle)` for thousands of points against one, cheap,
    and exact enough where points are not deep (sqrt(c) d below 5 or so). From differences, not from
    1 - <x, y>: that would cancel, and in half precision leave nothing of near points.

    Args:
        cells: (B, n, h, w), space parts.
        point: (B, n), space part, not the origin.
        c: the curvature is -c.

    Returns:
        (B, 1, h, w) twice.
    """
    squared = c * cells.square().sum(1, keepdim=True)
    point_squared = c * point.square().sum(1)[:, None, None, None]
    times, point_time = (1 + squared).sqrt(), (1 + point_squared).sqrt()
    later = (squared - point_squared) / (times + point_time)  # difference of the time parts
    apart = c * (cells - point[:, :, None, None]).square().sum(1, keepdim=True)
    k = ((apart - later.square()) / 2).clamp_min(1e-5)  # cosh - 1, with a finite gradient at 0
    turn = later - point_time * k
    straight = (point_squared + 1e-6).sqrt() * (k * (k + 2)).sqrt()
    return 2 / c.sqrt() * torch.asinh((k / 2).sqrt()), turn / straight


def _distance(dot: Tensor, squared_a: Tensor, squared_b: Tensor, c: Tensor) -> Tensor:
    """Geodesic distance from products of space parts: a.b, a.a and b.b."""
    times = ((1 + c * squared_a) * (1 + c * squared_b)).sqrt()
    # Above 1, so that the gradient is finite.
    cosh = (times - c * dot).clamp_min(1 + 1e-5)
    return 2 / c.sqrt() * torch.asinh(((cosh - 1) / 2).sqrt())


def _twice(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")
