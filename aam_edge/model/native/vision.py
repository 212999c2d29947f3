"""The vision encoder of nano: EfficientNet-Lite0's body, batch norm folded into its convolutions.

Layout after M. Tan and Q. Le, "EfficientNet" (ICML 2019), in the Lite form (no squeeze-excite,
ReLU6). Four taps leave it, at strides 4, 8, 16 and 32. Padding is TensorFlow's SAME, as the
pretrained weights expect it: a stride 2 layer on an even side pads right and bottom only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_edge.model.native.depthwise import depthwise


class Stage(NamedTuple):
    """A run of equal inverted-residual blocks; the first of them changes width and stride."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


LITE0_STEM = 32
LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPPED_STAGES = (1, 2, 4, 6)
TAP_CHANNELS = tuple(LITE0[i].channels for i in TAPPED_STAGES)
TAP_STRIDES = (4, 8, 16, 32)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, for even sides."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(c_in, c_out, kernel, stride, padding, groups=groups)
        total = kernel - stride
        self._border = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        if self._border is not None:
            x = F.pad(x, self._border)
        if self.groups == 1 or not self._is_learning(x):
            return super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        assert self.bias is not None
        with torch.autocast("cpu", enabled=False):
            stride, padding = self.stride[0], int(self.padding[0])
            return depthwise(x, self.weight, self.bias, stride, padding)

    def _is_learning(self, x: Tensor) -> bool:
        """On a CPU, where torch's own gradients of depthwise kernels are slow."""
        has_gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        return has_gradient and x.device.type == "cpu" and not torch.compiler.is_compiling()


class Block(nn.Module):
    """Inverted residual: widen 1x1, depthwise, narrow 1x1; a short cut where the shape stays."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expand: int):
        super().__init__()
        middle = c_in * expand
        self.expand = SameConv(c_in, middle, 1) if expand > 1 else None
        self.depthwise = SameConv(middle, middle, kernel, stride, groups=middle)
        self.project = SameConv(middle, c_out, 1)
        self._short_cut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self._short_cut else y
        return out


class LiteBody(nn.Module):
    """Picture in, four taps out.

    The picture is (B, 3, H, W), BGR, float, 0..255, sides multiples of 32. The taps are
    (B, c, H/s, W/s) with c of TAP_CHANNELS and s of TAP_STRIDES.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, LITE0_STEM, 3, 2)
        stages, width = [], LITE0_STEM
        for stage in LITE0:
            blocks = []
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                blocks.append(Block(width, stage.channels, stage.kernel, stride, stage.expand))
                width = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = (picture - 127) / 128  # the pretrained body's own range
        x = F.relu6(self.stem(x))  # (B, 32, H/2, W/2)
        taps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPPED_STAGES:
                taps.append(x)
        return taps


def load_lite0(body: LiteBody, published: dict[str, Tensor]) -> None:
    """Puts published tensors into the body: batch norm folded, RGB turned to BGR.

    Args:
        body: changed in place.
        published: names as in the PyTorch port (_conv_stem.weight, _blocks.0._bn1.bias, ...).
    """
    epsilon = 1e-3  # of the published batch norms

    def fold(into: SameConv, conv: str, norm: str) -> None:
        gain = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + epsilon).sqrt()
        assert into.bias is not None
        into.weight.copy_(published[f"{conv}.weight"] * gain[:, None, None, None])
        into.bias.copy_(published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * gain)

    with torch.no_grad():
        fold(body.stem, "_conv_stem", "_bn0")
        body.stem.weight.copy_(body.stem.weight.flip(1))
        index = 0
        for stage in body.stages:
            assert isinstance(stage, nn.Sequential)
            for block in stage:
                assert isinstance(block, Block)
                at, norms = f"_blocks.{index}", iter(range(3))
                if block.expand is not None:
                    fold(block.expand, f"{at}._expand_conv", f"{at}._bn{next(norms)}")
                else:
                    next(norms)
                fold(block.depthwise, f"{at}._depthwise_conv", f"{at}._bn{next(norms)}")
                fold(block.project, f"{at}._project_conv", f"{at}._bn{next(norms)}")
                index += 1
