"""A depthwise convolution that learns fast on a CPU; forward it is torch's own.

oneDNN has slow paths for its gradients (torch 2.13): in half precision all of them, in single that
of a 5x5 kernel, which costs ten times what a 3x3 kernel's does. Here gradients are taken in single
precision, that of a 5x5 kernel as those of four 3x3 kernels that cover it. The network's part of a
training step takes 0.91 of its time then, in half precision with AMX 0.71, where that took 1.3 (one
thread of an Intel Xeon).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 3
LAST = torch.channels_last


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """The convolution of (B, c, h, w) with (c, 1, k, k) and (c,), in the precision of x."""
    y: Tensor = _Depthwise.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # Of x in its own precision, of weight and bias in single, or in theirs.
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        least_single = torch.promote_types(x.dtype, torch.float32)
        grad, seen = (t.to(least_single).contiguous(memory_format=LAST) for t in (grads[0], x))
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        of_bias = grad.sum((0, 2, 3)) if for_bias else None
        is_pieced = weight.shape[2] > PIECE and stride == 1
        asked = for_x, for_weight and not is_pieced
        of_x, of_weight = _gradients(grad, seen, weight, stride, padding, asked)
        if for_weight and is_pieced:
            of_weight = _in_pieces(grad, seen, weight, padding)
        return None if of_x is None else of_x.to(x.dtype), of_weight, of_bias, None, None


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, asked: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    if not any(asked):
        return None, None
    shape = [stride, stride], [padding, padding], [1, 1], False, [0, 0], x.shape[1]
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *shape, [*asked, False]
    )
    return of_x, of_weight


def _in_pieces(grad: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """The gradient of a kernel of more than 3x3, from those of 3x3 kernels side by side."""
    side, (rows, columns) = weight.shape[2], grad.shape[2:]
    count = -(-side // PIECE)
    beyond = count * PIECE - side
    padded = F.pad(x, (padding, padding + beyond) * 2)
    whole = weight.new_zeros(len(weight), 1, count * PIECE, count * PIECE)
    piece = weight.new_zeros(len(weight), 1, PIECE, PIECE)
    for top in range(0, side, PIECE):
        for left in range(0, side, PIECE):
            part = padded[:, :, top : top + rows + 2, left : left + columns + 2]
            part = part.contiguous(memory_format=LAST)
            found = _gradients(grad, part, piece, 1, 0, (False, True))[1]
            assert found is not None
            whole[:, :, top : top + PIECE, left : left + PIECE] = found
    return whole[:, :, :side, :side]
