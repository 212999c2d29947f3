"""The public AAM network, whole: picture, text and sound to a map.

Pictures pass a DINOv3 with LoRA; four taps of it are projected, all at 1/16 of the picture. Of a
clip, the two deeper ones pass a block over time, and sound changes the deepest. Three steps up, led
by the text, give a map at 1/2, which is stretched over the picture. Parameters have their public
names, but for those that `names.py` turns over.

    static   look -> decode
    a clip   look -> over_time -> hear -> decode
    a stream look -> ring -> TemporalBlock.at -> hear -> decode        (stream.py)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.released import lorentz
from aam_edge.model.released.decoder import GROUPS, OutputHead, SqueezeExcite, UpStage, Widths
from aam_edge.model.released.dinov3 import SIZES, TINY, DinoV3, VitShape
from aam_edge.model.released.maps import curvature, scale
from aam_edge.model.released.operators import Condition
from aam_edge.model.released.sound_fusion import SoundFusion
from aam_edge.model.released.temporal import TemporalBlock

START_GROUPS = 32
SE_REDUCTIONS = (16, 8, 4)
WIDTHS = Widths()
TEMPORAL_LEVELS = (2, 3)
"""Taps that pass a block over time."""

Levels = tuple[Tensor, Tensor, Tensor, Tensor]
"""Feature maps of the four taps, (B, C, h, w) each, shallow to deep."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What tells one size of the network from another; by default all but the backbone is equal."""

    backbone: VitShape
    projections: tuple[int, int, int, int] = (96, 192, 384, 768)
    features: int = 256
    decoder: tuple[int, int, int] = (128, 64, 32)
    widths: Widths = WIDTHS
    audio: int = 512
    fusion: int = 256
    """Channels inside the fusion with sound."""


SHAPES = {size: NetworkShape(shape) for size, shape in SIZES.items()}
TINY_SHAPE = NetworkShape(TINY, (16, 24, 32, 40), 64, (32, 16, 8), Widths(24, 16), 20, 32)
"""Of the reference tensors; for tests and tools."""


class Points(NamedTuple):
    """Where image, text and anchor lie in hyperbolic space; for the loss."""

    image: Tensor
    """(B, d)."""
    text: Tensor
    anchor: Tensor
    c: Tensor
    """(), the curvature they were made with."""


class Prediction(NamedTuple):
    """What the network gives."""

    maps: Tensor
    """(B, 1, H, W), 0..1."""
    logits: Tensor
    """(B, 1, 8 h, 8 w)."""
    points: Points


