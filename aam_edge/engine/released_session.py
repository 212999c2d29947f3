"""One camera's stream through the public network, behind the same doors as `session.Session`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.engine.released_filter import MapFilter
from aam_edge.engine.released_sound import Hearing
from aam_edge.engine.size import picture_for
from aam_edge.engine.stamps import Stamps
from aam_edge.messages import Image, Observation, RawAttention, Sound
from aam_edge.model.native import fpd
from aam_edge.model.released.network import ReleasedNetwork, stretched
from aam_edge.model.released.pictures import SIDE, prepare
from aam_edge.model.released.sound import Amplitude
from aam_edge.model.released.stream import WINDOW, ReleasedStream, RingState, state_of
from aam_edge.model.released.wav2clip import Wav2Clip

logger = logging.getLogger(__name__)

MAP_STRIDE = 4
"""Pixels of the network's input along a cell of the published map."""
LONGEST_GAP_S = 1.0
"""Frames further apart do not belong to one window. The public network was taught on frames 0.03 to
0.16 s apart and knows no time."""
UNTOLD_VARIANCE = 1.0
"""Of the log-density's error, where nothing tells it: the public network has no idea of its own."""
LEAST_VALUE = 1e-6
"""Of a cell of a map, so that it has a logarithm."""


Step = Callable[[Tensor, Tensor, RingState, Tensor | None], Tensor]
"""`ReleasedStream.step`, or that of an engine."""


class Prompts(Protocol):
    """Reads prompts."""

    def embed(self, prompt: str) -> NDArray[np.float32]:
        """The vector of a prompt, (768,)."""

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        """What will not be looked for as it was asked, a line each."""


