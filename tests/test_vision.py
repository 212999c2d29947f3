"""The body of nano: what is published for EfficientNet-Lite0 becomes our convolutions."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native.vision import TAP_CHANNELS, Block, LiteBody, SameConv, load_lite0

EPSILON = 1e-3


class Published:
    """Random weights under the names of the PyTorch port, of the shapes that a body asks for."""

    def __init__(self, body: LiteBody) -> None:
        self._rng = torch.Generator().manual_seed(0)
        self.tensors: dict[str, Tensor] = {}
        self._add(body.stem, "_conv_stem", "_bn0")
        blocks = [block for stage in body.stages for block in stage]  # type: ignore[attr-defined]
        for i, block in enumerate(blocks):
            convs = [("_depthwise_conv", block.depthwise), ("_project_conv", block.project)]
            if block.expand is not None:
                convs.insert(0, ("_expand_conv", block.expand))
            for n, (name, conv) in enumerate(convs, start=3 - len(convs)):
                self._add(conv, f"_blocks.{i}.{name}", f"_blocks.{i}._bn{n}")

    def _add(self, conv: SameConv, name: str, norm: str) -> None:
        count = conv.out_channels
        draw = {
            f"{name}.weight": torch.randn(conv.weight.shape, generator=self._rng),
            f"{norm}.weight": torch.rand(count, generator=self._rng) + 0.5,
            f"{norm}.bias": torch.randn(count, generator=self._rng),
            f"{norm}.running_mean": torch.randn(count, generator=self._rng),
            f"{norm}.running_var": torch.rand(count, generator=self._rng) + 0.5,
        }
        self.tensors |= draw

    def apply(self, conv: SameConv, name: str, norm: str, x: Tensor) -> Tensor:
        """The published layer: convolution, then batch norm."""
        plain = SameConv(
            conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.groups
        )
        t = self.tensors
        with torch.no_grad():
            plain.weight.copy_(t[f"{name}.weight"])
            assert plain.bias is not None
            plain.bias.zero_()
            y = plain(x)
            normed: Tensor = F.batch_norm(
                y, t[f"{norm}.running_mean"], t[f"{norm}.running_var"], t[f"{norm}.weight"],
                t[f"{norm}.bias"], eps=EPSILON,
            )  # fmt: skip
        return normed


@pytest.fixture(scope="module")
def body_and_published() -> tuple[LiteBody, Published]:
    body = LiteBody().eval().requires_grad_(False)
    published = Published(body)
    load_lite0(body, published.tensors)
    return body, published


def test_stem_takes_bgr_where_the_published_one_takes_rgb(
    body_and_published: tuple[LiteBody, Published],
) -> None:
    body, published = body_and_published
    rgb = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    theirs = published.apply(body.stem, "_conv_stem", "_bn0", rgb)
    np.testing.assert_allclose(body.stem(rgb.flip(1)), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stage", "block", "index"), [(0, 0, 0), (1, 1, 2), (6, 0, 15)])
def test_block_is_its_convolutions_with_their_batch_norms(
    body_and_published: tuple[LiteBody, Published], stage: int, block: int, index: int
) -> None:
    body, published = body_and_published
    ours = body.stages[stage][block]  # type: ignore[index]
    assert isinstance(ours, Block)
    first = ours.depthwise if ours.expand is None else ours.expand
    x = torch.randn(1, first.in_channels, 12, 16, generator=torch.Generator().manual_seed(2))
    y, at = x, f"_blocks.{index}"
    if ours.expand is not None:
        y = F.relu6(published.apply(ours.expand, f"{at}._expand_conv", f"{at}._bn0", y))
    y = F.relu6(published.apply(ours.depthwise, f"{at}._depthwise_conv", f"{at}._bn1", y))
    y = published.apply(ours.project, f"{at}._project_conv", f"{at}._bn2", y)
    theirs = x + y if y.shape == x.shape else y
    np.testing.assert_allclose(ours(x), theirs, rtol=1e-3, atol=1e-3)


def test_taps_have_the_strides_and_channels_that_the_decoder_reads(
    body_and_published: tuple[LiteBody, Published],
) -> None:
    taps = body_and_published[0](torch.zeros(1, 3, 64, 96))
    assert [tuple(tap.shape) for tap in taps] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(TAP_CHANNELS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)])
def test_depthwise_gradients_are_those_of_torch(kernel: int, stride: int) -> None:
    torch.manual_seed(kernel)
    conv = SameConv(6, 6, kernel, stride, groups=6)
    x = torch.randn(2, 6, 12, 16, requires_grad=True)
    border = (0, 0, 0, 0) if stride == 1 else ((kernel - 2) // 2, (kernel - 1) // 2) * 2
    padding = kernel // 2 if stride == 1 else 0
    assert conv.bias is not None
    weights = (x, conv.weight, conv.bias)
    told = torch.randn_like(conv(x))
    plain = F.conv2d(F.pad(x, border), conv.weight, conv.bias, stride, padding, 1, 6)
    torch.testing.assert_close(conv(x), plain)
    ours = torch.autograd.grad(conv(x), weights, told)
    torch.testing.assert_close(
        ours, torch.autograd.grad(plain, weights, told), atol=1e-4, rtol=1e-4
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv(x)
    assert half.dtype == torch.bfloat16
    of_half = torch.autograd.grad(half.float(), weights, told)
    torch.testing.assert_close(of_half, ours, atol=0.1, rtol=0.05)


def test_depthwise_gradients_are_taken_of_what_learns_alone() -> None:
    conv = SameConv(4, 4, 5, groups=4)
    x = torch.randn(1, 4, 8, 8)
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    conv.requires_grad_(False)
    conv(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not conv(x.detach()).requires_grad
