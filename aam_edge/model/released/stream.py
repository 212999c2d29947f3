"""The public network frame by frame, with the same maps as over the window of the last frames.

The backbone runs once a frame. Its projected taps go into rings, where frame n lies in slot
n modulo the length; the blocks over time then work for the one frame that is wanted. Memory is what
the rings take, whatever the length of the stream.

With a lag, the map is that of an earlier frame, with the frames since as evidence (fixed-lag
smoothing); the public blocks look both ways in time. Until so many frames have come, it is the map
of the first.

The network knows no time: frames count as equally far apart. What is too far apart to belong to one
window, the caller begins anew (`RingState.restart`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aam_edge.model.released.dinov3 import PATCH
from aam_edge.model.released.network import (
    TEMPORAL_LEVELS,
    Levels,
    ReleasedNetwork,
)
from aam_edge.model.released.temporal import Frames

WINDOW = 16
"""Frames; the public code was trained on 32."""


@dataclass(slots=True)
class RingState:
    """All that lives across frames of B cameras in step. Written in place by `step`."""

    shallow: tuple[Tensor, Tensor]
    """The two shallow levels, (B, lag + 1, C, h, w)."""
    deep: tuple[Tensor, Tensor]
    """The two deep levels before the blocks over time, (B, window, C, h, w)."""
    sound: Tensor
    """(B, lag + 1, 512), and whether there was one:"""
    heard: Tensor
    """(B, lag + 1), 1.0 or 0.0."""
    count: Tensor
    """(), int64, frames since the start."""
    gate: Tensor | None = None
    """(B,), 0..1, what part sound had in the last map; None for none. No state, told beside it."""

    def restart(self) -> None:
        """Forgets all frames; what is left in the rings is not looked at."""
        self.count.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, for saving and for graphs."""
        levels = (*self.shallow, *self.deep)
        named = {f"level{i}": level for i, level in enumerate(levels)}
        return {**named, "sound": self.sound, "heard": self.heard, "count": self.count}

    def copy(self) -> RingState:
        """The same state in memory of its own."""
        return state_of({name: tensor.clone() for name, tensor in self.tensors().items()})


def state_of(tensors: dict[str, Tensor]) -> RingState:
    """A state of what `RingState.tensors` gave."""
    one, two, three, four = (tensors[f"level{i}"] for i in range(4))
    last = (tensors[name] for name in ("sound", "heard", "count"))
    return RingState((one, two), (three, four), *last)


class ReleasedStream(nn.Module):
    """A network that is fed frame by frame."""

    times2: Tensor
    times3: Tensor

    def __init__(self, network: ReleasedNetwork, window: int = WINDOW, lag: int = 0):
        """Nothing is copied: the network stays the caller's.

        Args:
            network: with LoRA merged or not.
            window: frames that a map is made from, at least 1.
            lag: frames that the map is behind, less than the window.
        """
        super().__init__()
        if not 0 <= lag < window:
            raise ValueError(f"lag must be 0 to {window - 1}, got {lag}")
        self.network, self.window, self.lag = network, window, lag
        for level in TEMPORAL_LEVELS:
            times = network.head.over(level).window_times(window).detach()
            self.register_buffer(f"times{level}", times, persistent=False)

    def init_state(self, cameras: int, height: int, width: int) -> RingState:
        """The state before the first frame of pictures of (height, width)."""
        shape, like = self.network.shape, self.times2
        places = height // PATCH, width // PATCH
        lengths = (self.lag + 1,) * 2 + (self.window,) * 2
        one, two, three, four = (
            like.new_zeros(cameras, length, channels, *places)
            for length, channels in zip(lengths, shape.projections, strict=True)
        )
        return RingState(
            (one, two),
            (three, four),
            like.new_zeros(cameras, self.lag + 1, shape.audio),
            like.new_zeros(cameras, self.lag + 1),
            torch.zeros((), dtype=torch.int64, device=like.device),
        )

    def step(
        self, picture: Tensor, text: Tensor, state: RingState, sound: Tensor | None = None
    ) -> Tensor:
        """Takes one frame of each camera in; writes it into the state.

        Args:
            picture: (B, 3, H, W), RGB, normalised (dinov3.py).
            text: (B, N, 768), CLIP's vectors of N prompts.
            state: of `init_state`.
            sound: (B, 512), the sound of the frame; None for silence.

        Returns:
            Logits of the frame `lag` before, (B, N, 8 h, 8 w).
        """
        levels = self.network.look(picture)
        for ring, level in zip((*state.shallow, *state.deep), levels, strict=True):
            write(ring, level, state.count)
        if sound is not None:
            write(state.sound, sound, state.count)
        heard = state.heard.new_full((len(state.heard),), sound is not None)
        write(state.heard, heard, state.count)
        state.count += 1
        levels, state.gate = self.recall(state, hears=bool(state.heard.any()))
        return self.decode(levels, text)

    def recall(self, state: RingState, *, hears: bool = True) -> tuple[Levels, Tensor | None]:
        """The levels of the wanted frame as all frames of the window see them, and sound's gate.

        Args:
            state: with the newest frame in it.
            hears: whether any camera may have sound.
        """
        frames = self.frames(state.count)
        wanted = state.count - frames.known + frames.wanted
        slot = wanted % (self.lag + 1)
        one, two = (ring.index_select(1, slot[None])[:, 0] for ring in state.shallow)
        three, four = (
            self.network.head.over(i).at(ring, frames, times)
            for i, ring, times in zip(
                TEMPORAL_LEVELS, state.deep, (self.times2, self.times3), strict=True
            )
        )
        levels = one, two, three, four
        if not hears:
            return levels, None
        sound, heard = (x.index_select(1, slot[None])[:, 0] for x in (state.sound, state.heard))
        fused, gate = self.network.head.av_fusion(four, sound)
        four = torch.where(heard[:, None, None, None] > 0, fused, four)
        return (one, two, three, four), gate.flatten() * heard

    def decode(self, levels: Levels, text: Tensor) -> Tensor:
        """Logits (B, N, 8 h, 8 w) for texts (B, N, 768)."""
        prompts = text.shape[1]
        each = tuple(level.repeat_interleave(prompts, 0) for level in levels)
        one, two, three, four = each
        logits = self.network.head.decode((one, two, three, four), text.flatten(0, 1))
        per_prompt: Tensor = logits.unflatten(0, (-1, prompts)).squeeze(2)
        return per_prompt

    def frames(self, count: Tensor) -> Frames:
        """What lies in which slot of the deep rings after so many frames."""
        known = count.clamp_max(self.window)
        slots = torch.arange(self.window, device=count.device)
        rank = (slots - (count - known)) % self.window
        return Frames(rank, known, (known - 1 - self.lag).clamp_min(0))


def write(ring: Tensor, newest: Tensor, number: Tensor) -> None:
    """Puts what belongs to frame `number` into its slot of a ring (B, length, ...)."""
    slot = number[None] % ring.shape[1]
    ring.index_copy_(1, slot, newest[:, None].to(ring.dtype))
