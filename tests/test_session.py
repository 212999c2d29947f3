"""A session's state: it lives across frames, moves, is saved, and starts anew where it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aam_edge.engine.backend import Backend, Runner
from aam_edge.engine.buffers import Buffers
from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.log_mel import LogMel
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.engine.size import shrink
from aam_edge.engine.stamps import UNKNOWN_STEP_S
from aam_edge.messages import SOUND_RATE_HZ, Frame, Map, Observation, RawAttention, Sound
from tests.conftest import FRAME_NS, START_NS, scene

Frames = Callable[[int], Frame]


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend(find_package("nano"), "onnx")


def play(session: Session, frames: Frames, ids: range) -> list[Map]:
    return [session.step(Observation(frames(i)))[0].density for i in ids]


def test_map_is_a_quarter_of_the_input_and_keeps_the_aspect(
    backend: Backend, moving_frame: Frames
) -> None:
    session = Session(backend, ["a"])
    assert session.step(Observation(moving_frame(0)))[0].density.shape == (56, 72)
    portrait = Frame(scene(0, 480, 640), START_NS, "test", 0)
    assert Session(backend, ["a"]).step(Observation(portrait))[0].density.shape == (72, 56)


def test_picture_that_the_source_made_small_gives_the_same_bits(
    backend: Backend, moving_frame: Frames
) -> None:
    plain, ready = Session(backend, ["a"]), Session(backend, ["a"])
    for i in range(3):
        frame = moving_frame(i)
        blank = Frame(np.zeros_like(frame.image), frame.capture_ns, "test", i)
        # The picture itself is not looked at where there is a small one, so it may be blank here.
        small = replace(blank, small=shrink(frame.image))
        seen, expected = (
            session.step(Observation(its))[0].density
            for session, its in ((ready, small), (plain, frame))
        )
        np.testing.assert_array_equal(seen, expected)


def test_small_picture_of_another_size_is_left_out(backend: Backend, moving_frame: Frames) -> None:
    frame = moving_frame(0)
    other = replace(frame, small=np.zeros((64, 64, 3), np.uint8))
    expected = play(Session(backend, ["a"]), lambda _: frame, range(1))
    np.testing.assert_array_equal(
        play(Session(backend, ["a"]), lambda _: other, range(1)), expected
    )


def test_saved_state_goes_on_bit_for_bit(backend: Backend, moving_frame: Frames) -> None:
    session = Session(backend, ["a"])
    play(session, moving_frame, range(5))
    saved = session.state()
    expected = play(session, moving_frame, range(5, 10))
    other = Session(backend, ["something else"])
    other.restore(saved)
    np.testing.assert_array_equal(play(other, moving_frame, range(5, 10)), expected)


def test_state_remembers_what_went_before(backend: Backend, moving_frame: Frames) -> None:
    session = Session(backend, ["a"])
    seen = play(session, moving_frame, range(10))[-1]
    fresh = play(Session(backend, ["a"]), moving_frame, range(9, 10))[0]
    assert np.abs(seen - fresh).sum() > 1e-3


def test_reset_forgets_everything(backend: Backend, moving_frame: Frames) -> None:
    session = Session(backend, ["a"])
    first = play(session, moving_frame, range(3))
    session.reset()
    np.testing.assert_array_equal(play(session, moving_frame, range(3)), first)


def test_new_prompt_starts_anew_and_the_other_keeps_its_state(
    backend: Backend, moving_frame: Frames
) -> None:
    session, untouched = Session(backend, ["a", "b"]), Session(backend, ["a", "b"])
    for i in range(5):
        session.step(Observation(moving_frame(i)))
        untouched.step(Observation(moving_frame(i)))
    session.set_prompts(["a", "c"])
    changed = session.step(Observation(moving_frame(5)))
    expected = untouched.step(Observation(moving_frame(5)))
    np.testing.assert_array_equal(changed[0].density, expected[0].density)
    # What has just been asked for knows its first observation only.
    assert changed[1].variance.mean() > expected[1].variance.mean()


def test_prompts_can_be_added_and_taken_away(backend: Backend, moving_frame: Frames) -> None:
    session, untouched = Session(backend, ["a"]), Session(backend, ["a"])
    play(session, moving_frame, range(5))
    play(untouched, moving_frame, range(5))
    session.set_prompts(["b", "a"])
    assert len(session.step(Observation(moving_frame(5)))) == 2
    session.set_prompts(["a"])
    play(untouched, moving_frame, range(5, 6))
    expected = play(untouched, moving_frame, range(6, 7))
    np.testing.assert_allclose(play(session, moving_frame, range(6, 7)), expected, atol=1e-7)


def test_stamp_that_goes_back_is_counted_and_survived(backend: Backend) -> None:
    session = Session(backend, ["a"])
    for stamp in (START_NS, START_NS + FRAME_NS, START_NS - 5 * FRAME_NS):
        reading = session.step(Observation(Frame(scene(0), stamp, "test", 0)))[0]
    assert session.counters["backward_stamps"] == 1
    assert reading.dt_s == UNKNOWN_STEP_S
    assert np.isfinite(reading.density).all()


def test_picture_that_changes_its_shape_starts_the_state_anew(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(backend, ["a"])
    session.step(Observation(Frame(scene(0), START_NS, "test", 0)))
    wide = Frame(scene(1, 640, 272), START_NS + FRAME_NS, "test", 1)
    reading = session.step(Observation(wide))[0]
    assert session.resets == 1
    assert reading.dt_s == 0
    assert reading.density.shape == (40, 96)
    assert "640x272: state starts anew" in caplog.text


def test_larger_picture_of_the_same_shape_keeps_the_state(backend: Backend) -> None:
    session = Session(backend, ["a"])
    session.step(Observation(Frame(scene(0), START_NS, "test", 0)))
    larger = Frame(scene(1, 1280, 960), START_NS + FRAME_NS, "test", 1)
    assert session.step(Observation(larger))[0].dt_s == pytest.approx(FRAME_NS / 1e9)
    assert session.resets == 0


@pytest.mark.parametrize("dt_s", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_any_step_and_blank_pictures_stay_finite(backend: Backend, dt_s: float, shade: int) -> None:
    session = Session(backend, ["a"])
    for i in range(20):
        image = np.full((480, 640, 3), shade, np.uint8)
        frame = Frame(image, START_NS + round(i * dt_s * 1e9), "test", i)
        reading = session.step(Observation(frame))[0]
        assert np.isfinite(reading.density).all()
        assert np.isfinite(reading.variance).all()
        assert reading.density.sum() == pytest.approx(1, abs=1e-5)


def test_scene_cut_is_seen_and_forgotten_within_one_frame(backend: Backend) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (30, 40, 3), np.uint8)
    other = np.repeat(np.repeat(noise, 16, 0), 16, 1)
    session = Session(backend, ["a"])
    for i in range(10):
        before = session.step(Observation(Frame(scene(0), START_NS + i * FRAME_NS, "test", i)))[0]
    after = session.step(Observation(Frame(other, START_NS + 10 * FRAME_NS, "test", 10)))[0]
    alone = Session(backend, ["a"]).step(Observation(Frame(other.copy(), START_NS, "test", 0)))[0]
    assert not before.cut
    assert after.cut
    np.testing.assert_allclose(after.density, alone.density, atol=1e-5)


class Watched:
    """A backend whose inputs can be read after each step."""

    name, precision, device, prompt_channels = "watched", "f32", "cpu", 128
    binds_slowly = False

    def __init__(self, backend: Backend):
        self._backend = backend

    def bind(self, buffers: Buffers) -> Runner:
        self.buffers = buffers
        return self._backend.bind(buffers)


def asking(backend: Backend, *prompts: str) -> Session:
    """A session that follows its prompts."""
    return Session(backend, prompts, embed=open_text())


def last(session: Session, frames: Frames, ids: range) -> list[RawAttention]:
    for i in ids:
        readings = session.step(Observation(frames(i)))
    return readings


def noise_until(end_ns: int) -> Sound:
    samples = np.random.default_rng(0).normal(0, 0.1, SOUND_RATE_HZ).astype(np.float32)
    return Sound(samples, end_ns - 1_000_000_000)


def test_searches_have_a_presence_and_a_beta_and_free_viewing_has_none(
    backend: Backend, moving_frame: Frames
) -> None:
    session = asking(backend, "free viewing", "search for cup", "look around", "find the dog")
    free, cup, around, dog = last(session, moving_frame, range(2))
    for viewing in (free, around):
        assert viewing.presence is None
        assert 1 <= viewing.beta < 1.1
    for search in (cup, dog):
        assert search.presence is not None
        assert 0 <= search.presence <= 1
        assert 1 + 0.9 * search.presence < search.beta <= 1 + search.presence


def test_session_without_text_has_no_presence(backend: Backend, moving_frame: Frames) -> None:
    assert last(Session(backend, ["search for cup"]), moving_frame, range(2))[0].presence is None


@pytest.mark.parametrize("prompt", ["", "\N{SLICE OF PIZZA}", "\u5bfb\u627e", "..."])
def test_prompt_without_a_known_word_views_freely(
    backend: Backend, moving_frame: Frames, prompt: str
) -> None:
    assert not open_text()(prompt).any()
    unknown = last(asking(backend, prompt), moving_frame, range(3))[0]
    free = last(asking(backend, "free viewing"), moving_frame, range(3))[0]
    np.testing.assert_array_equal(unknown.density, free.density)
    assert unknown.presence is None


def test_prompts_ask_for_different_maps_and_wordings_for_the_same(
    backend: Backend, moving_frame: Frames
) -> None:
    session = asking(backend, "search for dog", "where is the dog?", "free viewing")
    dog, same, free = last(session, moving_frame, range(2))
    np.testing.assert_allclose(dog.density, same.density, atol=1e-7)
    assert np.abs(dog.density - free.density).sum() > 0.05


def test_second_prompt_does_not_change_the_first(backend: Backend, moving_frame: Frames) -> None:
    alone = last(asking(backend, "search for cup"), moving_frame, range(5))[0]
    both = last(asking(backend, "search for cup", "free viewing"), moving_frame, range(5))
    np.testing.assert_allclose(both[0].density, alone.density, atol=1e-6)
    assert both[0].presence == pytest.approx(alone.presence, abs=1e-5)


def test_map_of_a_new_prompt_is_there_with_the_next_frame(
    backend: Backend, moving_frame: Frames
) -> None:
    session = asking(backend, "search for dog", "free viewing")
    last(session, moving_frame, range(10))
    session.set_prompts(["search for cup", "free viewing"])
    changed = last(session, moving_frame, range(10, 11))[0]
    asked_anew = last(asking(backend, "search for cup"), moving_frame, range(10, 11))[0]
    assert np.corrcoef(changed.density.ravel(), asked_anew.density.ravel())[0, 1] > 0.99
    assert changed.presence == pytest.approx(asked_anew.presence, abs=1e-5)


def test_sound_reaches_the_network_and_goes_again(backend: Backend, moving_frame: Frames) -> None:
    watched = Watched(backend)
    session = Session(watched, ["a"])
    session.step(Observation(moving_frame(0)))
    assert watched.buffers.heard[0] == 0
    np.testing.assert_array_equal(watched.buffers.mel, -1)
    sound = noise_until(moving_frame(1).capture_ns)
    session.step(Observation(moving_frame(1), sound))
    assert watched.buffers.heard[0] == 1
    np.testing.assert_array_equal(watched.buffers.mel[0], LogMel().update(sound))
    assert watched.buffers.mel[0, :, -90:].min() > -1
    session.step(Observation(moving_frame(2)))
    assert watched.buffers.heard[0] == 0
    np.testing.assert_array_equal(watched.buffers.mel, -1)


def test_sound_behind_a_first_frame_gives_the_silent_map(
    backend: Backend, moving_frame: Frames
) -> None:
    """Nothing has moved in time with it yet."""
    frame = moving_frame(0)
    heard = Session(backend, ["a"]).step(Observation(frame, noise_until(frame.capture_ns)))[0]
    silent = Session(backend, ["a"]).step(Observation(frame))[0]
    assert heard.gate == 0
    np.testing.assert_array_equal(heard.density, silent.density)


def test_ego_motion_reaches_the_network_and_is_forgotten(
    backend: Backend, moving_frame: Frames
) -> None:
    watched = Watched(backend)
    session, other = Session(watched, ["a"]), Session(backend, ["a"])
    ego = np.eye(3, dtype=np.float32)
    ego[0, 2] = 0.5
    for i in range(3):
        own = session.step(Observation(moving_frame(i), ego=ego if i == 2 else None))[0]
        plain = other.step(Observation(moving_frame(i)))[0]
    np.testing.assert_array_equal(watched.buffers.ego[0], ego)
    # A quarter of the picture has come in anew: less is known of it.
    assert own.variance[:, :8].mean() > plain.variance[:, :8].mean()
    session.step(Observation(moving_frame(3)))
    np.testing.assert_array_equal(watched.buffers.ego[0], np.eye(3))