class ReleasedNetwork(nn.Module):
    """Backbone and head under the public names."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        self.shape = shape
        self.backbone = DinoV3(shape.backbone)
        self.head = Head(shape)

    def forward(
        self, picture: Tensor, text: Tensor, sound: Tensor | None = None, *, is_clip: bool = False
    ) -> Prediction:
        """Still pictures, or the frames of one clip.

        Args:
            picture: (B, 3, H, W), RGB, normalised (dinov3.py); of a clip, B is its frames.
            text: (B, 768), CLIP's vector of each prompt; of a clip, the same for all.
            sound: (B, 512), of a clip; None leaves the fusion out.
            is_clip: whether the pictures are one clip.
        """
        levels = self.look(picture)
        if is_clip:
            levels = self.head.hear(self.head.over_time(levels), sound)
        logits = self.head.decode(levels, text)
        maps = stretched(logits, picture.shape[2:]).sigmoid()
        return Prediction(maps, logits, self.head.points(levels[3], text))

    def look(self, picture: Tensor) -> Levels:
        """The projected taps of pictures (B, 3, H, W)."""
        return self.head.project(self.backbone(picture))


class Head(nn.Module):
    """All that was trained, but for LoRA."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        widths, (first, second, third, deepest) = shape.widths, shape.projections
        self.curv = nn.Parameter(torch.zeros(()))
        start = math.log(widths.hyperbolic**-0.5)
        self.visual_alpha = nn.Parameter(torch.tensor(start))
        self.textual_alpha = nn.Parameter(torch.tensor(start))
        self.none_anchor_tan = nn.Parameter(torch.zeros(1, widths.hyperbolic))
        self.projects = nn.ModuleList(
            nn.Conv2d(shape.backbone.width, channels, 1) for channels in shape.projections
        )
        self.motion_modules = nn.ModuleDict(
            {str(i): TemporalBlock(shape.projections[i]) for i in TEMPORAL_LEVELS}
        )
        self.av_fusion = SoundFusion(deepest, shape.audio, shape.fusion)
        self.visual_proj = nn.Linear(deepest, widths.hyperbolic, bias=False)
        self.textual_proj = nn.Linear(widths.text, widths.hyperbolic, bias=False)
        self.start_proj = nn.Sequential(
            nn.Conv2d(deepest, shape.features, 1, bias=False),
            nn.GroupNorm(START_GROUPS, shape.features),
            nn.SiLU(),
        )
        one, two, three = shape.decoder
        self.decoder_stage1 = UpStage(shape.features, one, widths)
        self.decoder_stage2 = UpStage(one, two, widths)
        self.decoder_stage3 = UpStage(two, three, widths)
        self.fuse1, self.fuse2, self.fuse3 = fuse(one, third), fuse(two, second), fuse(three, first)
        self.se1, self.se2, self.se3 = (
            SqueezeExcite(c, r) for c, r in zip(shape.decoder, SE_REDUCTIONS, strict=True)
        )
        self.decoder_out = OutputHead(three, widths)

    def project(self, features: list[Tensor]) -> Levels:
        """The backbone's features by their own 1x1 convolutions; all stay at 1/16."""
        one, two, three, four = (
            project(tap) for project, tap in zip(self.projects, features, strict=True)
        )
        return one, two, three, four

    def over(self, level: int) -> TemporalBlock:
        """The block over time of a tap."""
        block = self.motion_modules[str(level)]
        assert isinstance(block, TemporalBlock)
        return block

    def over_time(self, levels: Levels) -> Levels:
        """The deeper two of a clip's frames, (T, C, h, w), through the blocks over time."""
        one, two, *deep = levels
        three, four = (
            self.over(i)(x.transpose(0, 1)[None])[0][0].transpose(0, 1)
            for i, x in zip(TEMPORAL_LEVELS, deep, strict=True)
        )
        return one, two, three, four

    def hear(self, levels: Levels, sound: Tensor | None) -> Levels:
        """The deepest changed by the sound of each frame, (T, 512)."""
        if sound is None:
            return levels
        fused, _ = self.av_fusion(levels[3], sound)
        return (*levels[:3], fused)

    def decode(self, levels: Levels, text: Tensor) -> Tensor:
        """Logits (B, 1, 8 h, 8 w)."""
        condition = Condition(text, self.text_point(text))
        x = self.start_proj(levels[3])
        x = self.decoder_stage1(x, condition)
        x = self.se1(joined(self.fuse1, x, levels[2]))
        x = self.decoder_stage2(x, condition)
        x = self.se2(joined(self.fuse2, x, levels[1]))
        x = self.decoder_stage3(x, condition)
        x = self.se3(joined(self.fuse3, x, levels[0]))
        logits: Tensor = self.decoder_out(x, condition)
        return logits

    def text_point(self, text: Tensor) -> Tensor:
        """Texts (B, E) as points (B, d)."""
        factor = scale(self.textual_alpha)
        return lorentz.exp0(self.textual_proj(text).float() * factor, curvature(self.curv))

    def points(self, deepest: Tensor, text: Tensor) -> Points:
        """Of pictures by their deepest level, of texts, and of the anchor."""
        c = curvature(self.curv)
        seen = self.visual_proj(deepest.mean((2, 3))).float()
        anchor = lorentz.exp0(self.none_anchor_tan * scale(self.textual_alpha), c)
        return Points(
            lorentz.exp0(seen * scale(self.visual_alpha), c),
            self.text_point(text),
            anchor.expand(len(text), -1),
            c,
        )


def fuse(channels: int, skipped: int) -> nn.Sequential:
    """A feature map and a tap to one feature map."""
    return nn.Sequential(
        nn.Conv2d(channels + skipped, channels, 1, bias=False),
        nn.GroupNorm(GROUPS, channels),
        nn.SiLU(),
    )


def joined(fusion: nn.Sequential, x: Tensor, tap: Tensor) -> Tensor:
    """A feature map (B, C, H, W) fused with a smaller tap."""
    if tap.shape[2:] != x.shape[2:]:
        tap = F.interpolate(tap, x.shape[2:], mode="bilinear")
    out: Tensor = fusion(torch.cat([x, tap], dim=1))
    return out


def stretched(logits: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Logits over the whole of a picture of (H, W), corner to corner."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)
