"""The checkpoint of a run: one file, replaced as a whole, so that there is always a whole one.

format      1
config      all settings
epoch, step place of the next batch
steps       done since the beginning
network     state dict of what learns
average     that of its running average, low-rank updates merged: what `export` reads
follower    the average with its updates apart; only with lora.rank > 0
optimiser   state dict
scores      the validations so far
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aam_edge.errors import DataError, ModelError
from aam_edge.model.released.files import DAMAGED, read_saved

FORMAT = 1
NEEDED = ("format", "config", "epoch", "step", "steps", "network", "average", "optimiser")


@dataclass(slots=True)
class Place:
    """How far a run is."""

    epoch: int = 0
    step: int = 0
    """Of the epoch, the next."""
    steps: int = 0
    """Done in all."""
    scores: list[dict[str, Any]] = field(default_factory=list)


def write(path: Path, whole: dict[str, Any]) -> None:
    """Writes beside the old one and swaps them.

    Raises:
        DataError: it cannot be written; the old one is still there.
    """
    part = path.with_suffix(".part")
    try:
        with part.open("wb", buffering=0) as file:
            patient = _Patient(file)
            torch.save(whole, patient)  # type: ignore[arg-type]  # write and flush are enough
            patient.end()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as problem:
        part.unlink(missing_ok=True)
        kept = "the one before it is whole" if path.exists() else "there is none before it"
        what = f"checkpoint cannot be written, {problem.strerror}"
        raise DataError(what, path, f"make room; {kept}") from problem


class _Patient:
    """A file that keeps its first error until the end.

    torch's zip writer is C++ and goes on writing while it is taken down; an error that flies
    through it can leave the process broken.
    """

    def __init__(self, file: FileIO):
        self._file = file
        self._problem: OSError | None = None

    def write(self, data: bytes) -> int:
        """Writes all of it, or nothing after an error; its length either way."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self._problem is None:
                left = left[self._file.write(left) :]
        except OSError as problem:
            self._problem = problem
        return size

    def flush(self) -> None:
        """Nothing waits."""

    def end(self) -> None:
        """OSError where something could not be written."""
        if self._problem is not None:
            raise self._problem


def read_named(path: Path) -> dict[str, Any]:
    """What torch.save wrote, by names; ModelError where it is not there, broken, or without."""
    try:
        whole = read_saved(path)
    except FileNotFoundError as problem:
        raise ModelError("checkpoint is not there", path, "check the path") from problem
    except DAMAGED as problem:
        todo = "restore it, give another, or remove it to begin anew"
        raise ModelError("checkpoint cannot be read", path, todo) from problem
    if not isinstance(whole, dict):
        raise no_checkpoint(path)
    return whole


def read(path: Path) -> dict[str, Any]:
    """The same of what a run wrote: there are weights in it, as `average`."""
    whole = read_named(path)
    if not isinstance(whole.get("average"), dict):
        raise no_checkpoint(path)
    return whole


def no_checkpoint(path: Path) -> ModelError:
    """The one line for a file of something else."""
    return ModelError("file is no checkpoint of a fit", path, "give last.pt of a fit")


def check(whole: dict[str, Any], size: str, path: Path) -> None:
    """ModelError where a run cannot go on from it."""
    lacking = [key for key in NEEDED if key not in whole]
    if lacking:
        todo = "give another out, or begin with it: start=FILE"
        raise ModelError("checkpoint lacks what a run goes on from", f"{path}: {lacking[0]}", todo)
    if whole["format"] != FORMAT:
        value = f"{path}: format {whole['format']}, known {FORMAT}"
        raise ModelError("checkpoint is of another format", value, "give another out")
    other = whole["config"]["model"]["size"]
    if other != size:
        value = f"{path}: {other}, not {size}"
        todo = f"set model.size={other}, or give another out"
        raise ModelError("checkpoint is of another network", value, todo)


def fitted(
    state: Mapping[str, Any], own: Mapping[str, Tensor], path: Path, todo: str
) -> dict[str, Tensor]:
    """The state, if it has just the tensors that the network has; else ModelError."""
    wrong = [name for name, tensor in own.items() if not _is_like(state.get(name), tensor)]
    wrong += [name for name in state if name not in own]
    if wrong:
        value = f"{path}: {len(wrong)} tensors do not fit, first {wrong[0]}"
        raise ModelError("checkpoint is of another network", value, todo)
    return dict(state)


def _is_like(value: object, own: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == own.shape
