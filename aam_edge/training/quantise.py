"""An int8 graph beside an exported network, for `--set model.precision=int8`.

    python -m aam_edge.training.quantise --of aam_edge/weights/nano.safetensors --photos DIR

The ranges of its activations come from photos, some 150 of any kind; nobody's labels are needed,
nothing is trained. It is run beside the network in f32, on photos that gave no range, before it is
written. To be made anew when the weights are: it carries their ranges.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from aam_edge.engine.backend import Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.catalog import open_text
from aam_edge.engine.graph_files import check_graph_files
from aam_edge.engine.onnx import OnnxBackend
from aam_edge.engine.package import INT8, Package, file_hash, find_package
from aam_edge.engine.session import Session
from aam_edge.errors import DataError, ModelError, UsageError
from aam_edge.messages import Frame, Image, Observation
from aam_edge.prompts import FREE_VIEWING
from aam_edge.training.quantise_graph import Range, chosen, quantise, watched

COUNT = 150
"""Photos that give ranges."""
TRIED = 20
"""Photos that both graphs are then run on."""
LEAST_CORRELATION = 0.98
"""Of the maps of free viewing with those in f32, in the mean; nano has 0.9995."""
PROMPTS = (FREE_VIEWING, "search for cup", "search for person", "search for animal")
KINDS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Quantised:
    """What was written."""

    graph: Path
    convolutions: int
    correlation: float
    """Of maps with those in f32, free viewing, mean over the photos tried."""
    least: float
    """That of the worst photo."""


def add_int8(package: Package, photos: Sequence[Path], count: int = COUNT) -> Quantised:
    """Writes NAME.int8.onnx beside a network and names it in the manifest.

    Args:
        package: a network on the lite body, such as nano.
        photos: files to draw from.
        count: how many give ranges; the next few are tried.

    Raises:
        DataError: too few photos, or one cannot be read.
        ModelError: the network has nothing to quantise, or says something else in 8 bits.
    """
    if not chosen(onnx.load(package.graph, load_external_data=False).graph):
        raise ModelError("network has nothing for int8", package.name, "take one like nano")
    if len(photos) < 2:
        raise DataError("too few photos for int8", len(photos), "give 100 and more")
    order = np.random.default_rng(0).permutation(len(photos))
    drawn = [photos[i] for i in order[: count + TRIED]]
    tried = drawn[-min(TRIED, len(drawn) // 2) :]
    ranges = measure_ranges(package, drawn[: -len(tried)])
    made, convolutions = _write(package, ranges)
    try:
        found = _correlations(package, replace(package, graph=made), tried)
        if not found.mean() >= LEAST_CORRELATION:
            value = f"{package.name}: maps correlate by {found.mean():.3f}"
            raise ModelError("int8 differs from the network", value, "give more or other photos")
        graph = package.graph.with_suffix(INT8)
        made.replace(graph)
    finally:
        made.unlink(missing_ok=True)
    manifest = package.graph.with_suffix(".json")
    facts = json.loads(manifest.read_text()) | {"int8_sha256": file_hash(graph)}
    manifest.write_text(json.dumps(facts, indent=1) + "\n")
    return Quantised(graph, convolutions, float(found.mean()), float(found.min()))


def _write(package: Package, ranges: dict[str, Range]) -> tuple[Path, int]:
    """The graph under a name that no engine looks for: it must lie beside the tensors it names."""
    model = onnx.load(package.graph, load_external_data=False)
    convolutions = quantise(model.graph, load_file(package.tensors), ranges)
    made = package.graph.with_suffix(".int8-new.onnx")
    made.write_bytes(model.SerializeToString())
    return made, convolutions


def measure_ranges(package: Package, photos: Sequence[Path]) -> dict[str, Range]:
    """Lowest and highest value, over photos, of each tensor that becomes 8 bits wide."""
    watcher = _Watcher(package)
    session = Session(watcher, PROMPTS, embed=open_text())
    for observation in _observations(photos):
        session.reset()
        session.take_in(observation)
        session.run()
    return watcher.ranges


class _Watcher:
    """A backend that gives no maps, but keeps the ranges of what flows through the graph."""

    name, precision, device, binds_slowly = "watcher", "f32", "cpu", False

    def __init__(self, package: Package):
        check_graph_files(package.graph, package.tensors)
        self._package, self.prompt_channels = package, package.prompt_channels
        model = onnx.load(package.graph)
        self._names = watched(model.graph)
        self.ranges: dict[str, Range] = dict.fromkeys(self._names, (0.0, 0.0))
        for name in self._names:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        content = model.SerializeToString()
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def bind(self, buffers: Buffers) -> Runner:
        def run(turn: int) -> None:
            given: dict[str, Any] = self._package.of_graph(buffers.inputs(turn))
            for name, values in zip(
                self._names, self._session.run(self._names, given), strict=True
            ):
                lowest, highest = self.ranges[name]
                self.ranges[name] = (
                    min(lowest, float(values.min())),
                    max(highest, float(values.max())),
                )

        return run


def _correlations(whole: Package, rounded: Package, photos: Sequence[Path]) -> Any:
    """(photos,): of two graphs' maps of free viewing."""
    embed = open_text()
    sessions = [Session(OnnxBackend(p), [FREE_VIEWING], embed=embed) for p in (whole, rounded)]
    found = []
    for observation in _observations(photos):
        maps = []
        for session in sessions:
            session.reset()
            maps.append(session.step(observation)[0].density.ravel())
        found.append(np.corrcoef(maps[0], maps[1])[0, 1])
    return np.array(found)


def _observations(photos: Iterable[Path]) -> Iterator[Observation]:
    for i, path in enumerate(photos):
        yield Observation(Frame(_read(path), 1, "photo", i))


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError("photo cannot be read", path, "take it out of the folder")
    return np.asarray(image, np.uint8)


def photos_in(folders: Sequence[Path]) -> list[Path]:
    """Every photo below the folders; UsageError where one has none."""
    found: list[Path] = []
    for folder in folders:
        here = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS)
        if not here:
            raise UsageError("folder has no photos", folder, "give one with .jpg or .png")
        found += here
    return found


def tell(quantised: Quantised) -> str:
    """One line for people."""
    size_mb = quantised.graph.stat().st_size / 1e6
    return (
        f"{quantised.graph}: {quantised.convolutions} convolutions in int8, {size_mb:.1f} MB; "
        f"maps correlate with f32 by {quantised.correlation:.4f}, {quantised.least:.4f} at least"
    )


def main() -> None:
    """Reads the options and makes the graph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", required=True, help="network: a packaged name, or its files")
    folders = "folders with photos, none of them one that is scored on"
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help=folders)
    parser.add_argument("--count", type=int, default=COUNT, help="photos that give ranges")
    options = parser.parse_args()
    done = add_int8(find_package(options.of), photos_in(options.photos), options.count)
    sys.stdout.write(tell(done) + "\n")


if __name__ == "__main__":
    main()
