"""The network in torch (extra `[torch]`): the reference that other engines are compared with."""

from __future__ import annotations

import torch

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.device import Device, Work
from aam_edge.engine.package import Package
from aam_edge.engine.resident import Resident
from aam_edge.engine.torch_network import load_network
from aam_edge.model.native.step_graph import StepGraph


class EagerBackend:
    """The very modules that are trained, operator by operator."""

    name = "eager"

    def __init__(self, package: Package, device: Device, precision: str = "f32", threads: int = 1):
        torch.set_num_threads(threads)
        self.precision, self.device = precision, device.words
        self.prompt_channels = package.prompt_channels
        # Without CUDA graphs, which is what `compiled` is for.
        self._device = Ungraphed(device.torch, device.name, device.capability)
        self._graph = StepGraph(load_network(package, precision, device))

    def bind(self, buffers: Buffers) -> Runner:
        """Puts the stream's buffers on the device."""
        return Resident(self._graph, buffers, self._device)


class Ungraphed(Device):
    """A device that runs each operator when it is called."""

    def recorded(self, work: Work) -> Work:
        """The work itself."""
        return work
