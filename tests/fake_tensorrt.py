"""Stand-ins for TensorRT and torch-tensorrt on a machine without a GPU.

As strict as the real ones where engines go wrong: a plan of another version or cut short is not
deserialised, tensors are addresses in memory, and a builder may forget what precision was asked.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

DataType = enum.Enum("DataType", "FLOAT HALF BF16")
Mode = enum.Enum("Mode", "INPUT OUTPUT")
TORCH = {
    DataType.FLOAT: torch.float32,
    DataType.HALF: torch.float16,
    DataType.BF16: torch.bfloat16,
}
Compute = Callable[[Tensor], Sequence[Tensor]]


class FakeTensorrt:
    """Both libraries of one machine, with dials for their faults."""

    def __init__(self, version: str = "10.3.0") -> None:
        self.version = version
        self.plans: dict[int, tuple[Any, list[Tensor]]] = {}
        self.asked: dict[str, Any] = {}
        """How the last plan was asked for."""
        self.compute: Compute | None = None
        """Computes in place of the program."""
        self.output_type: torch.dtype | None = None
        """Of what leaves the engine, in place of the program's own."""
        self.layers: list[Any] = ["conv_0", "conv_1"]
        """What the inspector tells."""

    def modules(self) -> dict[str, ModuleType]:
        """For sys.modules."""
        tensorrt, builder = ModuleType("tensorrt"), ModuleType("torch_tensorrt")
        for module in (tensorrt, builder):  # torch looks who is there
            module.__spec__ = ModuleSpec(module.__name__, None)
        logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        parts = {
            "__version__": self.version,
            "Logger": logger,
            "Runtime": lambda _: SimpleNamespace(deserialize_cuda_engine=self.deserialise),
            "DataType": DataType,
            "TensorIOMode": Mode,
            "LayerInformationFormat": SimpleNamespace(JSON=1),
        }
        vars(tensorrt).update(parts)
        convert = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=self.convert)
        vars(builder).update({"dynamo": convert})
        return {"tensorrt": tensorrt, "torch_tensorrt": builder}

    def convert(self, program: Any, *, arg_inputs: Sequence[Tensor], **asked: Any) -> bytes:
        """A plan: its version, a number and ballast."""
        self.asked = asked
        module = program.module()
        outputs = list(module(*arg_inputs))
        if self.output_type is not None:
            outputs = [tensor.to(self.output_type) for tensor in outputs]
        number = len(self.plans)
        self.plans[number] = self.compute or module, [arg_inputs[0], *outputs]
        header = json.dumps({"version": self.version, "number": number})
        return header.encode() + b"\n" + bytes(4096)

    def deserialise(self, content: bytes) -> FakeEngine | None:
        """The engine, or None where TensorRT would log two numbers."""
        header, _, ballast = content.partition(b"\n")
        if len(ballast) != 4096 or json.loads(header)["version"] != self.version:
            return None
        return FakeEngine(*self.plans[json.loads(header)["number"]], self.layers)


class FakeEngine:
    """A deserialised plan."""

    def __init__(self, compute: Compute, tensors: list[Tensor], layers: list[Any]):
        self.compute, self.tensors, self.layers = compute, tensors, layers
        self.names = ["picture", *(f"output{i}" for i in range(len(tensors) - 1))]
        self.num_io_tensors = len(tensors)
        self.get_tensor_name = self.names.__getitem__

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == "picture" else Mode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self._of(name).shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return next(kind for kind, dtype in TORCH.items() if dtype == self._of(name).dtype)

    def _of(self, name: str) -> Tensor:
        return self.tensors[self.names.index(name)]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)

    def create_engine_inspector(self) -> Any:
        words = json.dumps({"Layers": self.layers})
        return SimpleNamespace(get_engine_information=lambda _: words)


class FakeContext:
    """Runs an engine on memory that it knows by address alone."""

    def __init__(self, engine: FakeEngine):
        self.engine = engine
        self.places: dict[str, int] = {}
        self.set_tensor_address = self.places.__setitem__

    def execute_async_v3(self, stream: int) -> bool:
        picture, *outputs = (self._at(name) for name in self.engine.names)
        with torch.no_grad():
            for place, tensor in zip(outputs, self.engine.compute(picture), strict=True):
                place.copy_(tensor)
        return stream == 0

    def _at(self, name: str) -> Tensor:
        like = self.engine.tensors[self.engine.names.index(name)]
        memory = (ctypes.c_char * (like.numel() * like.element_size())).from_address(
            self.places[name]
        )
        return torch.frombuffer(memory, dtype=like.dtype).view(like.shape)
