"""The next point to look at.

First form: the best target, held until another is clearly better, so that two equal ones do not
make a camera head swing to and fro. Information gain, inhibition of return and the cost of turns
(DESIGN 6) are not in it yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from aam_edge.messages import Gaze, Target

SWITCH_RATIO = 1.3
"""Another target takes the gaze over with so many times the score of the held one."""


class GazeHolder:
    """The target that is looked at, of one camera and prompt."""

    def __init__(self) -> None:
        self._held_id: int | None = None

    def choose(self, targets: Sequence[Target]) -> Gaze | None:
        """The point to look at, None where there is no target.

        Args:
            targets: of one map, best first.
        """
        if not targets:
            return None
        best = targets[0]
        held = next((target for target in targets if target.id == self._held_id), best)
        chosen = best if best.score > SWITCH_RATIO * held.score else held
        self._held_id = chosen.id
        return Gaze(chosen.x, chosen.y, chosen.yaw, chosen.pitch, chosen.id)

    def reset(self) -> None:
        """Looks at nothing."""
        self._held_id = None

    def state(self) -> int | None:
        """Id of the held target, for `restore`."""
        return self._held_id

    def restore(self, state: int | None) -> None:
        """Goes on from `state()`."""
        self._held_id = state
