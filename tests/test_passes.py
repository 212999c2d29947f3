"""Several cameras in one pass of the network: a state each, and nobody waits for anybody."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from aam_edge.engine.backend import Backend, Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.catalog import open_backend
from aam_edge.engine.package import find_package
from aam_edge.engine.passes import Passes
from aam_edge.engine.session import Session
from aam_edge.messages import Map, Observation
from tests.conftest import frame_of

DEADLINE_S = 45.0


class Counting:
    """A backend that counts passes by how many cameras are in them; binding may be held up."""

    name, precision, device = "counting", "f32", "cpu"

    def __init__(self, backend: Backend, *, binds_slowly: bool = False):
        self._backend, self.binds_slowly = backend, binds_slowly
        self.prompt_channels = backend.prompt_channels
        self.passes: list[int] = []
        self.may_bind = threading.Event()
        self.fails = False

    def bind(self, buffers: Buffers) -> Runner:
        if buffers.shape.cameras > 1 and self.binds_slowly:
            assert self.may_bind.wait(DEADLINE_S)
        if self.fails:
            raise RuntimeError("no room")
        run = self._backend.bind(buffers)

        def counted(turn: int) -> None:
            self.passes.append(buffers.shape.cameras)
            run(turn)

        return counted


@pytest.fixture(scope="module")
def onnx() -> Backend:
    return open_backend(find_package("nano"), "onnx")


def seen(session: Session, camera: str, k: int) -> None:
    session.take_in(Observation(frame_of(camera, k)))


def read_out(sessions: Sequence[Session]) -> list[Map]:
    return [session.readings()[0].density for session in sessions]


def test_cameras_share_a_pass_and_each_keeps_its_own_state(onnx: Backend) -> None:
    counting = Counting(onnx)
    together = [Session(counting, ["a"]) for _ in range(3)]
    alone = [Session(onnx, ["a"]) for _ in range(3)]
    passes = Passes(counting, most=8)
    for k in range(6):
        # The second camera is late every third time: it is only not in the pass.
        ready = [c for c in range(3) if c != 1 or k % 3]
        for c in ready:
            seen(together[c], "abc"[c], k)
            seen(alone[c], "abc"[c], k)
            alone[c].run()
        assert passes.run([together[c] for c in ready]) == [len(ready)] * len(ready)
    assert counting.passes == [2, 3, 3, 2, 3, 3]
    for one, other in zip(read_out(together), read_out(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    assert np.abs(read_out(together)[0] - read_out(together)[2]).max() > 1e-4


def test_bits_of_a_shared_pass_do_not_depend_on_who_shares_it(onnx: Backend) -> None:
    """So that one camera of a recording of three can be run again exactly."""
    sessions = [Session(onnx, ["a"]) for _ in range(3)]
    again, passes = Session(onnx, ["a"]), Passes(onnx, most=8)
    for k in range(5):
        ready = sessions if k % 2 else sessions[:2]
        for c, session in enumerate(ready):
            seen(session, "abc"[c], k)
        passes.run(ready)
        seen(again, "a", k)
        assert passes.run([again], [True]) == [2]
    np.testing.assert_array_equal(read_out([again])[0], read_out(sessions)[0])


def test_who_was_alone_is_alone_again(onnx: Backend) -> None:
    counting = Counting(onnx)
    sessions, passes = [Session(counting, ["a"]) for _ in range(3)], Passes(counting, most=8)
    for c, session in enumerate(sessions):
        seen(session, "abc"[c], 0)
    assert passes.run(sessions, [None, False, None]) == [2, 1, 2]
    assert sorted(counting.passes) == [1, 2]


def test_pictures_of_other_shapes_and_numbers_of_prompts_go_apart(onnx: Backend) -> None:
    counting = Counting(onnx)
    sessions = [Session(counting, prompts) for prompts in (["a"], ["a"], ["a"], ["a", "b"])]
    for c, (session, size) in enumerate(zip(sessions, [(640, 480), (640, 272)] * 2, strict=True)):
        session.take_in(Observation(frame_of("abcd"[c], 0, size)))
    assert Passes(counting, most=8).run(sessions) == [2, 1, 2, 1]
    assert sessions[1].readings()[0].density.shape == (40, 96)


def test_no_more_cameras_than_asked_share_a_pass(onnx: Backend) -> None:
    counting = Counting(onnx)
    sessions = [Session(counting, ["a"]) for _ in range(5)]
    for c, session in enumerate(sessions):
        seen(session, "abcde"[c], 0)
    assert Passes(counting, most=2).run(sessions) == [2, 2, 2, 2, 1]


def test_nobody_waits_for_an_engine_that_compiles(onnx: Backend) -> None:
    counting = Counting(onnx, binds_slowly=True)
    sessions, passes = [Session(counting, ["a"]) for _ in range(2)], Passes(counting, most=8)

    def step(k: int) -> list[int]:
        for c, session in enumerate(sessions):
            seen(session, "ab"[c], k)
        return passes.run(sessions)

    assert step(0) == [1, 1]
    assert step(1) == [1, 1]
    counting.may_bind.set()
    assert passes._binding is not None
    passes._binding.join(DEADLINE_S)
    assert step(2) == [2, 2]
    passes.close()
    passes.close()


def test_engine_that_cannot_take_several_takes_one_after_the_other(
    onnx: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    counting = Counting(onnx, binds_slowly=True)
    sessions, passes = [Session(counting, ["a"]) for _ in range(2)], Passes(counting, most=8)
    for c, session in enumerate(sessions):
        seen(session, "ab"[c], 0)
    counting.fails = True
    counting.may_bind.set()
    for _ in range(3):
        assert passes.run(sessions) == [1, 1]
        if passes._binding is not None:
            passes._binding.join(DEADLINE_S)
    assert caplog.text.count("2 cameras do not go together") == 1
