"""L_HAE: the anchor entails the text, the text entails the picture (AAM, arXiv 2606.03540).

    contrast  mean relu(d(z_img, z_txt))
    image     mean relu(angle(z_txt, z_img) - 0.8 aperture(z_txt))
    text      mean relu(angle(z_anc, z_txt) - aperture(z_anc))
    L_HAE     (image + text) / 2 + 0.4 contrast

with the exterior angle at the first point and the half aperture of its cone, as in the public code;
the paper's total leaves the contrast out. No negatives are pushed away.
The anchor must not begin at the origin: there its angle has no gradient that is worth following.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from aam_edge.model.native import lorentz
from aam_edge.model.native.decoder import Decoder

CONE_OF_TEXT = 0.8
"""How much of its cone a text leaves to pictures."""
FIRST_DEPTH = 0.05
"""Length of the anchor's tangent after `point_anchor`."""


class Hae(NamedTuple):
    """The parts, one number a row."""

    contrast: Tensor
    """(B,), distance of picture and text."""
    image: Tensor
    """(B,), radians that the picture lies outside the cone of its text."""
    text: Tensor
    """(B,), radians that the text lies outside the cone of the anchor."""

    def total(self, contrast: float) -> Tensor:
        """L_HAE of each row, (B,)."""
        return (self.image + self.text) / 2 + contrast * self.contrast


def hae(image: Tensor, text: Tensor, anchor: Tensor, c: Tensor) -> Hae:
    """The parts for pictures and their texts.

    Args:
        image: (B, n), points z_img, space part.
        text: (B, n), points z_txt.
        anchor: (1, n) or (B, n), the point z_anc.
        c: the curvature is -c.
    """
    of_text = lorentz.exterior_angle(text, image, c)
    of_anchor = lorentz.exterior_angle(anchor.expand_as(text), text, c)
    return Hae(
        lorentz.distance(image, text, c),
        (of_text - CONE_OF_TEXT * lorentz.half_aperture(text, c)).clamp_min(0),
        (of_anchor - lorentz.half_aperture(anchor, c)).clamp_min(0),
    )


@torch.no_grad()
def point_anchor(decoder: Decoder, free_viewing: Tensor) -> None:
    """Warm start: the anchor lies near the origin on the way to free viewing.

    Args:
        decoder: its anchor is set.
        free_viewing: (128,), vector of the prompt.
    """
    towards = decoder.to_point(free_viewing[None])[0]
    decoder.anchor.copy_(FIRST_DEPTH * towards / towards.norm().clamp_min(1e-6))
