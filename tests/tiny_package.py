"""A packaged network of size tiny with random weights, whose graph is not made: that takes long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.engine.package import FORMAT, Package, file_hash, find_package

if TYPE_CHECKING:
    from aam_edge.model.native.network import NativeNetwork


def tiny_network(seed: int = 0) -> NativeNetwork:
    """Random weights that answer to pictures and prompts."""
    import torch

    from aam_edge.model.native.sizes import network_of

    torch.manual_seed(seed)
    network = network_of("tiny").eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):  # of 1e-5 at first, with which a block does nothing
                parameter.fill_(0.5)
    return network


def tiny_package(folder: Path, network: NativeNetwork) -> Package:
    """Its files, as export writes them but for the graph."""
    from safetensors.torch import save_file

    from aam_edge.model.native.sizes import merge_projections
    from aam_edge.training.export import facts_of

    merge_projections(network)
    save_file(network.state_dict(), folder / "tiny.safetensors")
    (folder / "tiny.onnx").write_bytes(b"no graph")
    hashes = {
        "tensors_sha256": file_hash(folder / "tiny.safetensors"),
        "graph_sha256": file_hash(folder / "tiny.onnx"),
    }
    manifest = {"format": FORMAT, "name": "tiny", "follows_prompts": True}
    (folder / "tiny.json").write_text(json.dumps(manifest | hashes | facts_of(network)))
    return find_package(str(folder / "tiny.json"))
