"""A TensorRT engine built ahead of time, and not given away before it has been checked.

What becomes an engine is the visual encoder: nearly all of the arithmetic, a pure function of the
picture. The state, hyperbolic space and the filter stay in torch, in single precision, where no
builder folds them into constants or fuses them wrongly (docs/decisions/0041-tensorrt-body.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aam_edge.engine.device import Device
from aam_edge.engine.engine_file import Fit, engine_path, write_engine
from aam_edge.engine.package import Package
from aam_edge.engine.plan import Plan, import_library
from aam_edge.engine.released_network import open_network
from aam_edge.engine.released_runner import in_half
from aam_edge.engine.torch_network import load_network
from aam_edge.errors import ModelError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.step_graph import BodyGraph
from aam_edge.model.precision import DTYPES
from aam_edge.model.released.graphs import LookGraph
from aam_edge.model.released.network import ReleasedNetwork

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


@dataclass(frozen=True)
class Encoder:
    """What becomes an engine, and what that is measured against."""

    graph: nn.Module
    """A picture to taps, in the precision that is asked for."""
    picture: Tensor
    """(B, 3, H, W), to build and try with."""
    reference: Callable[[Tensor], Sequence[Tensor]]
    """The same in f32."""
    maps: Callable[[list[Tensor]], Tensor]
    """Taps to the map that comes of them, in f32."""


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
    fit = fit_of(package, device, precision, size)
    if package.is_released:
        network = open_network(package.tensors, device=str(device.torch)).network
        picture = trial_picture(size).to(device.torch)
        encoder = released_encoder(network, precision, picture)
    else:
        encoder = native_encoder(package, device, precision, size)
    return build_encoder(encoder, device, fit, engine_path(folder, package, fit))


def build_encoder(encoder: Encoder, device: Device, fit: Fit, path: Path) -> Built:
    """The same for any encoder; raises as `build_engine`."""
    start = time.monotonic()
    content = _convert(encoder)
    plan = Plan(content, device)
    check_precision(plan, encoder, fit.precision)
    gap = check_parity(plan, encoder)
    write_engine(path, content, fit, {"gap": gap})
    return Built(path, gap, time.monotonic() - start, len(content))


def native_encoder(
    package: Package, device: Device, precision: str, size: tuple[int, int]
) -> Encoder:
    """The body of a native network."""
    network, reference = (load_network(package, p, device) for p in (precision, "f32"))
    return encoder_of(network, reference, trial_picture(size).to(device.torch))


def encoder_of(network: NativeNetwork, reference: NativeNetwork, picture: Tensor) -> Encoder:
    """The body of a native network, and of the same network in f32."""
    channels = reference.decoder.to_point.in_features
    prompt = torch.zeros(len(picture), 1, channels, device=picture.device)
    return Encoder(
        BodyGraph(network),
        picture,
        reference.body,
        lambda taps: reference.read(taps, prompt).log_density.exp(),
    )


def released_encoder(network: ReleasedNetwork, precision: str, picture: Tensor) -> Encoder:
    """Backbone and projections of the public network, which is in f32.

    `picture` is as of `trial_picture`; it is brought to the range that the network is used to.
    """
    picture = picture / 64 - 2
    text = torch.zeros(len(picture), network.shape.widths.text, device=picture.device)

    def maps(levels: list[Tensor]) -> Tensor:
        one, two, three, four = levels
        return network.head.decode((one, two, three, four), text).sigmoid()

    return Encoder(LookGraph(in_half(network, precision)), picture, network.look, maps)


def trial_picture(size: tuple[int, int]) -> Tensor:
    """(1, 3, H, W), 0..255: blobs of every size, the same each time."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, *size)
    for cells in (2, 4, 8, 16, 32):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        picture += torch.nn.functional.interpolate(noise, size, mode="bilinear")
    return (picture * (255 / 5)).round()


def _convert(encoder: Encoder) -> bytes:
    library = import_library("torch_tensorrt")
    with torch.no_grad():
        program = torch.export.export(encoder.graph.eval(), (encoder.picture,))
        try:
            # Types stand in the graph: TensorRT 11 knows no other way, older ones obey too.
            content = library.dynamo.convert_exported_program_to_serialized_trt_engine(
                program, arg_inputs=(encoder.picture,), use_explicit_typing=True
            )
        except Exception as problem:  # its converters and TensorRT raise many kinds
            reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            raise ModelError("engine cannot be built", reason, ANOTHER) from problem
    return bytes(content)


@torch.no_grad()
def check_precision(plan: Plan, encoder: Encoder, asked: str) -> None:
    """Refuses an engine that computes in another precision than was asked for.

    Builders have dropped a wish for half precision without a word. So three things are looked at:
    the type of what leaves the engine, what the inspector says of its layers, and whether the
    numbers are those of single precision, rounded.
    """
    found = plan.output_precision
    if asked != "f32" and found == asked:
        dtype = DTYPES[asked]
        picture = encoder.picture
        taps = zip(plan(picture), encoder.reference(picture), strict=True)
        alike = [(ours == theirs.to(dtype)).float().mean().item() for ours, theirs in taps]
        if plan.layers_in_f32() or alike[-1] > ROUNDED_ALIKE:
            found = "f32"
    if found != asked:
        value = f"asked {asked}, built {found}"
        raise ModelError("engine was built in another precision", value, ANOTHER)


@torch.no_grad()
def check_parity(plan: Plan, encoder: Encoder) -> float:
    """The gap between the maps; refuses one above LARGEST_GAP.

    A map that is no number is a gap without end.
    """
    ours = encoder.maps([tap.float() for tap in plan(encoder.picture)])
    theirs = encoder.maps(list(encoder.reference(encoder.picture)))
    gap = float((ours - theirs).abs().max() / (theirs.max() - theirs.min()))
    if not gap <= LARGEST_GAP:
        value = f"maps differ by {gap:.1%} of their range, {LARGEST_GAP:.0%} is allowed"
        raise ModelError("engine computes other maps", value, ANOTHER)
    return gap
