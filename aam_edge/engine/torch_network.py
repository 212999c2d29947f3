"""A packaged network as torch modules, in the precision that is asked for."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from aam_edge.engine.device import Device
from aam_edge.engine.package import Package
from aam_edge.engine.resident import too_little_memory
from aam_edge.errors import ModelError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.sizes import merge_projections, network_of
from aam_edge.model.native.step_graph import WHOLE_PARTS
from aam_edge.model.precision import in_precision


def load_network(package: Package, precision: str, device: Device) -> NativeNetwork:
    """The network for inference, its weights on the device.

    Args:
        package: its files.
        precision: f32, bf16 or f16 for what may be halved; hyperbolic space, the filter and
            hearing stay in f32.
        device: where it will run.

    Raises:
        ModelError: the weights do not fit the network, or the network the device's memory.
    """
    network = network_of(package.size)
    merge_projections(network)
    network.eval().requires_grad_(False)
    try:
        stored = load_file(package.tensors)
        network.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    except (SafetensorError, RuntimeError) as problem:
        words = f"{package.tensors.name}: {str(problem).splitlines()[0]}"
        raise ModelError("weights do not fit the network", words, "export it anew") from problem
    in_precision(network, precision, WHOLE_PARTS)
    try:
        return network.to(device.torch)
    except torch.OutOfMemoryError as problem:
        raise too_little_memory(device) from problem
