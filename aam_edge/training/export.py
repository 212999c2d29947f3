"""A fitted network to the three files that engines read (see `aam_edge.engine.package`).

    python -m aam_edge.training.export --checkpoint runs/nano/last.pt --hearing runs/hearing.pt \
        --name nano --out aam_edge/weights
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import Dim

from aam_edge.engine.package import FORMAT, LOOK, file_hash, find_package
from aam_edge.errors import DataError, exit_code_of
from aam_edge.model.native.network import (
    MAP_STRIDE,
    Moment,
    NativeNetwork,
    State,
    Step,
    silent_moment,
)
from aam_edge.model.native.second_look import Part
from aam_edge.model.native.sizes import (
    NANO,
    half_of,
    merge_projections,
    prompt_channels,
    size_of,
)
from aam_edge.model.native.step_graph import LookGraph, StepGraph
from aam_edge.training.run import checkpoint as saved

OPSET = 20
INPUTS = (*Moment._fields, *State._fields)
PART_INPUTS = tuple(f"part_{name}" for name in Part._fields)
"""Of the second look's graph, before those of the step."""
OUTPUTS = (*Step._fields[:-1], *(f"next_{name}" for name in State._fields))
SMALLEST_HALF = 1024
"""Tensors with fewer numbers stay in single precision: they cost nothing."""


