"""The released AAM networks, run on pictures as their own evaluation does (SPEC 2)."""

from __future__ import annotations

import importlib
from pathlib import Path

from aam_edge.errors import ModelError, UsageError
from aam_edge.training.measure.predictor import Predictor

SIZES = ("s", "b", "l")


def open_released(name: str, weights: Path | None) -> Predictor:
    """The network `released-s`, `released-b` or `released-l` with the user's checkpoint.

    Raises:
        UsageError: no such size, or no file given.
        ModelError: the file does not fit, or this version cannot run released networks.
    """
    size = name.removeprefix("released-")
    if size not in SIZES:
        raise UsageError("unknown model", name, "give released-s, released-b or released-l")
    if weights is None:
        raise UsageError("released network needs its checkpoint", name, "give --weights FILE")
    try:
        module = importlib.import_module("aam_edge.model.released.predictor")
    except ModuleNotFoundError as problem:
        todo = "take nano, or give its maps with --maps NAME=DIR"
        raise ModelError("released networks cannot be run here yet", name, todo) from problem
    predictor: Predictor = module.open_predictor(weights, size)
    return predictor
