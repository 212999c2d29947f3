"""The arrays that the steps of one camera, or of several at once, read and write: bound once.

The state is kept twice: a step reads one copy and writes the other, and the next step turns them
round. So nothing is allocated or copied while a stream runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.engine.log_mel import BANDS, HOPS, SILENCE

MAP_STRIDE = 4
COARSE_STRIDE = 16
"""Pixels along a cell of drift and hearing."""
PROMPT_CHANNELS = 128
HEARING_CHANNELS = 102
LARGEST_VARIANCE = 1e4
KEPT_SHAPES = 6
"""Sizes whose buffers stay bound: photos of a folder come in a few shapes, and binding compiles."""
STATE_NAMES = ("log_density", "variance", "luminance", "drift", "hearing")
OF_PROMPTS = STATE_NAMES[:2]
"""What each prompt has for itself; the rest belongs to the camera."""
INPUTS = ("image", "prompt", "dt_s", "ego", "mel", "heard")
PART_INPUTS = ("part_image", "part_box", "part_presence")
"""Of a second look, besides."""
OUTPUTS = ("density", "presence", "searching", "beta", "gate", "cut")
"""Of the graph, besides the state."""

READ_STATE = ("variance",)
"""The part of the state that is read after each step; an engine that keeps the state elsewhere
brings the rest when it is asked."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stream's arrays depend on."""

    prompts: int
    height: int
    width: int
    """Of the network's input, multiples of 32."""
    cameras: int = 1
    """Steps that go through the network in one pass."""

    @property
    def map(self) -> tuple[int, int]:
        """(h, w) of the density."""
        return self.height // MAP_STRIDE, self.width // MAP_STRIDE


class Buffers:
    """Inputs, outputs and twofold state of one camera, or of several in one pass."""

    def __init__(self, shape: Shape, prompt_channels: int = PROMPT_CHANNELS):
        self.shape = shape
        each = (shape.cameras, shape.prompts)
        self.image = np.zeros((shape.cameras, shape.height, shape.width, 3), np.uint8)
        self.part_image = np.zeros_like(self.image)
        self.part_box = np.zeros((shape.cameras, 4), np.float32)
        self.part_presence = np.zeros(each, np.float32)
        self.prompt = np.zeros((*each, prompt_channels), np.float32)
        self.dt_s = np.zeros(shape.cameras, np.float32)
        self.ego = np.tile(np.eye(3, dtype=np.float32), (shape.cameras, 1, 1))
        self.mel = np.full((shape.cameras, BANDS, HOPS), SILENCE, np.float32)
        self.heard = np.zeros(shape.cameras, np.float32)
        self.density = np.zeros((*each, *shape.map), np.float32)
        self.presence = np.zeros(each, np.float32)
        self.searching = np.zeros(each, np.float32)
        self.beta = np.ones(each, np.float32)
        self.gate = np.zeros(shape.cameras, np.float32)
        self.cut = np.zeros(shape.cameras, np.float32)
        self._states = (initial_state(shape), initial_state(shape))
        self.turn = 0
        """Which copy of the state the next step reads."""
        self.fetch_state: Callable[[], None] = _nothing
        """Brings the state into `state`; an engine whose state lives on a device sets it."""
        self.send_state: Callable[[], None] = _nothing
        """Takes what is in `state` for the next step."""

    @property
    def state(self) -> dict[str, Array]:
        """What the next step reads."""
        return self._states[self.turn]

    def inputs(self, turn: int) -> dict[str, Array]:
        """Every input of the graph by name, when the step reads state `turn`."""
        return {name: getattr(self, name) for name in INPUTS} | self._states[turn]

    def look_inputs(self, turn: int) -> dict[str, Array]:
        """The same of a second look."""
        return {name: getattr(self, name) for name in PART_INPUTS} | self.inputs(turn)

    def outputs(self, turn: int) -> dict[str, Array]:
        """Every output of the graph by name, when the step reads state `turn`."""
        plain: dict[str, Array] = {name: getattr(self, name) for name in OUTPUTS}
        written = self._states[1 - turn]
        return plain | {f"next_{name}": array for name, array in written.items()}


def _nothing() -> None:
    """The state lives in the arrays themselves."""


def initial_state(shape: Shape) -> dict[str, Array]:
    """The state before the first frame: it looks nowhere and knows nothing."""
    height, width = shape.map
    cameras = shape.cameras
    maps = (cameras, shape.prompts, height, width)
    coarse = shape.height // COARSE_STRIDE, shape.width // COARSE_STRIDE
    return {
        "log_density": np.full(maps, -np.log(height * width), np.float32),
        "variance": np.full(maps, LARGEST_VARIANCE, np.float32),
        "luminance": np.zeros((cameras, 1, height, width), np.float32),
        "drift": np.zeros((cameras, 2, *coarse), np.float32),
        "hearing": np.zeros((cameras, HEARING_CHANNELS, *coarse), np.float32),
    }
