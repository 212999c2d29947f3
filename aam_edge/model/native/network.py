"""The native network, whole: picture and prompt to a density that lives in time (DESIGN 4 and 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aam_edge.model.native.decoder import Decoder
from aam_edge.model.native.vision import TAP_CHANNELS, LiteBody


class NativeNetwork(nn.Module):
    """Vision encoder, decoder and Fokker-Planck filter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = LiteBody()
        self.decoder = Decoder(TAP_CHANNELS)

    def observe(self, picture: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """One still picture each: no state.

        Args:
            picture: (B, 3, H, W), BGR, float, 0..255.
            prompt: (B, 128).

        Returns:
            log o and log R, (B, 1, H/4, W/4).
        """
        return self.decoder(self.decoder.project(self.body(picture)), prompt)
