"""Which engines run the packaged network here, how fast, and who reads prompts: for `doctor`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import numpy as np

from aam_edge.cli.findings import Finding
from aam_edge.engine.backend import Backend
from aam_edge.engine.catalog import (
    ENGINES,
    GPU_ENGINES,
    TEXTS,
    Engines,
    choose_engine,
    how_to_install,
    is_installed,
    open_backend,
    open_text,
    what_is_missing,
    why_no_gpu,
)
from aam_edge.engine.package import Package, find_package, packaged_names
from aam_edge.engine.session import Session
from aam_edge.engine.weights import list_imported
from aam_edge.errors import ModelError
from aam_edge.messages import Frame, Observation

SOURCE_SIZE = (480, 640)
"""(H, W), pixels, of the pictures that engines are measured with."""
WARM_UP_STEPS = 5
PROMPT = "search for cup"


def find_weights() -> Iterator[Finding]:
    """The packaged networks, their place and whether their hash is right; then what was imported.

    Imported weights are large, so their hash is looked at when they are loaded, not here.
    """
    for name in packaged_names():
        try:
            package = find_package(name)
        except ModelError as problem:
            yield Finding("weights", name, str(problem), is_fault=True)
            continue
        words = f"{package.weights_id}, hash right, {package.tensors}"
        yield Finding("weights", name, words, data={"weights": package.weights_id})
    try:
        rows = list(list_imported())
    except ModelError as problem:  # a user without a home
        yield Finding("weights", "imported", str(problem), is_fault=True)
        return
    for row in rows:
        if row.state == "damaged":
            yield Finding("weights", row.name, row.words, is_fault=True)
        else:
            words = f"{row.sha256[:12]}, imported, {row.path}"
            yield Finding("weights", row.name, words, data={"weights": row.sha256[:12]})


def find_engines(model: str, seconds: float) -> Iterator[Finding]:
    """Each engine in each precision that it has here, run for `seconds`, and what `auto` takes."""
    yield Finding("engine", "auto", f"takes {choose_engine()}", data={"engine": choose_engine()})
    try:
        package = find_package(model)
    except ModelError as problem:
        yield Finding("engine", model, str(problem), is_fault=True)
        return
    for engine in ENGINES:
        if engine in GPU_ENGINES and is_installed(engine) and (why := why_no_gpu()):
            yield Finding("engine", engine, f"for NVIDIA GPUs: {why}")
        elif is_installed(engine):
            yield from _try_engine(package, engine, seconds)
        else:
            yield Finding("engine", engine, f"{what_is_missing(engine)}: {how_to_install(engine)}")


def find_texts() -> Iterator[Finding]:
    """What can turn prompts into numbers here, each tried with one."""
    for name in TEXTS:
        if not is_installed(name):
            yield Finding("text", name, f"not installed: {how_to_install(name)}")
            continue
        try:
            known = bool(open_text(name)(PROMPT).any())
        except ModelError as problem:
            yield Finding("text", name, str(problem), is_fault=True)
            continue
        words = "reads prompts" if known else f'does not know "{PROMPT}"'
        yield Finding("text", name, words, is_fault=not known)


def _try_engine(package: Package, engine: str, seconds: float) -> Iterator[Finding]:
    """One finding a precision; whatever an engine's library raises is a finding too."""
    tried: set[str] = set()
    for precision in ("auto", "f32"):
        name = engine
        try:
            backend = open_backend(package, engine, precision, engines=Engines(builds=False))
            if backend.precision in tried:
                return
            tried.add(backend.precision)
            name = f"{engine} {backend.precision}"
            step_ms = measure(backend, seconds)
            served = "" if backend.name == engine else f" by {backend.name}, for want of an engine"
        except Exception as problem:  # noqa: BLE001 each library has its own kinds
            reason = " ".join(str(problem).split()) or type(problem).__name__
            yield Finding("engine", name, f"does not run: {reason}", is_fault=True)
            return
        words = f"{1000 / step_ms:.0f} maps/s, {step_ms:.1f} ms a step on {backend.device}{served}"
        data = {"rate_hz": 1000 / step_ms, "step_ms": step_ms, "device": backend.device}
        yield Finding("engine", name, words, data=data)


def measure(backend: Backend, seconds: float) -> float:
    """Median time of a step, milliseconds, on moving noise."""
    noise = np.random.default_rng(0).integers(0, 256, (*SOURCE_SIZE, 3), np.uint8)
    session = Session(backend, ["free viewing"])
    took_ms: list[float] = []
    end = time.monotonic() + seconds
    step = 0
    while len(took_ms) <= WARM_UP_STEPS or time.monotonic() < end:
        picture = np.roll(noise, 4 * step, axis=1)
        frame = Frame(picture, step * 33_333_333 + 1, "doctor", step)
        began = time.perf_counter()
        session.step(Observation(frame))
        took_ms.append(1000 * (time.perf_counter() - began))
        step += 1
    session.close()
    return median(took_ms[WARM_UP_STEPS:])
