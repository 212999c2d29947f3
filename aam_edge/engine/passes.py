"""Steps of several cameras in one pass of the network.

Each session keeps its own state. For a pass the inputs and states of those that are ready are laid
behind each other, and what comes out is dealt back: 0.2 MB a camera each way, some 30 us. So a
camera that is late or lost is simply not in the pass. Sessions of one pass have the same input size
and number of prompts; others get a pass of their own.

ONNX Runtime gives a camera the same bits in all passes of two and more, whoever is beside it, and
others (by 1e-6) alone. So a recording tells which of the two it was, and a re-run does the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from aam_edge.engine.backend import Backend, Runner
from aam_edge.engine.buffers import Buffers, Shape
from aam_edge.engine.session import Session

logger = logging.getLogger(__name__)

KEPT_SHAPES = 12
BIND_WITHIN_S = 0.5
"""How long `close` waits for a binding under way."""
Bound = tuple[Buffers, Runner]


class Passer(Protocol):
    """What runs the sessions of a stream."""

    network_s: float
    """Time of the last `run` inside the engine."""

    def run(
        self, sessions: Sequence[Any], wanted: Sequence[bool | None] | None = None
    ) -> list[int]:
        """Runs one step of each session; gives how many were in the pass of each."""

    def close(self) -> None:
        """Lets go what is held; twice is fine."""


class OneByOne:
    """Runs sessions one after the other: what stands where networks know of no other camera."""

    network_s = 0.0

    def run(
        self, sessions: Sequence[Any], wanted: Sequence[bool | None] | None = None
    ) -> list[int]:
        """Runs one step of each session; each is alone in its pass, whatever is `wanted`."""
        for session in sessions:
            session.run()
        self.network_s = sum(session.network_s for session in sessions)
        return [1] * len(sessions)

    def close(self) -> None:
        """Nothing is held."""


class Passes:
    """Runs what sessions have taken in. Used by one thread, but for its own that binds."""

    def __init__(self, backend: Backend, most: int) -> None:
        """`most` cameras in one pass."""
        self._backend, self._most = backend, most
        self._bound: dict[Shape, Bound] = {}
        self._refused: set[Shape] = set()
        self._binding: threading.Thread | None = None
        self.network_s = 0.0
        """Time of the last `run` inside the engine."""

    def run(
        self, sessions: Sequence[Session], wanted: Sequence[bool | None] | None = None
    ) -> list[int]:
        """Runs one step of each session.

        Args:
            sessions: each has taken a frame in.
            wanted: of each, whether it must have the bits of a pass with others (True), or those
                that it has alone (False); None where either will do.

        Returns:
            How many were in the pass of each; 2 where it was alone as if there were two.
        """
        start = time.perf_counter()
        wanted = wanted or [None] * len(sessions)
        counts = [1] * len(sessions)
        for group in self._groups(sessions, wanted):
            needs = any(wanted[index] for index in group)
            count = self._pass([sessions[index] for index in group], needs=needs)
            for index in group:
                counts[index] = count
        self.network_s = time.perf_counter() - start
        return counts

    def _pass(self, sessions: Sequence[Session], *, needs: bool) -> int:
        """One pass for these, or one each where there are no buffers for all yet."""
        count = max(len(sessions), 2 if needs else 1)
        bound = self._find(shape_of(sessions[0], count), waits=needs) if count > 1 else None
        if bound is not None:
            run_together(sessions, *bound)
            return count
        for session in sessions:
            session.run()
        return 1

    def close(self) -> None:
        """Lets the buffers go; twice is fine."""
        if self._binding is not None:
            self._binding.join(BIND_WITHIN_S)
        self._bound = {}

    def _groups(
        self, sessions: Sequence[Session], wanted: Sequence[bool | None]
    ) -> list[list[int]]:
        """Places of those that can go together, in their order."""
        by_shape: dict[tuple[Shape, int], list[int]] = {}
        for index, session in enumerate(sessions):
            alone = index if wanted[index] is False or session.looks_closer else -1
            by_shape.setdefault((session.buffers.shape, alone), []).append(index)
        return [
            group[first : first + self._most]
            for group in by_shape.values()
            for first in range(0, len(group), self._most)
        ]

    def _find(self, shape: Shape, *, waits: bool) -> Bound | None:
        """Buffers of this shape; None while they are made, unless the caller `waits`."""
        if shape in self._bound:
            return self._bound[shape]
        if waits or not self._backend.binds_slowly:
            self._bind(shape)
            return self._bound[shape]
        is_binding = self._binding is not None and self._binding.is_alive()
        if not is_binding and shape not in self._refused:
            self._binding = threading.Thread(
                target=self._bind_meanwhile, args=(shape,), name="aam-bind", daemon=True
            )
            self._binding.start()
        return None

    def _bind_meanwhile(self, shape: Shape) -> None:
        """The body of a thread: steps are run one by one until it is done."""
        try:
            self._bind(shape)
        except Exception:  # the top of a thread
            self._refused.add(shape)
            logger.exception("%d cameras do not go together: going one by one", shape.cameras)

    def _bind(self, shape: Shape) -> None:
        buffers = Buffers(shape, self._backend.prompt_channels)
        bound = buffers, self._backend.bind(buffers)
        kept = list(self._bound.items())[1 - KEPT_SHAPES :]
        # One assignment: the other thread sees the old ones or the new.
        self._bound = dict(kept) | {shape: bound}


def shape_of(session: Session, cameras: int) -> Shape:
    """The shape of a pass of so many that are like this one."""
    return replace(session.buffers.shape, cameras=cameras)


def run_together(sessions: Sequence[Session], pass_: Buffers, runner: Runner) -> None:
    """One pass for all; where there are fewer than it has room for, the last one fills it."""
    start = time.perf_counter()
    inputs, outputs = pass_.inputs(0), pass_.outputs(0)
    for slot in range(pass_.shape.cameras):
        session = sessions[min(slot, len(sessions) - 1)]
        session.buffers.fetch_state()
        for name, array in session.buffers.inputs(session.buffers.turn).items():
            inputs[name][slot] = array[0]
    pass_.send_state()
    runner(0)
    pass_.turn = 1
    pass_.fetch_state()
    pass_.turn = 0
    for slot, session in enumerate(sessions):
        buffers = session.buffers
        for name, array in buffers.outputs(buffers.turn).items():
            array[0] = outputs[name][slot]
        buffers.turn = 1 - buffers.turn
        buffers.send_state()
        session.network_s = (time.perf_counter() - start) / len(sessions)
