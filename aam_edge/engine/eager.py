"""The network in torch (extra `[torch]`): the reference that other engines are compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors.torch import load_file

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import INPUTS, OUTPUTS, PART_INPUTS, STATE_NAMES, Array, Buffers
from aam_edge.engine.package import Package
from aam_edge.model.native.network import Moment, NativeNetwork, State, Step
from aam_edge.model.native.second_look import Part


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
        return self._runner(buffers, buffers.inputs, self._network.step)

    def bind_look(self, buffers: Buffers) -> Runner:
        """The same for second looks."""
        return self._runner(buffers, buffers.look_inputs, self._network.look)

    def _runner(
        self, buffers: Buffers, given: Callable[[int], dict[str, Array]], work: Callable[..., Step]
    ) -> Runner:
        turns = [
            (
                {n: torch.from_numpy(a) for n, a in given(turn).items()},
                {n: torch.from_numpy(a) for n, a in buffers.outputs(turn).items()},
            )
            for turn in (0, 1)
        ]

        def run(turn: int) -> None:
            inputs, outputs = turns[turn]
            moment = Moment(*(inputs[name] for name in INPUTS))
            state = State(*(inputs[name] for name in STATE_NAMES))
            part = [Part(*(inputs[name] for name in PART_INPUTS))] if "part_box" in inputs else []
            with torch.inference_mode():
                *found, after = work(moment, *part, state)
            for name, tensor in zip(OUTPUTS, found, strict=True):
                outputs[name].copy_(tensor)
            for name, tensor in after._asdict().items():
                outputs[f"next_{name}"].copy_(tensor)

        return run
