"""The network in torch (extra `[torch]`): the reference that other engines are compared with."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import STATE_NAMES, Buffers
from aam_edge.engine.package import Package
from aam_edge.model.native.fpd import State
from aam_edge.model.native.network import NativeNetwork


class EagerBackend:
    """The very modules that are trained, on the CPU in single precision."""

    name = "eager"
    precision = "f32"
    device = "cpu"

    def __init__(self, package: Package, threads: int = 1):
        torch.set_num_threads(threads)
        self._network = NativeNetwork().eval()
        stored = load_file(package.tensors)
        self._network.load_state_dict({name: tensor.float() for name, tensor in stored.items()})

    def bind(self, buffers: Buffers) -> Runner:
        """Sees the buffers as tensors; results are copied into them."""
        turns = [
            (
                {n: torch.from_numpy(a) for n, a in buffers.inputs(turn).items()},
                {n: torch.from_numpy(a) for n, a in buffers.outputs(turn).items()},
            )
            for turn in (0, 1)
        ]

        def run(turn: int) -> None:
            inputs, outputs = turns[turn]
            state = State(*(inputs[name] for name in STATE_NAMES))
            with torch.inference_mode():
                step = self._network.step(inputs["image"], inputs["prompt"], inputs["dt_s"], state)
            outputs["density"].copy_(step.density)
            outputs["cut"].copy_(step.cut)
            for name, tensor in step.state._asdict().items():
                outputs[f"next_{name}"].copy_(tensor)

        return run
