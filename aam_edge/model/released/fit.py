"""Whether the tensors of a file are those of a network: by name, and by shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from aam_edge.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit; all empty where everything does."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, Shape, Shape], ...] = ()
    """Name, shape found, shape wanted."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        """In one line, with the first name of each sort."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} missing, first {self.missing[0]}")
        if self.misshapen:
            name, found, wanted = self.misshapen[0]
            shapes = f"{name}: {list(found)}, wanted {list(wanted)}"
            parts.append(f"{len(self.misshapen)} of another shape, first {shapes}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected, first {self.unexpected[0]}")
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """Every name, a line each."""
        return [
            *(f"missing    {name}" for name in self.missing),
            *(f"misshapen  {n}: {list(f)}, wanted {list(w)}" for n, f, w in self.misshapen),
            *(f"unexpected {name}" for name in self.unexpected),
        ]


def compare(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Misfit:
    """Holds tensors against those of a network, which may be on the device `meta`.

    A count of batches, which plays no part in evaluation, may be missing.
    """
    absent = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    shared = [n for n in wanted if n in tensors]
    return Misfit(
        missing=tuple(absent),
        unexpected=tuple(n for n in tensors if n not in wanted),
        misshapen=tuple(
            (n, tuple(tensors[n].shape), tuple(wanted[n].shape))
            for n in shared
            if tensors[n].shape != wanted[n].shape
        ),
    )


class Misfits(ModelError):
    """Weights do not fit; holds every name that its line has no room for."""

    def __init__(self, misfit: Misfit, path: Path):
        todo = f"run aam-edge weights show {path}"
        super().__init__("weights do not fit the model", f"{path.name}: {misfit}", todo)
        self.misfit = misfit


def check_fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Raises Misfits where something is missing, unexpected or of another shape."""
    misfit = compare(tensors, wanted)
    if misfit:
        raise Misfits(misfit, path)
