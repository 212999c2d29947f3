"""The network compiled by torch and run as one CUDA graph: the engine for NVIDIA GPUs.

On a CPU it works as well, when it is asked for by name: inductor writes C++ there, which takes
minutes for a first start and needs a compiler.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import KEPT_SHAPES, Buffers
from aam_edge.engine.device import Device
from aam_edge.engine.package import Package
from aam_edge.engine.resident import Resident, Step
from aam_edge.engine.torch_network import load_network
from aam_edge.errors import ModelError
from aam_edge.model.native.step_graph import StepGraph

logger = logging.getLogger(__name__)

Compiler = Callable[[nn.Module], Any]
"""Makes a module fast: torch.compile with its options."""


def inductor(device: Device) -> Compiler:
    """torch's own compiler, as far as this machine has what it needs.

    Raises:
        ModelError: on the CPU, where there is no C++ compiler.
    """
    if device.is_cuda and find_spec("triton") is None:
        logger.warning("triton is missing: CUDA graphs without fused kernels (docs/gpu.md)")
        return lambda module: module
    if not device.is_cuda and not has_cpp_compiler():
        todo = "sudo apt-get install g++, or take --engine eager"
        raise ModelError("no C++ compiler to compile the network with", "g++", todo)
    # Each shape of the input is compiled for itself, and none pushes another out.
    torch._dynamo.config.recompile_limit = 4 * KEPT_SHAPES
    return partial(torch.compile, fullgraph=True, dynamic=False)


def has_cpp_compiler() -> bool:
    """Whether inductor will find one."""
    names = (os.environ.get("CXX", ""), "g++", "clang++")
    return any(name and shutil.which(name) for name in names)


class CompiledBackend:
    """torch.compile, then one CUDA graph a stream."""

    name = "compiled"

    def __init__(
        self,
        package: Package,
        device: Device,
        precision: str = "f32",
        threads: int = 1,
        compiler: Compiler | None = None,
    ):
        torch.set_num_threads(threads)
        self.precision, self.device = precision, device.words
        self.prompt_channels = package.prompt_channels
        self._device = device
        self._compiler = inductor(device) if compiler is None else compiler
        self._graph = StepGraph(load_network(package, precision, device))

    def bind(self, buffers: Buffers) -> Runner:
        """Compiles for the buffers' shapes, warms up and records; seconds on a GPU."""
        return run_compiled(self._graph, self._compiler, buffers, self._device)


def run_compiled(
    graph: nn.Module, compiler: Compiler, buffers: Buffers, device: Device
) -> Resident:
    """A stream of a compiled graph; on a GPU where the compiler fails, of the graph as it is.

    Raises:
        ModelError: it does not fit, or on the CPU cannot be compiled.
    """
    try:
        return Resident(tried(compiler(graph), buffers, device), buffers, device)
    except ModelError:
        raise
    except Exception as problem:  # torch.compile raises whatever its parts raise
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        if not device.is_cuda:
            todo = "take --engine eager, and report this with what aam-edge doctor prints"
            raise ModelError("network cannot be compiled", reason, todo) from problem
        logger.warning("torch.compile fails (%s): CUDA graphs without fused kernels", reason)
        return Resident(graph, buffers, device)


def tried(step: Step, buffers: Buffers, device: Device) -> Step:
    """Runs a step once, so that what fails to compile fails here."""
    arguments = [torch.from_numpy(a).to(device.torch) for a in buffers.inputs(0).values()]
    with torch.no_grad():
        step(*arguments)
    return step
