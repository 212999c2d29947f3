"""The public network's stream in the engines: eager, compiled, or its backbone in TensorRT.

`ReleasedRunner` stands where `ReleasedStream` stands: `init_state` and `step` take and give the
same. On a GPU a step is one CUDA graph, recorded for the state that it is first called with; the
rings are written in place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aam_edge.engine.compiled import Compiler
from aam_edge.engine.device import Device, Work
from aam_edge.engine.resident import too_little_memory
from aam_edge.model.precision import in_precision
from aam_edge.model.released.graphs import LookGraph, ReadGraph, whole_parts
from aam_edge.model.released.network import ReleasedNetwork
from aam_edge.model.released.stream import ReleasedStream, RingState, write

Look = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (B, 3, H, W), normalised, to four levels: a graph, or an engine (`plan.Plan`)."""
KEPT_RECORDINGS = 4
"""States and shapes that stay recorded, such as one a camera."""


def in_half(network: ReleasedNetwork, precision: str) -> ReleasedNetwork:
    """A copy whose backbone and projections compute in `precision`, the rest of the head in f32."""
    halved = copy.deepcopy(network)
    in_precision(halved, precision, whole_parts(network.head))
    return halved


@dataclass
class Recording:
    """One state's step, and where its inputs and its output lie."""

    state: RingState
    picture: Tensor
    text: Tensor
    sound: Tensor
    heard: Tensor
    logits: Tensor
    advance: Work


class ReleasedRunner:
    """A stream of the public network in an engine. One thread uses it."""

    def __init__(
        self,
        stream: ReleasedStream,
        device: Device,
        compiler: Compiler | None = None,
        look: Look | None = None,
    ):
        """Nothing is copied.

        Args:
            stream: its network in the precision that is wanted, on the device.
            device: where it runs; on a GPU the step is recorded.
            compiler: what makes graphs fast; None runs them as they are.
            look: in place of the network's own backbone and projections.
        """
        made = compiler or (lambda module: module)
        self._stream, self._device = stream, device
        self._look: Look = look or made(LookGraph(stream.network))
        self._read = made(ReadGraph(stream))
        self._recordings: list[Recording] = []

    def init_state(self, cameras: int, height: int, width: int) -> RingState:
        """As `ReleasedStream.init_state`."""
        return self._stream.init_state(cameras, height, width)

    @torch.no_grad()
    def step(
        self, picture: Tensor, text: Tensor, state: RingState, sound: Tensor | None = None
    ) -> Tensor:
        """As `ReleasedStream.step`; the logits are overwritten by the next step of this state.

        Raises:
            ModelError: the GPU has too little memory.
        """
        recording = self._recording(picture, text, state)
        recording.picture.copy_(picture, non_blocking=True)
        recording.text.copy_(text, non_blocking=True)
        if sound is not None:
            recording.sound.copy_(sound, non_blocking=True)
        recording.heard.fill_(sound is not None)
        recording.advance()
        return recording.logits

    def _recording(self, picture: Tensor, text: Tensor, state: RingState) -> Recording:
        for known in self._recordings:
            same = known.state.count is state.count and known.text.shape == text.shape
            if same and known.picture.shape == picture.shape:
                return known
        made = self._record(picture, text, state)
        self._recordings = [*self._recordings[1 - KEPT_RECORDINGS :], made]
        return made

    def _record(self, picture: Tensor, text: Tensor, state: RingState) -> Recording:
        device, (rows, columns) = self._device.torch, state.shallow[0].shape[-2:]
        made = Recording(
            state=state,
            picture=picture.to(device, copy=True),
            text=text.to(device, copy=True),
            sound=torch.zeros_like(state.sound[:, 0]),
            heard=torch.zeros_like(state.heard[:, 0]),
            logits=torch.zeros(*text.shape[:2], 8 * rows, 8 * columns, device=device),
            advance=lambda: None,
        )
        kept = state.copy().tensors()
        try:
            made.advance = self._device.recorded(self._work(made))
        except torch.OutOfMemoryError as problem:
            raise too_little_memory(self._device) from problem
        finally:
            for name, tensor in state.tensors().items():  # recording has taken steps
                tensor.copy_(kept[name])
        return made

    def _work(self, made: Recording) -> Work:
        state = made.state

        @torch.no_grad()
        def work() -> None:
            levels = self._look(made.picture)
            for ring, level in zip((*state.shallow, *state.deep), levels, strict=True):
                write(ring, level, state.count)
            write(state.sound, made.sound, state.count)
            write(state.heard, made.heard, state.count)
            state.count += 1
            made.logits.copy_(self._read(made.text, *state.tensors().values()))

        return work
