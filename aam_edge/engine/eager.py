"""The network in torch (extra `[torch]`): the reference that other engines are compared with."""

from __future__ import annotations

import torch

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import INPUTS, OUTPUTS, PART_INPUTS, STATE_NAMES, Buffers
from aam_edge.engine.device import Device, Work
from aam_edge.engine.package import Package
from aam_edge.engine.resident import Resident
from aam_edge.engine.torch_network import load_network
from aam_edge.model.native.step_graph import LookGraph, StepGraph


class EagerBackend:
    """The very modules that are trained, operator by operator."""

    name = "eager"
    binds_slowly = False

    def __init__(self, package: Package, device: Device, precision: str = "f32", threads: int = 1):
        torch.set_num_threads(threads)
        self.precision, self.device = precision, device.words
        self.prompt_channels = package.prompt_channels
        # Without CUDA graphs, which is what `compiled` is for.
        self._device = Ungraphed(device.torch, device.name, device.capability)
        self._network = load_network(package, precision, device)
        self._graph = StepGraph(self._network)

    def bind(self, buffers: Buffers) -> Runner:
        """Puts the stream's buffers on the device."""
        return Resident(self._graph, buffers, self._device)

    def bind_look(self, buffers: Buffers) -> Runner:
        """The same for second looks: the state crosses to the host and back, as they are few."""
        look, device = LookGraph(self._network), self._device.torch
        order = (*PART_INPUTS, *INPUTS, *STATE_NAMES)
        names = (*OUTPUTS, *(f"next_{name}" for name in STATE_NAMES))

        def run(turn: int) -> None:
            buffers.fetch_state()
            given = buffers.look_inputs(turn)
            tensors = [torch.from_numpy(given[name]).to(device) for name in order]
            with torch.inference_mode():
                found = look(*tensors)
            outputs = buffers.outputs(turn)
            for name, tensor in zip(names, found, strict=True):
                outputs[name][...] = tensor.cpu().numpy()

        return run


class Ungraphed(Device):
    """A device that runs each operator when it is called."""

    def recorded(self, work: Work) -> Work:
        """The work itself."""
        return work
