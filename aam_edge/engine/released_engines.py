"""The public network of a stream put into another engine than eager."""

from __future__ import annotations

import logging
from pathlib import Path

from aam_edge.engine.build import fit_of, needs_gpu
from aam_edge.engine.compiled import Compiler, inductor
from aam_edge.engine.device import Device
from aam_edge.engine.eager import Ungraphed
from aam_edge.engine.engine_file import default_folder, engine_path, read_engine
from aam_edge.engine.package import Package
from aam_edge.engine.plan import Plan
from aam_edge.engine.released_runner import ReleasedRunner, in_half
from aam_edge.engine.released_session import ReleasedBackend
from aam_edge.errors import ModelError
from aam_edge.model.released.pictures import SIDE
from aam_edge.model.released.stream import ReleasedStream

logger = logging.getLogger(__name__)


def run_in(
    backend: ReleasedBackend,
    package: Package,
    engine: str,
    precision: str,
    device: Device,
    folder: Path | None = None,
    compiler: Compiler | None = None,
) -> None:
    """Makes a backend's steps those of an engine; a TensorRT engine that does not fit is said.

    Args:
        backend: in f32 on the device, before its first session.
        package: for the engine file.
        engine: eager, compiled or tensorrt.
        precision: f32, bf16 or f16, of backbone and projections.
        device: where it runs.
        folder: where engines lie; None for the user's cache.
        compiler: in place of torch's.

    Raises:
        ModelError: no GPU for TensorRT, or no compiler.
    """
    stream = ReleasedStream(in_half(backend.stream.network, precision), backend.stream.window)
    plan = None
    if engine == "tensorrt":
        needs_gpu(device)
        try:
            plan = _plan(package, precision, device, folder or default_folder())
        except ModelError as problem:
            logger.warning("%s; serving from compiled", problem)
            engine = "compiled"
    if engine == "eager":
        device = Ungraphed(device.torch, device.name, device.capability)
        runner = ReleasedRunner(stream, device)
    else:
        runner = ReleasedRunner(stream, device, compiler or inductor(device), plan)
    backend.run_in(stream, runner.step, engine, precision, device.words)


def _plan(package: Package, precision: str, device: Device, folder: Path) -> Plan:
    fit = fit_of(package, device, precision, (SIDE, SIDE))
    return Plan(read_engine(engine_path(folder, package, fit), fit), device)
