"""The native network, whole: picture and prompt to a density that lives in time (DESIGN 4 and 5).

`step` is what runs on a robot: explicit state in, explicit state out, so that the same graph runs
in torch, ONNX Runtime and OpenVINO and can be saved, moved and replayed. `observe` sees one still
picture and is what gaze teaches; `forward` is a clip, frame by frame through `step`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aam_edge.model.native.decoder import Decoder
from aam_edge.model.native.flow import luminance
from aam_edge.model.native.fpd import Fpd, State, initial_state
from aam_edge.model.native.vision import TAP_CHANNELS, LiteBody

MAP_STRIDE = 4
"""Pixels of the input along one cell of the map."""


class Step(NamedTuple):
    """What one frame gives."""

    density: Tensor
    """(B, N, h, w), sums to 1."""
    cut: Tensor
    """(B,), 1.0 where the scene was cut before this frame."""
    state: State


class NativeNetwork(nn.Module):
    """Vision encoder, decoder and Fokker-Planck filter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = LiteBody()
        self.decoder = Decoder(TAP_CHANNELS)
        self.fpd = Fpd()

    def observe(self, picture: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """One still picture each: no state.

        Args:
            picture: (B, 3, H, W), BGR, float, 0..255.
            prompt: (B, 128).

        Returns:
            log o and log R, (B, 1, H/4, W/4).
        """
        evidence: tuple[Tensor, Tensor] = self.decoder(
            self.decoder.project(self.body(picture)), prompt
        )
        return evidence

    def init_state(self, cameras: int, prompts: int, height: int, width: int) -> State:
        """The state before the first frame; height and width are the input's."""
        return initial_state(cameras, prompts, height // MAP_STRIDE, width // MAP_STRIDE)

    def step(self, image: Tensor, prompt: Tensor, dt_s: Tensor, state: State) -> Step:
        """One frame of B cameras, N prompts each; vision is done once a camera.

        Args:
            image: (B, H, W, 3), uint8, BGR; sides multiples of 32.
            prompt: (B, N, 128).
            dt_s: (B,), seconds since the camera's last frame, >= 0; 0 for the first.
            state: what the last step gave, or `init_state`.
        """
        picture = image.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        prompts = prompt.shape[1]
        levels = self.decoder.project(self.body(picture))
        levels = [_repeated(level, prompts) for level in levels]  # (B * N, c, ., .)
        log_evidence, log_variance = self.decoder(levels, prompt.flatten(0, 1))
        predicted, cut = self.fpd.predict(state, luminance(picture), dt_s)
        shape = predicted.log_density.shape
        corrected = self.fpd.correct(predicted, log_evidence.view(shape), log_variance.view(shape))
        return Step(corrected.log_density.exp(), cut.to(dt_s.dtype), corrected)

    def forward(self, images: Tensor, prompt: Tensor, dt_s: Tensor) -> Tensor:
        """A clip from a fresh state: (B, T, H, W, 3), (B, N, 128), (B, T) to (B, T, N, h, w)."""
        state = self.init_state(*prompt.shape[:2], *images.shape[2:4])
        densities = []
        for t in range(images.shape[1]):
            density, _, state = self.step(images[:, t], prompt, dt_s[:, t], state)
            densities.append(density)
        return torch.stack(densities, dim=1)


def _repeated(level: Tensor, prompts: int) -> Tensor:
    """(B, c, h, w) to (B * N, c, h, w)."""
    return level[:, None].expand(-1, prompts, -1, -1, -1).flatten(0, 1)