def export_network(
    network: NativeNetwork, name: str, out: Path, facts: dict[str, Any], *, looks: bool = False
) -> None:
    """Writes manifest, graphs and tensors.

    Args:
        network: its weights are rounded to what is stored.
        name: of the files and in messages.
        out: folder.
        facts: goes into the manifest, `follows_prompts` among them.
        looks: whether it gets a second graph, to look closer; takes as long again.
    """
    merge_projections(network)
    facts = facts_of(network) | facts
    out.mkdir(parents=True, exist_ok=True)
    tensors, graph = out / f"{name}.safetensors", out / f"{name}.onnx"
    save_file(_stored(network), tensors)
    tensors.chmod(0o644)  # safetensors makes files that others cannot read
    load_weights(network, tensors)
    _write_graph(program_of(network), INPUTS, graph, tensors)
    hashes = {"graph_sha256": file_hash(graph), "tensors_sha256": file_hash(tensors)}
    manifest = {"format": FORMAT, "name": name, "family": "native"} | hashes | facts
    (out / f"{name}.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if looks:
        export_look(network, out / f"{name}.json")


def export_look(network: NativeNetwork, manifest: Path) -> None:
    """Writes the graph of a second look beside an exported network, over an older one."""
    graph, tensors = manifest.with_suffix(LOOK), manifest.with_suffix(".safetensors")
    _write_graph(look_program_of(network), (*PART_INPUTS, *INPUTS), graph, tensors)
    facts = json.loads(manifest.read_text()) | {"look_sha256": file_hash(graph)}
    manifest.write_text(json.dumps(facts, indent=1) + "\n")


def facts_of(network: NativeNetwork) -> dict[str, Any]:
    """What the manifest says of a network that is not nano."""
    size = size_of(network)
    if size == NANO:
        return {}
    return {"size": size, "prompt_channels": prompt_channels(size), "half": half_of(size)}


def load_weights(network: NativeNetwork, tensors: Path) -> None:
    """Puts stored tensors into a network, widened to single precision."""
    stored = {name: tensor.float() for name, tensor in load_file(tensors).items()}
    network.load_state_dict(stored)


def _stored(network: NativeNetwork) -> dict[str, Tensor]:
    def rounded(tensor: Tensor) -> Tensor:
        return (tensor.half() if tensor.numel() >= SMALLEST_HALF else tensor).contiguous()

    return {name: rounded(tensor) for name, tensor in network.state_dict().items()}


def program_of(network: NativeNetwork) -> torch.export.ExportedProgram:
    """The step as torch.export has it: any number of cameras and prompts, sizes in steps of 32."""
    _, shapes = _shapes()
    _, arguments = _arguments(network)
    return torch.export.export(
        StepGraph(network).eval(), arguments, dynamic_shapes={"given": shapes}
    )


def look_program_of(network: NativeNetwork) -> torch.export.ExportedProgram:
    """The same of a second look."""
    part_shapes, shapes = _shapes()
    part, arguments = _arguments(network)
    return torch.export.export(
        LookGraph(network).eval(),
        (*part, *arguments),
        dynamic_shapes={"given": (*part_shapes, *shapes)},
    )


def _shapes() -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Which sides may differ: of a part, and of moment and state."""
    cameras, prompts = Dim("cameras", min=1, max=16), Dim("prompts", min=1, max=16)
    rows, columns = Dim("rows32", min=3, max=16), Dim("columns32", min=3, max=16)
    maps = {2: 32 // MAP_STRIDE * rows, 3: 32 // MAP_STRIDE * columns}
    coarse = {2: 2 * rows, 3: 2 * columns}
    camera = {0: cameras}
    image = camera | {1: 32 * rows, 2: 32 * columns}
    shapes = (
        image,
        camera | {1: prompts},
        *[camera] * 4,  # dt_s, ego, mel, heard
        camera | {1: prompts} | maps,
        camera | {1: prompts} | maps,
        camera | maps,
        camera | coarse,
        camera | coarse,
    )
    return (image, camera, camera | {1: prompts}), shapes


def _arguments(network: NativeNetwork) -> tuple[Part, tuple[Tensor, ...]]:
    """An example of a part, and of moment and state."""
    height, width = 224, 288
    image = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    prompt = torch.zeros(2, 3, prompt_channels(size_of(network)))
    moment = silent_moment(image, prompt, torch.zeros(2))
    box = torch.tensor([[0.1, 0.2, 0.4, 0.5], [0.3, 0.3, 0.6, 0.6]])
    part = Part(torch.zeros_like(image), box, torch.full((2, 3), 0.5))
    return part, (*moment, *network.init_state(2, 3, height, width))


def _write_graph(
    program: torch.export.ExportedProgram, inputs: tuple[str, ...], graph: Path, tensors: Path
) -> None:
    """Writes a graph whose weights are those of a safetensors file."""
    exported = torch.onnx.export(
        program,
        input_names=inputs,
        output_names=OUTPUTS,
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    _share_tensors(model, tensors)
    graph.write_bytes(model.SerializeToString())


def _share_tensors(model: onnx.ModelProto, tensors: Path) -> None:
    """Points the graph's weights at the safetensors file, half precision widened in the graph."""
    places = _places(tensors)
    widened = []
    for initializer in model.graph.initializer:
        place = places.get(initializer.name.removeprefix("network."))
        if place is None:
            continue
        dtype, offset, length = place
        name = initializer.name
        if dtype == "F16":
            initializer.name = f"{name}.half"
            initializer.data_type = TensorProto.FLOAT16
            widened.append(
                helper.make_node("Cast", [initializer.name], [name], to=TensorProto.FLOAT)
            )
        initializer.ClearField("raw_data")
        initializer.data_location = TensorProto.EXTERNAL
        entries = {"location": tensors.name, "offset": str(offset), "length": str(length)}
        for key, value in entries.items():
            initializer.external_data.add(key=key, value=value)
    nodes = [*widened, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]


def _places(tensors: Path) -> dict[str, tuple[str, int, int]]:
    """Type, offset in the file and length in bytes of each tensor of a safetensors file."""
    content = tensors.read_bytes()
    header_length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_length])
    start = 8 + header_length
    return {
        name: (
            entry["dtype"],
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def assembled(checkpoint: Path, hearing: Path | None) -> NativeNetwork:
    """The running average of a fit, with the filter's numbers of this version.

    Args:
        checkpoint: of `aam-edge train fit`.
        hearing: weights of `aam_edge.training.fit_sound`; None takes the checkpoint's own.

    Raises:
        ModelError: a file is not there, is broken, or is of another network.
    """
    whole = saved.read(checkpoint)
    network = NativeNetwork().eval()
    weights = dict(whole["average"])
    weights |= {f"fpd.{name}": number for name, number in network.fpd.state_dict().items()}
    if hearing is not None:
        heard = saved.read_named(hearing)
        weights |= {f"hearing.{name}": tensor for name, tensor in heard.items()}
    todo = "export it with the version of aam-edge that made it"
    network.load_state_dict(saved.fitted(weights, network.state_dict(), checkpoint, todo))
    return network


def read_facts(path: Path) -> dict[str, Any]:
    """JSON for the manifest; DataError where it is none."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise DataError("facts cannot be read", path, "give a JSON object") from problem
    if not isinstance(facts, dict):
        raise DataError("facts are no JSON object", path, 'write {"version": "1.0"}')
    return facts


def main() -> None:
    """Reads the options and exports the running average of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument("--checkpoint", type=Path)
    begin.add_argument("--look-of", help="only make the second look's graph anew, of this network")
    parser.add_argument("--hearing", type=Path, help="what aam_edge.training.fit_sound wrote")
    parser.add_argument("--name", default="nano")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--looks", action="store_true", help="also the second look's graph")
    parser.add_argument("--facts", type=Path, help="JSON with what the manifest shall say besides")
    options = parser.parse_args()
    if options.look_of:
        package = find_package(options.look_of)
        network = NativeNetwork().eval()
        load_weights(network, package.tensors)
        export_look(network, package.graph.with_suffix(".json"))
        return
    network = assembled(options.checkpoint, options.hearing)
    facts = {"follows_prompts": True, "uses_sound": options.hearing is not None}
    if options.facts:
        facts |= read_facts(options.facts)
    export_network(network, options.name, options.out, facts, looks=options.looks)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