class ReleasedBackend:
    """The public network and what reads its prompts; sessions share it."""

    def __init__(
        self,
        network: ReleasedNetwork,
        prompts: Prompts,
        *,
        window: int = WINDOW,
        filters: bool = False,
        threads: int = 1,
        hearing: Wav2Clip | None = None,
        amplitude: Amplitude = "public",
        side: int = SIDE,
    ):
        """Nothing is copied; sessions share all of it.

        Args:
            network: with its weights, on its device.
            prompts: what reads prompts.
            window: frames that a map is made from.
            filters: whether the native filter keeps the density alive across windows.
            threads: of the network, at least 1.
            hearing: what makes vectors of sound; None is deaf.
            amplitude: of its sound, as the network was trained (model/released/sound.py).
            side: of the square that pictures are stretched to, pixels, a multiple of 16.
        """
        torch.set_num_threads(threads)
        self.name, self.precision = "eager", "f32"
        self.stream = ReleasedStream(network, window)
        self.prompts, self.filters, self.side = prompts, filters, side
        self.device = str(self.stream.times2.device)
        self._hearing, self._amplitude = hearing, amplitude
        self.step: Step = self.stream.step

    def run_in(
        self, stream: ReleasedStream, step: Step, engine: str, precision: str, device: str
    ) -> None:
        """Takes another stream and its steps in an engine; the part of the sound is not told."""
        self.stream, self.step = stream, step
        self.name, self.precision, self.device = engine, precision, device

    def hearing(self) -> Hearing | None:
        """One camera's hearing; None where the network is deaf."""
        if self._hearing is None:
            return None
        return Hearing(self._hearing, self.stream.window, self._amplitude)

    def session(self, prompts: Sequence[str], *, stills: bool = False) -> ReleasedSession:
        """A stream of its own; of `stills` each is seen alone, as the public code sees photos."""
        return ReleasedSession(self, prompts, stills=stills)

    def shrink(self, image: Image) -> Image:
        """The picture as the network takes it, bit for bit what a session makes of it."""
        size = (self.side, self.side)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class ReleasedSession:
    """State in rings, on the network's device; frame in, one reading a prompt out.

    Pictures of any aspect are stretched to the square that the network was taught with, so a change
    of the picture's size loses nothing.
    """

    def __init__(self, backend: ReleasedBackend, prompts: Sequence[str], *, stills: bool = False):
        self._are_stills = stills
        self._backend, self._stream = backend, backend.stream
        self._size = backend.side, backend.side
        self._state: RingState = self._stream.init_state(1, *self._size)
        self._hearing = None if stills else backend.hearing()
        self._stamps = Stamps()
        self.restarts = 0
        """Windows begun anew because a frame came too late for the last one."""
        self.network_s = 0.0
        self._ask(prompts)

    def step(self, observation: Observation) -> list[RawAttention]:
        """Takes one frame in; gives one reading a prompt."""
        self.take_in(observation)
        self.run()
        return self.readings()

    def take_in(self, observation: Observation) -> None:
        """Keeps a frame for the next `run`: the first of a step's three parts."""
        self._observation = observation

    def run(self) -> None:
        """The second part: the network, and the filter where there is one."""
        observation, frame = self._observation, self._observation.frame
        image = self._backend.shrink(picture_for(frame, self._size))
        dt_s = self._elapsed(frame.capture_ns)
        start = time.perf_counter()
        density = self._look(image, observation.sound)
        self.network_s = time.perf_counter() - start
        if self._filter is None:
            variance, is_cut = torch.full_like(density, UNTOLD_VARIANCE), False
        else:
            picture = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            ego = None if observation.ego is None else torch.from_numpy(observation.ego)[None]
            density, variance, is_cut = self._filter.update(picture, density, dt_s, ego)
        self._readings = [
            RawAttention(
                density=density[0, n].numpy().copy(),
                variance=variance[0, n].numpy().copy(),
                dt_s=dt_s,
                cut=is_cut,
                gate=0.0 if self._state.gate is None else float(self._state.gate),
            )
            for n in range(len(self.prompts))
        ]

    def readings(self) -> list[RawAttention]:
        """The third part: what the network says, one reading a prompt."""
        return self._readings

    @torch.inference_mode()
    def _look(self, image: Image, sound: Sound | None) -> Tensor:
        """Densities (1, N, h, w) of the newest frame as the window sees it, on the CPU."""
        x = prepare(torch.from_numpy(image)[None].to(self._texts.device), None)
        if self._are_stills:  # a clip of one frame passes the blocks over time, a photo does not
            logits = self._stream.decode(self._stream.network.look(x), self._texts)
        else:
            heard = None if self._hearing is None else self._hearing.hear(sound)
            heard = None if heard is None else heard.to(x.device)
            logits = self._backend.step(x, self._texts, self._state, heard)
        maps = F.avg_pool2d(stretched(logits, self._size).sigmoid(), MAP_STRIDE)
        maps = maps.float().cpu().clamp_min(LEAST_VALUE)
        return maps / maps.sum((2, 3), keepdim=True)

    def set_prompts(self, prompts: Sequence[str]) -> None:
        """Changes what is looked for; the frames that were seen count for the new one too."""
        if tuple(prompts) != self.prompts:
            self._ask(prompts)

    def _ask(self, prompts: Sequence[str]) -> None:
        vectors = np.stack([self._backend.prompts.embed(prompt) for prompt in prompts])
        self.prompts = tuple(prompts)
        self._texts = torch.from_numpy(vectors)[None].to(self._stream.times2.device)
        side = self._backend.side // MAP_STRIDE
        self._filter = MapFilter(len(prompts), side, side) if self._backend.filters else None

    def reset(self) -> None:
        """Forgets everything that was seen."""
        self._stamps.last_ns = None
        self._state.restart()
        if self._hearing is not None:
            self._hearing.reset()
        if self._filter is not None:
            self._filter.reset()

    def state(self) -> dict[str, Any]:
        """A copy of the state, for `restore`."""
        arrays = {f"ring_{n}": t.cpu().numpy().copy() for n, t in self._state.tensors().items()}
        if self._filter is not None:
            filtered = self._filter.state._asdict()
            arrays |= {f"filter_{n}": t.numpy().copy() for n, t in filtered.items()}
        if self._hearing is not None:
            arrays |= self._hearing.state()
        return {
            **arrays,
            "last_ns": self._stamps.last_ns,
            "prompts": self.prompts,
            "size": self._size,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on exactly where `state` was taken; ValueError where it is another network's."""
        ring = _like(state, "ring_", self._state.tensors())
        self._ask(state["prompts"])
        if self._filter is not None:
            kept = _like(state, "filter_", self._filter.state._asdict())
            self._filter.state = fpd.State(**kept)
        if self._hearing is not None:
            self._hearing.restore(state)
        self._state = state_of(ring)
        self._stamps.last_ns = state["last_ns"]

    @property
    def counters(self) -> dict[str, int]:
        """What went wrong with stamps."""
        return {"backward_stamps": self._stamps.backward, "window_restarts": self.restarts}

    def close(self) -> None:
        """Nothing is held but memory."""

    def _elapsed(self, capture_ns: int) -> float:
        """Seconds since the last frame, 0 for the first; a long gap begins the window anew."""
        dt_s = self._stamps.step_s(capture_ns)
        if dt_s > LONGEST_GAP_S:
            self.restarts += 1
            self._state.restart()
        return dt_s


def _like(state: dict[str, Any], prefix: str, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Saved arrays as tensors of the shapes, types and device that are wanted."""
    tensors = {}
    for name, tensor in wanted.items():
        saved = state.get(prefix + name)
        if saved is None or np.shape(saved) != tuple(tensor.shape):
            raise ValueError(f"{prefix}{name} is missing or has another shape")
        tensors[name] = torch.tensor(saved, dtype=tensor.dtype, device=tensor.device)
    return tensors
