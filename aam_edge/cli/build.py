"""`aam-edge build`: a TensorRT engine for this machine, ahead of time and checked."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from aam_edge.config import ModelConfig, parse_size
from aam_edge.engine.catalog import PRECISIONS, how_to_install, is_installed
from aam_edge.engine.engine_file import default_folder
from aam_edge.engine.package import Package, find_package
from aam_edge.engine.size import LARGEST_SIDE, SMALLEST_SIDE, STRIDE, input_size
from aam_edge.errors import ModelError, UsageError

EPILOG = """\
examples:
  aam-edge build --model nano --precision f16 --camera-size 1280x720
  aam-edge --camera 0 --engine tensorrt

Run it on the machine that will run the engine: an engine fits one GPU and one TensorRT. It takes
minutes. docs/gpu.md says what to install.
"""

RELEASED_SIZE = (448, 448)
"""Every picture is stretched to it for the public network."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add, model = parser.add_argument, ModelConfig()
    add(
        "--model",
        metavar="NAME|FILE",
        default=model.name,
        help="packaged name or file (%(default)s)",
    )
    words = "f16, bf16 or f32 (auto: what the network loses least with)"
    add("--precision", choices=[p for p in PRECISIONS if p != "int8"], default="auto", help=words)
    words = "of the camera's pictures, from which the input's shape follows (%(default)s)"
    add("--camera-size", metavar="WxH", default="640x480", help=words)
    add("--input", metavar="WxH", help="of the network's input, in place of the camera's")
    words = "wanted area of the input, as model.pixels (%(default)s)"
    add("--pixels", metavar="N", type=int, default=model.pixels, help=words)
    add("--device", metavar="NAME", default="cuda", help="cuda or cuda:1 (%(default)s)")
    add("--out", metavar="DIR", type=Path, help="folder (aam-edge/engines in the user's cache)")
    add("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Builds and says how well the engine agrees with the network."""
    package = find_package(options.model)
    size = wanted_size(options, package)
    if not is_installed("tensorrt"):
        raise ModelError("torch is not installed", "tensorrt", how_to_install("tensorrt"))
    device = importlib.import_module("aam_edge.engine.device").find_device(options.device)
    build = importlib.import_module("aam_edge.engine.build")
    precision = options.precision
    if precision == "auto":
        precision = device.best_precision(package.half)
    folder = options.out or default_folder()
    built = build.build_engine(package, device, precision, size, folder)
    facts = {
        "file": str(built.path),
        "device": device.words,
        "precision": precision,
        "input": f"{size[1]}x{size[0]}",
        "gap": built.gap,
        "seconds": round(built.seconds, 1),
        "bytes": built.size_bytes,
    }
    if options.json:
        print(json.dumps(facts))
    elif not options.quiet:
        print(
            f"{built.path}: {precision}, {facts['input']}, {built.size_bytes / 1e6:.1f} MB, "
            f"{built.seconds:.0f} s on {device.words}; maps within {built.gap:.2%} of their range"
        )
    return 0


def wanted_size(options: argparse.Namespace, package: Package) -> tuple[int, int]:
    """(H, W) of the network's input."""
    if options.input is None and package.is_released:
        return RELEASED_SIZE
    if options.input is None:
        return input_size(*parse_size(options.camera_size), options.pixels)
    width, height = parse_size(options.input)
    if any(s % STRIDE or not SMALLEST_SIDE <= s <= LARGEST_SIDE for s in (width, height)):
        todo = f"give multiples of {STRIDE} from {SMALLEST_SIDE} to {LARGEST_SIDE}"
        raise UsageError("input has a size that the network has not", options.input, todo)
    return height, width
