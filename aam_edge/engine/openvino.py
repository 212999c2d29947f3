"""The network in OpenVINO (extra `[openvino]`), the faster one on CPUs with bf16 or AVX-512.

OpenVINO takes bf16 by itself where the CPU has it; `precision` pins what is wanted. In int8 what is
not in 8 bits is f32, and so are second looks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Array, Buffers
from aam_edge.engine.graph_files import check_graph_files
from aam_edge.engine.package import Package
from aam_edge.errors import ModelError

Arrays = Callable[[int], dict[str, Array]]
"""Turn to the arrays by name."""
LEAN = {"SNIPPETS_MODE": "DISABLE"}
"""No machine code made for each chain of small operations: as fast for this network, 38 MB less."""


@functools.cache
def _library() -> tuple[Any, Any]:
    """OpenVINO and its core: one for the whole process, for as long as that lives.

    On CPUs with AMX a core gives its thread another stack for signals, and at its end the one
    before. Of two that end in the order of their start, the second so brings back a freed one, and
    the next signal, the SIGTERM of a stop say, is a segmentation fault.
    """
    try:
        import openvino
    except ImportError as problem:
        todo = "pip install aam-edge[openvino]"
        raise ModelError("engine is not installed", "openvino", todo) from problem
    return openvino, openvino.Core()


class OpenvinoBackend:
    """A model read once and compiled for each shape that streams ask for."""

    name = "openvino"
    device = "cpu"
    binds_slowly = True
    """It compiles for each shape: 0.7 s, several on a busy machine."""

    def __init__(self, package: Package, precision: str = "auto", threads: int = 1):
        openvino, self._core = _library()
        self.prompt_channels = package.prompt_channels
        self._openvino = openvino
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise ModelError("CPU has no bf16", "openvino", "set model.precision=f32")
        self.precision = ("bf16" if has_bf16 else "f32") if precision == "auto" else precision
        self._graph = package.int8_graph() if precision == "int8" else package.graph
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else self.precision,
        }
        self._package = package

    def bind(self, buffers: Buffers) -> Runner:
        """Compiles for the buffers' shapes; the arrays are shared, not copied."""
        return self._runner(self._graph, buffers.inputs, buffers)

    def bind_look(self, buffers: Buffers) -> Runner:
        """The same for second looks."""
        return self._runner(self._package.look_graph(), buffers.look_inputs, buffers)

    def _runner(self, graph: Path, given: Arrays, buffers: Buffers) -> Runner:
        of_graph, tensor = self._package.of_graph, self._openvino.Tensor
        request = self._compile(graph, of_graph(given(0))).create_infer_request()
        turns = [
            {
                name: tensor(array, shared_memory=True)
                for name, array in of_graph(given(turn) | buffers.outputs(turn)).items()
            }
            for turn in (0, 1)
        ]

        def run(turn: int) -> None:
            for name, value in turns[turn].items():
                request.set_tensor(name, value)
            request.infer()

        return run

    def _compile(self, graph: Path, inputs: dict[str, Array]) -> Any:
        check_graph_files(graph, self._package.tensors)
        try:
            model = self._core.read_model(graph)
            model.reshape({name: list(array.shape) for name, array in inputs.items()})
            return self._compiled(model)
        except RuntimeError as problem:
            reason = f"{graph.name}: {str(problem).splitlines()[0]}"
            raise ModelError("network cannot be loaded", reason, "try --engine onnx") from problem

    def _compiled(self, model: Any) -> Any:
        try:
            return self._core.compile_model(model, "CPU", self._options | LEAN)
        except RuntimeError:  # LEAN is undocumented: a version may not know it
            return self._core.compile_model(model, "CPU", self._options)
