"""The door from the commands to the offline side, whose libraries the base install lacks."""

from __future__ import annotations

import importlib
from types import ModuleType

from aam_edge.errors import UsageError

LIBRARIES = ("scipy", "openpyxl", "h5py", "webdataset")
FOR_RUNS = ("torch", "safetensors", "lightning_fabric")


def module(name: str) -> ModuleType:
    """A module of `training`; UsageError where its libraries are missing."""
    needed = LIBRARIES + (FOR_RUNS if name.startswith("run.") else ())
    try:
        for library in needed:
            importlib.import_module(library)
    except ImportError as problem:
        todo = "pip install aam-edge[train]"
        raise UsageError("training needs a library", problem.name or problem, todo) from problem
    return importlib.import_module(f"aam_edge.training.{name}")
