"""A step's graph with its convolutions in 8 bits: what engines read as the pattern of int8.

Around each convolution stand QuantizeLinear and DequantizeLinear. Activations are uint8, from their
range on photos; weights int8, one scale a channel; the bias is int32:

    q = round(x / scale) + zero,  0..255,   scale = (highest - lowest) / 255
    w = round(w / scale_c),  -127..127,     scale_c = max |w| of the channel / 127

Weights stay where they are, in the package's tensors: the graph rounds them, and engines do that
once, when they load it. A clip or relu behind a convolution goes: rounding to 0..255 does the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from aam_edge.model.native.step_graph import WHOLE_PARTS

FLOAT_PARTS = (
    *WHOLE_PARTS,
    # Few channels at half the picture's sides: no faster in 8 bits, the stem half as fast.
    *("body.stem", "body.stages.0"),
    # Small, and in front of an upsampling, which ONNX Runtime does faster between floats.
    *("decoder.down", "decoder.to_middle", "decoder.to_fine", "decoder.hint"),
    "decoder.recognition",
)
"""Their convolutions stay as they are (docs/decisions/0068-int8.md)."""
ACTIVATIONS = ("Clip", "Relu")
OWNER = "network."
TOP = 127
LARGEST_BIAS = 2**30
"""Of a bias in steps of its scale; dead channels have weights so small that it would not fit."""
TINY = 1e-8

Range = tuple[float, float]
"""Lowest and highest value of a tensor, 0 among them."""


def chosen(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The convolutions that go into 8 bits."""
    parts = tuple(f"{OWNER}{part}." for part in FLOAT_PARTS)
    whole = (f"{OWNER}body.", f"{OWNER}decoder.")
    return [
        node
        for node in graph.node
        if node.op_type == "Conv"
        and len(node.input) == 3
        and node.input[1].startswith(whole)
        and not node.input[1].startswith(parts)
    ]


def watched(graph: onnx.GraphProto) -> list[str]:
    """The tensors whose range must be known: what goes into those convolutions, and comes out."""
    after = _activations(graph)
    names: list[str] = []
    for node in chosen(graph):
        out = node.output[0]
        names += [node.input[0], after[out].output[0] if out in after else out]
    return list(dict.fromkeys(names))


def _activations(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The clip or relu that alone reads a tensor, by the tensor's name."""
    readers = Counter(name for node in graph.node for name in node.input)
    return {
        node.input[0]: node
        for node in graph.node
        if node.op_type in ACTIVATIONS and readers[node.input[0]] == 1
    }


def quantise(
    graph: onnx.GraphProto, weights: Mapping[str, NDArray[np.float32]], ranges: Mapping[str, Range]
) -> int:
    """Puts the chosen convolutions, and the additions between them, into 8 bits.

    Args:
        graph: changed in place.
        weights: the network's tensors by name.
        ranges: of what `watched` names.

    Returns:
        How many convolutions that were.
    """
    writer = _Writer(graph, weights, ranges)
    names = {node.name for node in chosen(graph)}
    after = _activations(graph)
    gone = {after[n.output[0]].name for n in chosen(graph) if n.output[0] in after}
    for node in graph.node:
        if node.name in names:
            out = node.output[0]
            writer.convolution(node, after[out].output[0] if out in after else out)
        elif node.op_type == "Add" and writer.has(node.input) and node.output[0] in ranges:
            writer.addition(node)
        elif node.name not in gone:
            writer.nodes.append(node)
    _replace(graph, writer.nodes, writer.tensors)
    return len(names)


def _replace(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]
) -> None:
    """Takes the new nodes in, and drops tensors that nothing reads any more."""
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in (*graph.initializer, *tensors) if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


class _Writer:
    """The new nodes in their order, and the tensors that they bring."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        weights: Mapping[str, NDArray[np.float32]],
        ranges: Mapping[str, Range],
    ):
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._weights, self._ranges = weights, ranges
        self._rounded: dict[str, str] = {}
        """A tensor to its copy that went through 8 bits."""
        self._steps: dict[str, tuple[str, str, float]] = {}

    def has(self, names: Iterable[str]) -> bool:
        """Whether all of these have gone through 8 bits."""
        return all(name in self._rounded for name in names)

    def convolution(self, node: onnx.NodeProto, out: str) -> None:
        """The node in 8 bits; `out` is what is read of it, behind its clip or relu."""
        picture, weight, bias = node.input
        own, step = weight.removeprefix(OWNER), self._step(picture)[2]
        shift = self._weights[bias.removeprefix(OWNER)].astype(np.float32)
        matrix = self._weights[own].astype(np.float32).reshape(len(shift), -1)
        least = np.abs(shift) / (step * LARGEST_BIAS)
        scale = np.maximum(np.maximum(np.abs(matrix).max(1) / TOP, least), TINY).astype(np.float32)
        scales = self._tensor(f"{own}.scale", scale)
        zeros = self._tensor(f"{own}.zero", np.zeros(len(scale), np.int8))
        self._node("QuantizeLinear", [weight, scales, zeros], f"{own}.i8", axis=0)
        self._node("DequantizeLinear", [f"{own}.i8", scales, zeros], f"{own}.rounded", axis=0)
        bias_scale = (scale * np.float32(step)).astype(np.float32)
        given = [
            self._tensor(f"{own}.bias", np.rint(shift / bias_scale).astype(np.int32)),
            self._tensor(f"{own}.bias_scale", bias_scale),
            self._tensor(f"{own}.bias_zero", np.zeros(len(scale), np.int32)),
        ]
        self._node("DequantizeLinear", given, f"{own}.bias_rounded", axis=0)
        self._copy(node, [self._round(picture), f"{own}.rounded", f"{own}.bias_rounded"], out)

    def addition(self, node: onnx.NodeProto) -> None:
        """A short cut: both sides are in 8 bits, and so is the sum."""
        self._copy(node, [self._rounded[name] for name in node.input], node.output[0])

    def _copy(self, node: onnx.NodeProto, given: list[str], out: str) -> None:
        """The node with other inputs, and what it gives rounded as `out`."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = given
        copy.output[0] = f"{out}.whole"
        self.nodes.append(copy)
        self._pair(out, f"{out}.whole", out)
        self._rounded[out] = out

    def _round(self, name: str) -> str:
        """A tensor's copy that went through 8 bits, made at the first time."""
        if name not in self._rounded:
            self._pair(name, name, f"{name}.rounded")
            self._rounded[name] = f"{name}.rounded"
        return self._rounded[name]

    def _pair(self, name: str, source: str, target: str) -> None:
        scale, zero, _ = self._step(name)
        self._node("QuantizeLinear", [source, scale, zero], f"{target}.u8")
        self._node("DequantizeLinear", [f"{target}.u8", scale, zero], target)

    def _step(self, name: str) -> tuple[str, str, float]:
        """Names of a tensor's scale and zero, and the scale."""
        if name not in self._steps:
            lowest, highest = self._ranges[name]
            scale = np.float32(max((highest - lowest) / 255, TINY))
            zero = np.uint8(np.clip(np.rint(-lowest / scale), 0, 255))
            self._steps[name] = (
                self._tensor(f"{name}.scale", np.asarray(scale)),
                self._tensor(f"{name}.zero", np.asarray(zero)),
                float(scale),
            )
        return self._steps[name]

    def _tensor(self, name: str, values: NDArray[np.generic]) -> str:
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, kind: str, given: list[str], out: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, given, [out], name=f"{out}.{kind}", **attributes))
