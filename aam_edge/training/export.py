"""A fitted network to the three files that engines read (see `aam_edge.engine.package`).

python -m aam_edge.training.export --checkpoint runs/nano/last.pt --name nano --out aam_edge/weights
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.export import Dim

from aam_edge.engine.package import FORMAT, file_hash
from aam_edge.model.native.fpd import State
from aam_edge.model.native.network import MAP_STRIDE, NativeNetwork

OPSET = 20
INPUTS = ("image", "prompt", "dt_s", *State._fields)
OUTPUTS = ("density", "cut", *(f"next_{name}" for name in State._fields))
SMALLEST_HALF = 1024
"""Tensors with fewer numbers stay in single precision: they cost nothing."""


class StepGraph(nn.Module):
    """`step` with its state spread out, as a graph's inputs and outputs are."""

    def __init__(self, network: NativeNetwork):
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, prompt: Tensor, dt_s: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        density, cut, after = self.network.step(image, prompt, dt_s, State(*state))
        return density, cut, *after


def export_network(network: NativeNetwork, name: str, out: Path, facts: dict[str, Any]) -> None:
    """Writes manifest, graph and tensors.

    Args:
        network: its weights are rounded to what is stored.
        name: of the files and in messages.
        out: folder.
        facts: goes into the manifest, `follows_prompts` among them.
    """
    out.mkdir(parents=True, exist_ok=True)
    tensors, graph = out / f"{name}.safetensors", out / f"{name}.onnx"
    save_file(_stored(network), tensors)
    load_weights(network, tensors)
    model = _graph(network)
    _share_tensors(model, tensors)
    graph.write_bytes(model.SerializeToString())
    hashes = {"graph_sha256": file_hash(graph), "tensors_sha256": file_hash(tensors)}
    manifest = {"format": FORMAT, "name": name, "family": "native"} | hashes | facts
    (out / f"{name}.json").write_text(json.dumps(manifest, indent=1) + "\n")


def load_weights(network: NativeNetwork, tensors: Path) -> None:
    """Puts stored tensors into a network, widened to single precision."""
    stored = {name: tensor.float() for name, tensor in load_file(tensors).items()}
    network.load_state_dict(stored)


def _stored(network: NativeNetwork) -> dict[str, Tensor]:
    def rounded(tensor: Tensor) -> Tensor:
        return (tensor.half() if tensor.numel() >= SMALLEST_HALF else tensor).contiguous()

    return {name: rounded(tensor) for name, tensor in network.state_dict().items()}


def _graph(network: NativeNetwork) -> onnx.ModelProto:
    """The step as ONNX: any number of cameras and prompts, any size in steps of 32."""
    cameras, prompts = Dim("cameras", min=1, max=16), Dim("prompts", min=1, max=16)
    rows, columns = Dim("rows32", min=3, max=16), Dim("columns32", min=3, max=16)
    cells = {2: 32 // MAP_STRIDE * rows, 3: 32 // MAP_STRIDE * columns}
    shapes = {
        "image": {0: cameras, 1: 32 * rows, 2: 32 * columns},
        "prompt": {0: cameras, 1: prompts},
        "dt_s": {0: cameras},
        "state": (
            {0: cameras, 1: prompts} | cells,
            {0: cameras, 1: prompts} | cells,
            {0: cameras} | cells,
            {0: cameras, 2: 2 * rows, 3: 2 * columns},
        ),
    }
    height, width = 192, 256
    image = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    prompt = torch.zeros(2, 3, 128)
    arguments = (image, prompt, torch.zeros(2), *network.init_state(2, 3, height, width))
    program = torch.export.export(StepGraph(network).eval(), arguments, dynamic_shapes=shapes)
    exported = torch.onnx.export(
        program,
        input_names=INPUTS,
        output_names=OUTPUTS,
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert exported is not None
    return exported.model_proto


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


def main() -> None:
    """Reads the options and exports the running average of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--name", default="nano")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--facts", type=Path, help="JSON with what the manifest shall say besides")
    options = parser.parse_args()
    network = NativeNetwork()
    whole = torch.load(options.checkpoint, weights_only=True)
    network.load_state_dict(whole["average"])
    facts = {"follows_prompts": False, "uses_sound": False, "epochs": whole["epoch"]}
    if options.facts:
        facts |= json.loads(options.facts.read_text())
    export_network(network, options.name, options.out, facts)


if __name__ == "__main__":
    main()
