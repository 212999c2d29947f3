"""The network in ONNX Runtime on the CPU: the engine of the base install.

One intra-op thread: on networks below 5 ms a second one gains nothing and, spinning, burns a core.
In int8 the step's convolutions run in 8 bits (docs/decisions/0068-int8.md); second looks stay f32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Array, Buffers
from aam_edge.engine.graph_files import check_graph_files
from aam_edge.engine.package import Package
from aam_edge.errors import ModelError

Arrays = Callable[[int], dict[str, Array]]
"""Turn to the arrays by name."""


class OnnxBackend:
    """An ONNX Runtime session, shared by all streams of one network."""

    name = "onnx"
    device = "cpu"
    binds_slowly = False

    def __init__(self, package: Package, threads: int = 1, precision: str = "f32"):
        self.precision = precision
        graph = package.int8_graph() if precision == "int8" else package.graph
        self.prompt_channels = package.prompt_channels
        self._package, self._options = package, ort.SessionOptions()
        options = self._options
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what is wrong comes as an exception too, and is said once
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if precision == "int8" and _saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        self._session = self._open(graph)
        self._look: Any = None

    def bind(self, buffers: Buffers) -> Runner:
        """Binds both directions of the twofold state by address: no copies at run time."""
        return self._runner(self._session, buffers.inputs, buffers)

    def bind_look(self, buffers: Buffers) -> Runner:
        """The same for second looks; loads their graph at the first call."""
        if self._look is None:
            self._look = self._open(self._package.look_graph())
        return self._runner(self._look, buffers.look_inputs, buffers)

    def _open(self, graph: Path) -> Any:
        check_graph_files(graph, self._package.tensors)
        try:
            return ort.InferenceSession(
                str(graph), self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # ONNX Runtime raises its own, undocumented kinds
            reason = str(problem).splitlines()[0]
            raise ModelError(
                "network cannot be loaded", f"{graph.name}: {reason}", "export it anew"
            ) from problem

    def _runner(self, session: Any, inputs: Arrays, buffers: Buffers) -> Runner:
        of_graph = self._package.of_graph
        bindings = [
            _binding(session, of_graph(inputs(turn)), of_graph(buffers.outputs(turn)))
            for turn in (0, 1)
        ]

        def run(turn: int) -> None:
            session.run_with_iobinding(bindings[turn])

        return run


def _binding(session: Any, inputs: dict[str, Array], outputs: dict[str, Array]) -> Any:
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, _address(array))
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, _address(array))
    return binding


def _saturates() -> bool:
    """Whether the CPU may lack VNNI: the fast product of uint8 and int8 then saturates at 16 bits.

    ONNX Runtime has an exact one for it. With VNNI that is not needed, and where there is AMX too
    it makes a step slower than f32 (1.32: 18.2 ms, 10.7 without it, 14.3 in f32).
    """
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def _address(array: Array) -> int:
    return int(array.ctypes.data)
