"""One camera's stream through the network: owns the state that lives across frames."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.config import INPUT_PIXELS
from aam_edge.engine.backend import Backend, LookingBackend, Runner
from aam_edge.engine.buffers import (
    KEPT_SHAPES,
    OF_PROMPTS,
    STATE_NAMES,
    Buffers,
    Shape,
    initial_state,
)
from aam_edge.engine.log_mel import LogMel
from aam_edge.engine.size import input_size, picture_for
from aam_edge.engine.stamps import Stamps
from aam_edge.errors import ModelError
from aam_edge.messages import Box, Frame, Observation, RawAttention, Sound
from aam_edge.prompts import FREE_VIEWING

logger = logging.getLogger(__name__)

Embed = Callable[[str], NDArray[np.float32]]
"""A prompt to its vector, (128,)."""
STANDS_STILL = np.eye(3, dtype=np.float32)
"""The homography of a camera that is not known to move."""


class Session:
    """State in, state out, frame by frame.

    The input's size is chosen at the first frame, to keep its aspect. When a later frame asks for
    another, the state starts anew.
    """

    def __init__(
        self,
        backend: Backend,
        prompts: Sequence[str],
        pixels: int = INPUT_PIXELS,
        embed: Embed | None = None,
        *,
        looks: bool = False,
    ):
        """What runs one camera.

        Args:
            backend: the network. prompts: what is looked for.
            pixels: wanted area of the input.
            embed: turns a prompt into its vector; without it all prompts are the zero vector.
            looks: second looks will be asked for; ModelError where the engine has none.
        """
        if looks and not isinstance(backend, LookingBackend):
            todo = "take --engine onnx, openvino or eager"
            raise ModelError("engine has no second look", backend.name, todo)
        self._looks = looks
        self.backend = backend
        self._embed = embed
        self.prompts = tuple(prompts)
        self._pixels = pixels
        self._size: tuple[int, int] | None = None
        self._log_mel = LogMel()
        self._bound: dict[Shape, tuple[Buffers, Runner, Runner | None]] = {}
        self._source: tuple[int, int] | None = None
        self._stamps = Stamps()
        self._dt_s = 0.0
        self.looks_closer = False
        """Whether the frame that was taken in is one of a second look."""
        self.network_s = 0.0
        """Time of the last step inside the engine."""
        self.resets = 0
        """Times the state was lost because the picture's size changed."""

    @property
    def counters(self) -> dict[str, int]:
        """What went wrong with stamps and sizes."""
        return {"backward_stamps": self._stamps.backward, "size_changes": self.resets}

    def step(self, observation: Observation, box: Box | None = None) -> list[RawAttention]:
        """Takes one frame in; gives one reading a prompt. For `box` see `take_in`."""
        self.take_in(observation, box)
        self.run()
        return self.readings()

    def take_in(self, observation: Observation, box: Box | None = None) -> None:
        """Puts a frame where the network reads it: the first of a step's three parts.

        Args:
            observation: the frame.
            box: where in it to look closer instead of at the whole; None for the whole.
        """
        frame = observation.frame
        self._fit(frame.size)
        buffers = self._buffers
        cv2.resize(
            picture_for(frame, buffers.image.shape[1:3]),
            buffers.image.shape[2:0:-1],
            dst=buffers.image[0],
            interpolation=cv2.INTER_AREA,
        )
        self._dt_s = self._stamps.step_s(frame.capture_ns)
        buffers.dt_s[0] = self._dt_s
        buffers.ego[0] = STANDS_STILL if observation.ego is None else observation.ego
        self._listen(observation.sound)
        self.looks_closer = box is not None
        if box is not None:
            self._come_closer(frame, box)

    def run(self) -> None:
        """The second part: one pass of the network. `Passes` does it for several sessions."""
        run = self._run_look if self.looks_closer else self._run
        assert run is not None, "asked for when the session was made"
        start = time.perf_counter()
        run(self._buffers.turn)
        self.network_s = time.perf_counter() - start
        self._buffers.turn = 1 - self._buffers.turn
        if self.looks_closer:
            self._buffers.send_state()

    def readings(self) -> list[RawAttention]:
        """The third part: what the network says, one reading a prompt."""
        return [self._reading(n, self._dt_s) for n in range(len(self.prompts))]

    @property
    def buffers(self) -> Buffers:
        """Where the network reads and writes; there from the first frame on."""
        return self._buffers

    def _come_closer(self, frame: Frame, box: Box) -> None:
        """Puts a part of the picture where the second look reads it."""
        buffers = self._buffers
        left, top, right, bottom = box
        cv2.resize(
            frame.image[top:bottom, left:right],
            buffers.image.shape[2:0:-1],
            dst=buffers.part_image[0],
            interpolation=cv2.INTER_AREA
            if (right - left) > buffers.image.shape[2]
            else cv2.INTER_LINEAR,
        )
        buffers.part_box[0] = np.array(box) / (frame.size * 2)
        buffers.part_presence[...] = buffers.presence

    def _reading(self, n: int, dt_s: float) -> RawAttention:
        """What the last step says for prompt n."""
        buffers = self._buffers
        follows = self._embed is not None
        return RawAttention(
            density=buffers.density[0, n].copy(),
            variance=buffers.state["variance"][0, n].copy(),
            dt_s=dt_s,
            cut=bool(buffers.cut[0]),
            # A way of viewing is not in view.
            presence=float(buffers.presence[0, n])
            if follows and buffers.searching[0, n] > 0.5
            else None,
            beta=float(buffers.beta[0, n]),
            gate=float(buffers.gate[0]),
        )

    def _listen(self, sound: Sound | None) -> None:
        """Puts the trailing second of sound where the network reads it."""
        if sound is not None or self._buffers.heard[0]:
            self._buffers.mel[0] = self._log_mel.update(sound)
        self._buffers.heard[0] = sound is not None

    def set_prompts(self, prompts: Sequence[str]) -> None:
        """Changes what is looked for; a prompt that stays keeps its state."""
        old, kept = self.prompts, self.state() if self._size else None
        self.prompts = tuple(prompts)
        if self._size is None or kept is None or self.prompts == old:
            return
        turned = initial_state(Shape(len(prompts), *self._size))
        for n, prompt in enumerate(self.prompts):
            if prompt in old:
                for name in OF_PROMPTS:
                    turned[name][0, n] = kept[name][0, old.index(prompt)]
        turned |= {name: kept[name] for name in STATE_NAMES if name not in OF_PROMPTS}
        if len(prompts) != len(old):
            self._bind(self._size)
        self._ask()
        self._load(turned)

    def reset(self) -> None:
        """Forgets everything that was seen."""
        self._stamps.last_ns = None
        if self._size is not None:
            self._load(initial_state(self._buffers.shape))

    def state(self) -> dict[str, Any]:
        """A copy of the state, for `restore`; arrays by name, `last_ns` and `prompts`."""
        arrays: dict[str, Any] = {}
        # What a second look starts from; else it is written anew with each step.
        presence: list[float] = []
        if self._size is not None:
            self._buffers.fetch_state()
            arrays = {name: array.copy() for name, array in self._buffers.state.items()}
            presence = self._buffers.presence[0].tolist()
        plain = {"last_ns": self._stamps.last_ns, "prompts": self.prompts, "size": self._size}
        return {**arrays, **plain, "presence": presence}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on exactly where `state` was taken."""
        self.prompts, self._stamps.last_ns = tuple(state["prompts"]), state["last_ns"]
        self._size = self._source = None
        if state["size"] is not None:
            self._bind(state["size"])
            self._load(state)
            if state.get("presence"):
                self._buffers.presence[0] = state["presence"]

    def close(self) -> None:
        """Lets the buffers go."""
        self._size = self._source = None
        self._bound.clear()

    def _fit(self, source: tuple[int, int]) -> None:
        """Makes the input's size fit pictures of (W, H)."""
        if source == self._source:
            return
        size = input_size(*source, self._pixels)
        if size != self._size:
            if self._stamps.last_ns is not None:
                self.resets += 1
                self._stamps.last_ns = None
                logger.warning("picture changed its shape to %dx%d: state starts anew", *source)
            self._bind(size)
        self._source = source

    def _bind(self, size: tuple[int, int]) -> None:
        """Buffers of this size, in their first state."""
        shape = Shape(len(self.prompts), *size)
        if shape not in self._bound:
            if len(self._bound) == KEPT_SHAPES:
                self._bound.pop(next(iter(self._bound)))
            buffers = Buffers(shape, self.backend.prompt_channels)
            run, look = self.backend.bind(buffers), None
            if self._looks and isinstance(self.backend, LookingBackend):
                look = self.backend.bind_look(buffers)
            self._bound[shape] = buffers, run, look
        self._buffers, self._run, self._run_look = self._bound[shape]
        self._size = size
        self._ask()
        self._load(initial_state(shape))

    def _ask(self) -> None:
        """Puts the prompts' vectors where the network reads them."""
        if self._embed is not None:
            for n, prompt in enumerate(self.prompts):
                vector = self._embed(prompt)
                # Of a prompt without a known word nothing is asked: it looks freely.
                self._buffers.prompt[0, n] = vector if vector.any() else self._embed(FREE_VIEWING)

    def _load(self, state: dict[str, Any]) -> None:
        for name, array in self._buffers.state.items():
            array[...] = state[name]
        self._buffers.send_state()
