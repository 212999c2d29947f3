"""The network in OpenVINO (extra `[openvino]`), the faster one on CPUs with bf16 or AVX-512.

OpenVINO takes bf16 by itself where the CPU has it; `precision` pins what is wanted.
"""

from __future__ import annotations

from typing import Any

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.package import Package
from aam_edge.errors import ModelError


class OpenvinoBackend:
    """A model read once and compiled for each shape that streams ask for."""

    name = "openvino"
    device = "cpu"

    def __init__(self, package: Package, precision: str = "auto", threads: int = 1):
        try:
            import openvino
        except ImportError as problem:
            todo = "pip install aam-edge[openvino]"
            raise ModelError("engine is not installed", "openvino", todo) from problem
        self.prompt_channels = package.prompt_channels
        self._openvino = openvino
        self._core = openvino.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise ModelError("CPU has no bf16", "openvino", "set model.precision=f32")
        self.precision = ("bf16" if has_bf16 else "f32") if precision == "auto" else precision
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        self._package = package

    def bind(self, buffers: Buffers) -> Runner:
        """Compiles for the buffers' shapes; the arrays are shared, not copied."""
        request = self._compile(buffers).create_infer_request()
        tensor = self._openvino.Tensor
        turns = [
            (
                {n: tensor(a, shared_memory=True) for n, a in buffers.inputs(turn).items()},
                {n: tensor(a, shared_memory=True) for n, a in buffers.outputs(turn).items()},
            )
            for turn in (0, 1)
        ]

        def run(turn: int) -> None:
            inputs, outputs = turns[turn]
            for name, value in (inputs | outputs).items():
                request.set_tensor(name, value)
            request.infer()

        return run

    def _compile(self, buffers: Buffers) -> Any:
        try:
            model = self._core.read_model(self._package.graph)
            model.reshape({name: list(a.shape) for name, a in buffers.inputs(0).items()})
            return self._core.compile_model(model, "CPU", self._options)
        except RuntimeError as problem:
            reason = f"{self._package.graph.name}: {str(problem).splitlines()[0]}"
            raise ModelError("network cannot be loaded", reason, "try --engine onnx") from problem
