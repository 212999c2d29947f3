"""The public AAM network for programs.

released = aam_edge.load_released("best_model.pth", "l")
maps = released.forward_image(photos, text)             # stills
maps = released.forward_clip(frames, text)              # one clip, its frames see each other
state = released.init_state()
for frame in frames:                                    # the same, frame by frame
    density = released.step(frame, text, state)

Pictures are uint8, BGR, as everywhere in aam-edge, of any size; they are stretched to 448 x 448,
as those the network was taught with. A text is CLIP's vector of it, (768,), or words where CLIP has
been imported (`aam-edge weights import`). Maps are 0..1 over the picture; divided by their sum they
are densities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.engine.released_network import Opened, open_network
from aam_edge.engine.released_text import ClipPrompts
from aam_edge.model.released.network import ReleasedNetwork, stretched
from aam_edge.model.released.pictures import SIDE, prepare
from aam_edge.model.released.stream import WINDOW, ReleasedStream, RingState

Pictures = NDArray[np.uint8] | Tensor
Text = str | NDArray[np.float32] | Tensor


def load_released(
    path: str | Path,
    size: str | None = None,
    *,
    window: int = WINDOW,
    lag: int = 0,
    clip: str = "clip-text",
    input_size: tuple[int, int] = (SIDE, SIDE),
    device: str = "cpu",
) -> Released:
    """Loads the public network.

    Args:
        path: a public checkpoint, or imported weights by file or name (`released-l`).
        size: s, b or l; imported weights know theirs.
        window: frames of a stream that a map is made from.
        lag: frames that a stream's map is behind, so that later frames count as evidence too.
        clip: imported CLIP for texts in words, by file or name.
        input_size: (H, W) that pictures are stretched to, sides from 16.
        device: cpu, cuda or cuda:1.

    Raises:
        ModelError: in one line that says what to do.
        ValueError: the lag is not less than the window.
    """
    return Released(open_network(path, size, device), window, lag, clip, input_size)


class Released:
    """The public network; `step` writes into the state that it is given."""

    def __init__(
        self, opened: Opened, window: int, lag: int, clip: str, input_size: tuple[int, int]
    ):
        self.name, self.size, self.sha256 = opened.name, opened.size, opened.sha256
        self.network: ReleasedNetwork = opened.network
        self.stream = ReleasedStream(opened.network, window, lag)
        self._clip = clip
        self._prompts: ClipPrompts | None = None
        self._input_size = input_size
        self._device = self.stream.times2.device

    @torch.inference_mode()
    def forward_image(self, images: Pictures, text: Text) -> Tensor:
        """Maps of still pictures, each for itself.

        Args:
            images: (B, H, W, 3), uint8, BGR.
            text: one for all, or (B, 768).

        Returns:
            (B, H, W), 0..1, of the network's input size.
        """
        x = self._taken(images)
        maps: Tensor = self.network(x, self._vectors(text, len(x))).maps
        return maps[:, 0]

    @torch.inference_mode()
    def forward_clip(self, frames: Pictures, text: Text, sound: Any = None) -> Tensor:
        """Maps of all frames of one clip; every frame sees all others.

        Args:
            frames: (T, H, W, 3), uint8, BGR.
            text: of the clip.
            sound: (T, 512), Wav2CLIP's vector of each frame; None for a silent clip.

        Returns:
            (T, H, W), 0..1.
        """
        x = self._taken(frames)
        heard = None if sound is None else torch.as_tensor(sound).to(self._device)
        maps: Tensor = self.network(x, self._vectors(text, len(x)), heard, is_clip=True).maps
        return maps[:, 0]

    def init_state(self, cameras: int = 1) -> RingState:
        """The state of a stream before its first frame."""
        return self.stream.init_state(cameras, *self._input_size)

    @torch.inference_mode()
    def step(self, frame: Pictures, text: Text, state: RingState, sound: Any = None) -> Tensor:
        """Takes one frame in and gives the map of the frame `lag` before.

        Args:
            frame: (H, W, 3), or of several cameras (B, H, W, 3), uint8, BGR.
            text: one for all, or (B, 768).
            state: of `init_state`; it is changed.
            sound: (512,) or (B, 512); None for silence.

        Returns:
            (H, W) or (B, H, W), 0..1: what `forward_clip` gives for that frame of the last
            `window` frames.
        """
        given = torch.as_tensor(frame)
        x = self._taken(given if given.ndim == 4 else given[None])
        heard = None if sound is None else torch.as_tensor(sound).to(self._device).view(len(x), -1)
        logits = self.stream.step(x, self._vectors(text, len(x))[:, None], state, heard)
        maps = stretched(logits, x.shape[2:]).sigmoid()[:, 0]
        return maps if given.ndim == 4 else maps[0]

    def _taken(self, images: Pictures) -> Tensor:
        """Pictures as the network takes them; ValueError for what are none."""
        x = torch.as_tensor(images)
        if x.ndim != 4 or x.shape[3] != 3 or x.dtype != torch.uint8 or 0 in x.shape:
            raise ValueError(f"pictures must be (B, H, W, 3) uint8, got {tuple(x.shape)} {x.dtype}")
        return prepare(x.to(self._device), self._input_size)

    def _vectors(self, text: Text, count: int) -> Tensor:
        """(count, 768)."""
        if isinstance(text, str):
            self._prompts = self._prompts or ClipPrompts(self._clip)
            text = self._prompts.embed(text)
        vectors = torch.as_tensor(text).to(self._device, torch.float32)
        width = self.network.shape.widths.text
        if vectors.shape not in ((width,), (1, width), (count, width)):
            shape = tuple(vectors.shape)
            raise ValueError(f"text must be ({width},) or ({count}, {width}), got {shape}")
        return vectors.expand(count, -1)
