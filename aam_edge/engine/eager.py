"""The network in torch (extra `[torch]`): the reference that other engines are compared with."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import INPUTS, OUTPUTS, STATE_NAMES, Buffers
from aam_edge.engine.package import Package
from aam_edge.model.native.network import Moment, NativeNetwork, State


class EagerBackend:
    """The very modules that are trained, on the CPU in single precision."""

    name = "eager"
    precision = "f32"
    device = "cpu"
    binds_slowly = False

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
            moment = Moment(*(inputs[name] for name in INPUTS))
            state = State(*(inputs[name] for name in STATE_NAMES))
            with torch.inference_mode():
                *given, after = self._network.step(moment, state)
            for name, tensor in zip(OUTPUTS, given, strict=True):
                outputs[name].copy_(tensor)
            for name, tensor in after._asdict().items():
                outputs[f"next_{name}"].copy_(tensor)

        return run
