"""When and where to look closer: every n-th step, for one prompt after the other.

Where, the rule of gaze.py says, at a pace of its own: a second look takes a step and turns nothing,
so it need not dwell, and it has seen its box at once. So attention goes ahead of the gaze, as it
does in people (docs/decisions/0020-second-look.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aam_edge.config import GazeConfig
from aam_edge.messages import Box

Place = tuple[float, float]
"""x and y in -1..1 over the picture."""

BOX_WIDTH = 0.4
"""Width of the fovea that stands for a box of side 1: at its border V is 0.46."""
TAKEN_IN_S = 0.05
"""A box is taken in with this time constant."""


def pace_of(config: GazeConfig) -> GazeConfig:
    """The rule of gaze for second looks."""
    fovea = BOX_WIDTH * config.foveate_part
    return replace(config, fovea=fovea, look_s=TAKEN_IN_S, dwell_s=0.0)


def next_box(
    config: GazeConfig, steps: int, places: Sequence[Place | None], size: tuple[int, int]
) -> Box | None:
    """What the next step looks at; None for the whole picture.

    Args:
        config: whether, how often and how much.
        steps: that were taken since the start.
        places: what to look at for each prompt, if anything.
        size: (W, H) of the picture.
    """
    # The first steps see the whole, as there is nothing to look at yet.
    if not config.foveate or not places or steps % config.foveate_every != config.foveate_every - 1:
        return None
    place = places[steps // config.foveate_every % len(places)]
    if place is None:
        return None
    sides = [max(1, round(config.foveate_part * side)) for side in size]
    left, top = (
        min(max(round((at + 1) / 2 * room - side / 2), 0), room - side)
        for at, room, side in zip(place, size, sides, strict=True)
    )
    return left, top, left + sides[0], top + sides[1]
