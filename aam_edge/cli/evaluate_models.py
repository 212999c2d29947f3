"""Who `aam-edge evaluate` asks: networks by name or file, released ones, maps on disk, rivals."""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.errors import UsageError

if TYPE_CHECKING:
    from aam_edge.training.measure.predictor import Predictor

logger = logging.getLogger(__name__)

NONE = "none"
RELEASED = "released-"


def open_predictors(options: argparse.Namespace) -> list[Predictor]:
    """All that are asked for, in the order of their rows.

    Raises:
        UsageError, ModelError, DataError: one of them cannot be had.
    """
    predictor = importlib.import_module("aam_edge.training.measure.predictor")
    map_folder = importlib.import_module("aam_edge.training.measure.map_folder")
    names = [name for name in options.models or ["nano"] if name != NONE]
    found: list[Predictor] = [_open(name, options) for name in names]
    for given in options.maps:
        name, is_pair, folder = given.partition("=")
        if not (name and is_pair and folder):
            raise UsageError("maps need a name", given, "give --maps NAME=DIR")
        found.append(map_folder.MapFolder(name, Path(folder)))
    residual = None if options.no_rivals else predictor.spectral_residual()
    if residual is not None:
        found.append(residual)
    elif not options.no_rivals:
        logger.info("OpenCV's own saliency is left out: it needs opencv-contrib-python")
    rows = [one.name for one in found]
    if len(set(rows)) < len(rows):
        twice = next(row for row in rows if rows.count(row) > 1)
        raise UsageError("two rows have one name", twice, "give --maps another NAME")
    return found


def _open(name: str, options: argparse.Namespace) -> Predictor:
    if name.startswith(RELEASED):
        released = importlib.import_module("aam_edge.training.measure.released")
        model: Predictor = released.open_released(name, options.weights)
        return model
    predictor = importlib.import_module("aam_edge.training.measure.predictor")
    package = find_package(name)
    backend = open_backend(package, options.engine, options.precision)
    network: Predictor = predictor.Network(
        package.name, backend, package, open_text(), options.frames
    )
    return network
