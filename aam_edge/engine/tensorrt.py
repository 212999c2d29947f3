"""The network with its visual encoder in TensorRT, built ahead of time on the machine that runs it.

Where there is no engine that fits, it says so, serves from `compiled`, and lets `aam-edge build`
make one in a process of its own; once that is done the stream goes over, and its state with it.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.build import fit_of, needs_gpu
from aam_edge.engine.compiled import Compiler, inductor, run_compiled
from aam_edge.engine.device import Device
from aam_edge.engine.engine_file import default_folder, engine_path, read_engine
from aam_edge.engine.package import Package
from aam_edge.engine.plan import Plan
from aam_edge.engine.resident import Resident, Step
from aam_edge.engine.torch_network import load_network
from aam_edge.errors import ModelError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.step_graph import StepGraph

logger = logging.getLogger(__name__)

LOOK_EACH = 30
"""Steps between two looks whether a build is done."""
NICE = 10
"""So that a build gives way to the stream."""


class Build(Protocol):
    """A build on its way: `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""


StartBuild = Callable[[list[str]], Build]
"""Runs `aam-edge` with arguments."""


def start_build(arguments: list[str]) -> Build:
    """In a process of its own, which gives way to others."""
    program = [sys.executable, "-m", "aam_edge.cli.main", *arguments]
    return subprocess.Popen(["nice", "-n", str(NICE), *program])


class TensorrtBackend:
    """An engine for each shape of the input; the rest of the step is compiled."""

    def __init__(
        self,
        package: Package,
        device: Device,
        precision: str,
        threads: int = 1,
        folder: Path | None = None,
        builds: bool = True,
        start: StartBuild = start_build,
        compiler: Compiler | None = None,
        look_each: int = LOOK_EACH,
    ):
        """With `builds`, `start` begins to build what is missing."""
        needs_gpu(device)
        torch.set_num_threads(threads)
        self.precision, self.device = precision, device.words
        self.prompt_channels = package.prompt_channels
        self.name = "tensorrt"
        """Or `compiled`, for as long as that serves."""
        self._package, self._device = package, device
        self._folder = folder or default_folder()
        self._start = start if builds else None
        self.look_each = look_each
        self._compiler = inductor(device) if compiler is None else compiler
        self._network = load_network(package, precision, device)

    def bind(self, buffers: Buffers) -> Runner:
        """Loads the engine of this shape, or serves without it."""
        size = buffers.shape.height, buffers.shape.width
        try:
            with said_in_one_line():
                stream = Resident(self.open(size), buffers, self._device)
        except ModelError as problem:
            return self._serve_without(buffers, size, problem)
        self.name = "tensorrt"
        return stream

    def open(self, size: tuple[int, int]) -> Step:
        """The step with the engine for inputs of (H, W).

        Raises:
            ModelError: there is none that fits.
        """
        fit = fit_of(self._package, self._device, self.precision, size)
        content = read_engine(engine_path(self._folder, self._package, fit), fit)
        return EngineStep(Plan(content, self._device), self._network, self._compiler)

    def _serve_without(
        self, buffers: Buffers, size: tuple[int, int], problem: ModelError
    ) -> Runner:
        logger.warning("%s; serving from compiled", problem)
        self.name = "compiled"
        stream = run_compiled(StepGraph(self._network), self._compiler, buffers, self._device)
        if self._start is None:
            return stream
        logger.info("building a TensorRT engine in the background; it takes minutes")
        return Waiting(self, stream, size, self._start(self._build_arguments(size)))

    def _build_arguments(self, size: tuple[int, int]) -> list[str]:
        height, width = size
        return [
            *("build", "--quiet", "--model", str(self._package.tensors)),
            *("--precision", self.precision, "--input", f"{width}x{height}"),
            *("--device", str(self._device.torch), "--out", str(self._folder)),
        ]


@contextmanager
def said_in_one_line() -> Iterator[None]:
    """Makes whatever torch and TensorRT raise at a first run a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as problem:
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise ModelError(
            "engine does not run", reason, "build it anew: aam-edge build"
        ) from problem


class EngineStep:
    """A step whose taps come from an engine."""

    def __init__(self, plan: Plan, network: NativeNetwork, compiler: Compiler):
        self._plan = plan
        self._rest = compiler(StepGraph(network, taps=len(plan.outputs)))

    def __call__(self, image: Tensor, *given: Tensor) -> Sequence[Tensor]:
        picture = image.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        taps: Sequence[Tensor] = self._rest(*self._plan(picture), image, *given)
        return taps


class Waiting:
    """A stream that is served by `compiled` until its engine is there."""

    def __init__(
        self, backend: TensorrtBackend, stream: Resident, size: tuple[int, int], build: Build
    ):
        self._backend, self._stream, self._size = backend, stream, size
        self._build: Build | None = build
        self._steps = 0

    def __call__(self, turn: int) -> None:
        """One step; now and then a look at the build."""
        self._stream(turn)
        self._steps += 1
        if self._build is not None and self._steps % self._backend.look_each == 0:
            self._look(self._build)

    def _look(self, build: Build) -> None:
        code = build.poll()
        if code is None:
            return
        self._build = None
        try:
            if code != 0:
                value = f"exit code {code}"
                raise ModelError("build of the engine failed", value, "run aam-edge build to see")
            with said_in_one_line():
                self._stream.use(self._backend.open(self._size))
        except ModelError as problem:
            logger.warning("%s; compiled stays", problem)
            return
        self._backend.name = "tensorrt"
        logger.info("the TensorRT engine is built and runs")
