"""The network in ONNX Runtime on the CPU: the engine of the base install.

One intra-op thread: on networks below 5 ms a second one gains nothing and, spinning, burns a core.
"""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Array, Buffers
from aam_edge.engine.package import Package
from aam_edge.errors import ModelError


class OnnxBackend:
    """An ONNX Runtime session, shared by all streams of one network."""

    name = "onnx"
    precision = "f32"
    device = "cpu"

    def __init__(self, package: Package, threads: int = 1):
        self.prompt_channels = package.prompt_channels
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(package.graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # ONNX Runtime raises its own, undocumented kinds
            reason = str(problem).splitlines()[0]
            raise ModelError(
                "network cannot be loaded", f"{package.graph.name}: {reason}", "export it anew"
            ) from problem

    def bind(self, buffers: Buffers) -> Runner:
        """Binds both directions of the twofold state by address: no copies at run time."""
        bindings = [self._binding(buffers, turn) for turn in (0, 1)]

        def run(turn: int) -> None:
            self._session.run_with_iobinding(bindings[turn])

        return run

    def _binding(self, buffers: Buffers, turn: int) -> Any:
        binding = self._session.io_binding()
        for name, array in buffers.inputs(turn).items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, _address(array))
        for name, array in buffers.outputs(turn).items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, _address(array))
        return binding


def _address(array: Array) -> int:
    return int(array.ctypes.data)
