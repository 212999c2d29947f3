"""A TensorRT engine built ahead of time, and not given away before it has been checked.

What becomes an engine is the visual encoder: nearly all of the arithmetic, a pure function of the
picture. The state, hyperbolic space and the filter stay in torch, in single precision, where no
builder folds them into constants or fuses them wrongly (docs/decisions/0041-tensorrt-body.md).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aam_edge.engine.device import Device
from aam_edge.engine.engine_file import Fit, engine_path, write_engine
from aam_edge.engine.package import Package
from aam_edge.engine.plan import Plan, import_library
from aam_edge.engine.torch_network import load_network
from aam_edge.errors import ModelError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.step_graph import BodyGraph
from aam_edge.model.precision import DTYPES

LARGEST_GAP = 2e-2
"""Between the maps of the engine and of eager in f32, as a part of the map's range."""
ROUNDED_ALIKE = 0.8
"""Where so many numbers are eager's f32, rounded, the engine has computed in f32."""
ANOTHER = "try another precision, or take --engine compiled"


@dataclass(frozen=True)
class Built:
    """What was built, and how well it agrees."""

    path: Path
    gap: float
    """Largest difference of a map to eager in f32, as a part of the map's range."""
    seconds: float
    size_bytes: int


def needs_gpu(device: Device) -> None:
    """Refuses a device that TensorRT cannot use."""
    if not device.is_cuda:
        value = f"{device.words}, torch {torch.__version__}"
        todo = "run it where torch sees a GPU (docs/gpu.md), or take --engine onnx"
        raise ModelError("TensorRT needs an NVIDIA GPU", value, todo)


def fit_of(package: Package, device: Device, precision: str, size: tuple[int, int]) -> Fit:
    """What an engine of this network must fit here; size is (H, W) of the input."""
    return Fit(
        weights=str(package.manifest["tensors_sha256"]),
        gpu=device.name,
        capability="{}.{}".format(*device.capability),
        tensorrt=str(import_library("tensorrt").__version__),
        torch=torch.__version__,
        height=size[0],
        width=size[1],
        precision=precision,
    )


def build_engine(
    package: Package, device: Device, precision: str, size: tuple[int, int], folder: Path
) -> Built:
    """Builds, checks and writes an engine for this GPU.

    Args:
        package: the network.
        device: a GPU.
        precision: f32, bf16 or f16.
        size: (H, W) of the network's input.
        folder: where engines lie.

    Raises:
        ModelError: a library is missing or fails, memory is short, or what was built is in another
            precision or computes other maps.
    """
    needs_gpu(device)
    fit, start = fit_of(package, device, precision, size), time.monotonic()
    network = load_network(package, precision, device)
    picture = trial_picture(size).to(device.torch)
    content = _convert(BodyGraph(network), picture)
    plan = Plan(content, device)
    reference = load_network(package, "f32", device)
    check_precision(plan, reference, picture, precision)
    gap = check_parity(plan, reference, picture)
    path = engine_path(folder, package, fit)
    write_engine(path, content, fit, {"model": package.name, "gap": gap})
    return Built(path, gap, time.monotonic() - start, len(content))


def trial_picture(size: tuple[int, int]) -> Tensor:
    """(1, 3, H, W), 0..255: blobs of every size, the same each time."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, *size)
    for cells in (2, 4, 8, 16, 32):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        picture += torch.nn.functional.interpolate(noise, size, mode="bilinear")
    return (picture * (255 / 5)).round()


def _convert(body: BodyGraph, picture: Tensor) -> bytes:
    library = import_library("torch_tensorrt")
    with torch.no_grad():
        program = torch.export.export(body.eval(), (picture,))
        try:
            # Types stand in the graph: TensorRT 11 knows no other way, older ones obey too.
            content = library.dynamo.convert_exported_program_to_serialized_trt_engine(
                program, arg_inputs=(picture,), use_explicit_typing=True
            )
        except Exception as problem:  # its converters and TensorRT raise many kinds
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise ModelError("engine cannot be built", reason, ANOTHER) from problem
    return bytes(content)


@torch.no_grad()
def check_precision(plan: Plan, reference: NativeNetwork, picture: Tensor, asked: str) -> None:
    """Refuses an engine that computes in another precision than was asked for.

    Builders have dropped a wish for half precision without a word. So three things are looked at:
    the type of what leaves the engine, what the inspector says of its layers, and whether the
    numbers are those of single precision, rounded.
    """
    found = plan.output_precision
    if asked != "f32" and found == asked:
        dtype = DTYPES[asked]
        taps = zip(plan(picture), reference.body(picture), strict=True)
        alike = [(ours == theirs.to(dtype)).float().mean().item() for ours, theirs in taps]
        if plan.layers_in_f32() or alike[-1] > ROUNDED_ALIKE:
            found = "f32"
    if found != asked:
        value = f"asked {asked}, built {found}"
        raise ModelError("engine was built in another precision", value, ANOTHER)


@torch.no_grad()
def check_parity(plan: Plan, reference: NativeNetwork, picture: Tensor) -> float:
    """The gap between the maps; refuses one above LARGEST_GAP.

    A map that is no number is a gap without end.
    """
    taps = [tap.float() for tap in plan(picture)]
    channels = reference.decoder.to_point.in_features
    prompt = torch.zeros(1, 1, channels, device=picture.device)
    ours = reference.read(taps, prompt).log_density.exp()
    theirs = reference.observe(picture, prompt).log_density.exp()
    gap = float((ours - theirs).abs().max() / (theirs.max() - theirs.min()))
    if not gap <= LARGEST_GAP:
        value = f"maps differ by {gap:.1%} of their range, {LARGEST_GAP:.0%} is allowed"
        raise ModelError("engine computes other maps", value, ANOTHER)
    return gap
