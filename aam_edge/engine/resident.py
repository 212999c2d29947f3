"""A stream whose state stays on the device: what the torch engines have in common.

The step is a pure function, (inputs, state) -> (outputs, state). Around it, addresses are fixed:
the inputs are copied to where they always lie, the new state is written over the old one, and on a
GPU all of it is one CUDA graph. The whole state crosses to the host only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aam_edge.engine.buffers import INPUTS, OUTPUTS, READ_STATE, STATE_NAMES, Buffers
from aam_edge.engine.device import Device, Work
from aam_edge.engine.parcel import Parcel
from aam_edge.errors import ModelError

Step = Callable[..., Sequence[Tensor]]
"""Every input and state in, every output and state out, in the order of the graph."""


class Resident:
    """One stream's buffers on a device, and its steps."""

    def __init__(self, step: Step, buffers: Buffers, device: Device):
        self._buffers, self._device = buffers, device
        inputs = {name: buffers.inputs(0)[name] for name in INPUTS}
        shapes = {name: a.shape for name, a in inputs.items() if name != "image"}
        self._image = torch.from_numpy(buffers.image).to(device.torch, copy=True)
        self._given = Parcel(shapes, device.torch)
        self._state = Parcel({n: a.shape for n, a in buffers.state.items()}, device.torch)
        outputs = buffers.outputs(0)
        wanted = {name: outputs[name].shape for name in OUTPUTS}
        wanted |= {f"next_{name}": outputs[f"next_{name}"].shape for name in READ_STATE}
        self._result = Parcel(wanted, device.torch)
        buffers.fetch_state, buffers.send_state = self.fetch_state, self.send_state
        self.use(step)

    def use(self, step: Step) -> None:
        """Takes this step from now on; the state stays.

        Raises:
            ModelError: the device has too little memory.
        """
        kept = {name: tensor.clone() for name, tensor in self._state.there.items()}
        try:
            self._advance = self._device.recorded(self._work(step))
        except torch.OutOfMemoryError as problem:
            raise too_little_memory(self._device) from problem
        finally:
            for name, tensor in kept.items():  # recording has taken steps
                self._state.there[name].copy_(tensor)

    def _work(self, step: Step) -> Work:
        image = {"image": self._image}
        arguments = [(image | self._given.there)[name] for name in INPUTS]
        arguments += [self._state.there[name] for name in STATE_NAMES]
        names = [*OUTPUTS, *(f"next_{name}" for name in STATE_NAMES)]

        @torch.no_grad()
        def work() -> None:
            given = dict(zip(names, step(*arguments), strict=True))
            for name, tensor in self._result.there.items():
                tensor.copy_(given[name])
            # Last, because outputs may be views of the old state.
            for name, tensor in self._state.there.items():
                tensor.copy_(given[f"next_{name}"])

        return work

    def __call__(self, turn: int) -> None:
        """One step; the host's arrays are read and written."""
        inputs, outputs = self._buffers.inputs(turn), self._buffers.outputs(turn)
        self._image.copy_(torch.from_numpy(inputs["image"]), non_blocking=True)
        for name, array in self._given.here.items():
            array[...] = inputs[name]
        self._given.send()
        self._advance()
        self._result.fetch()
        self._device.wait()
        for name, array in self._result.here.items():
            outputs[name][...] = array

    def fetch_state(self) -> None:
        """The state to the host."""
        self._state.fetch()
        self._device.wait()
        for name, array in self._buffers.state.items():
            array[...] = self._state.here[name]

    def send_state(self) -> None:
        """The host's state to the device."""
        for name, array in self._buffers.state.items():
            self._state.here[name][...] = array
        self._state.send()
        self._device.wait()


def too_little_memory(device: Device) -> ModelError:
    """What is said when a network does not fit."""
    todo = "end other programs on it, take a smaller --model or model.pixels, or --engine onnx"
    return ModelError("GPU has too little memory", device.free_mb(), todo)
