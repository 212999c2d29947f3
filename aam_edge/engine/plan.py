"""A TensorRT plan that runs on torch's tensors and stream: the visual encoder, nothing with state.

TensorRT's own library runs it (`import tensorrt`); torch-tensorrt is needed only to build.
"""

from __future__ import annotations

import importlib
import json
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from aam_edge.engine.device import Device
from aam_edge.errors import ModelError

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
HEAVY = ("conv", "gemm", "matrixmultiply", "matmul")
"""Kinds of layers that must run in half precision, as the inspector calls them."""


def import_library(name: str) -> ModuleType:
    """`tensorrt` or `torch_tensorrt`.

    Raises:
        ModelError: it is missing or broken; torch-tensorrt raises plain Exception at import.
    """
    try:
        return importlib.import_module(name)
    except Exception as problem:
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        todo = f"install the one that fits torch {torch.__version__}, see docs/gpu.md"
        raise ModelError(f"{name} cannot be loaded", reason, todo) from problem


class Plan:
    """A deserialised plan with its buffers. One thread uses it."""

    def __init__(self, content: bytes, device: Device):
        """Raises ModelError where TensorRT refuses the content."""
        self._device = device
        self.library = import_library("tensorrt")
        self._logger = self.library.Logger(self.library.Logger.ERROR)
        self._runtime = self.library.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        self._context = self._engine and self._engine.create_execution_context()
        if self._context is None:
            todo = "aam-edge build makes one for this machine; free memory if it was built here"
            value = f"TensorRT {self.library.__version__}, {device.free_mb()}"
            raise ModelError("TensorRT refuses the engine", value, todo)
        modes = self.library.TensorIOMode
        self.inputs = [self._tensor(name) for name in self._names(modes.INPUT)]
        self.outputs = [self._tensor(name) for name in self._names(modes.OUTPUT)]

    def _names(self, mode: Any) -> list[str]:
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        return [name for name in names if engine.get_tensor_mode(name) == mode]

    def _tensor(self, name: str) -> Tensor:
        """A buffer of one input or output, at an address that stays."""
        kinds = self.library.DataType
        dtypes = {kinds.FLOAT: torch.float32, kinds.HALF: torch.float16, kinds.BF16: torch.bfloat16}
        shape = tuple(self._engine.get_tensor_shape(name))
        dtype = dtypes[self._engine.get_tensor_dtype(name)]
        tensor = torch.zeros(shape, dtype=dtype, device=self._device.torch)
        self._context.set_tensor_address(name, tensor.data_ptr())
        return tensor

    def __call__(self, picture: Tensor) -> list[Tensor]:
        """The taps, in buffers that the next call writes again.

        Args:
            picture: (B, 3, H, W), float, as the body takes it.
        """
        self.inputs[0].copy_(picture)
        if not self._context.execute_async_v3(self._device.stream()):
            raise ModelError("TensorRT engine failed", self._device.words, "take --engine compiled")
        return self.outputs

    @property
    def output_precision(self) -> str:
        """Of what leaves the engine; `mixed` where it differs."""
        found = {PRECISIONS[tensor.dtype] for tensor in self.outputs}
        return found.pop() if len(found) == 1 else "mixed"

    def layers_in_f32(self) -> list[str]:
        """Heavy layers that compute in single precision, as far as the inspector tells."""
        inspector = self._engine.create_engine_inspector()
        kind = self.library.LayerInformationFormat.JSON
        try:
            layers = json.loads(inspector.get_engine_information(kind)).get("Layers", [])
        except (ValueError, AttributeError):
            return []
        # Names only, where the builder kept no more.
        return [str(x.get("Name")) for x in layers if isinstance(x, dict) and _is_heavy_f32(x)]


def _is_heavy_f32(layer: dict[str, Any]) -> bool:
    kind = str(layer.get("LayerType", "")).lower()
    formats = [str(x.get("Format/Datatype", "")) for x in layer.get("Inputs", [])[:1]]
    is_f32 = any("FP32" in words or "Float" in words for words in formats)
    return is_f32 and any(word in kind for word in HEAVY)
