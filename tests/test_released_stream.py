"""The public network frame by frame: equal to its window, whatever its length, lag and sound."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from aam_edge.model.released.network import ReleasedNetwork, stretched
from aam_edge.model.released.pictures import prepare
from aam_edge.model.released.stream import ReleasedStream, RingState, state_of
from tests.reference import assert_near
from tests.tiny_released import random_released

FRAMES, SIZE = 9, (32, 48)


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    return random_released().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    frames: Tensor = torch.randn(FRAMES, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    return frames


TEXT = torch.randn(1, 1, 24, generator=torch.Generator().manual_seed(2))
SOUND = torch.randn(FRAMES, 20, generator=torch.Generator().manual_seed(3))


def over_window(
    network: ReleasedNetwork, clip: Tensor, last: int, window: int, sound: Tensor | None = None
) -> Tensor:
    """Logits of all frames of the window that ends with frame `last`."""
    first = max(0, last + 1 - window)
    frames = clip[first : last + 1]
    heard = None if sound is None else sound[first : last + 1]
    text = TEXT[0].expand(len(frames), -1)
    logits: Tensor = network(frames, text, heard, is_clip=True).logits
    return logits


@pytest.mark.parametrize(("window", "lag"), [(1, 0), (2, 0), (5, 0), (5, 1), (5, 3), (5, 4)])
def test_stream_gives_what_the_window_gives(
    network: ReleasedNetwork, clip: Tensor, window: int, lag: int
) -> None:
    stream = ReleasedStream(network, window, lag)
    state = stream.init_state(1, *SIZE)
    for t in range(FRAMES):
        logits = stream.step(clip[t, None], TEXT, state)
        expected = over_window(network, clip, t, window)
        assert_near(logits, expected[max(0, len(expected) - 1 - lag), None])


def test_map_is_within_1e_5_of_the_window(network: ReleasedNetwork, clip: Tensor) -> None:
    stream = ReleasedStream(network, window=4)
    state = stream.init_state(1, *SIZE)
    for frame in clip:
        logits = stream.step(frame[None], TEXT, state)
    expected = stretched(over_window(network, clip, FRAMES - 1, 4)[-1:], SIZE).sigmoid()
    assert_near(stretched(logits, SIZE).sigmoid(), expected, rtol=0)


@pytest.mark.parametrize("lag", [0, 2])
def test_sound_is_heard_with_its_frame(network: ReleasedNetwork, clip: Tensor, lag: int) -> None:
    stream = ReleasedStream(network, window=4, lag=lag)
    state = stream.init_state(1, *SIZE)
    for t in range(FRAMES):
        is_silent = t % 3 == 1
        sound = None if is_silent else SOUND[t, None]
        logits = stream.step(clip[t, None], TEXT, state, sound)
        wanted = max(0, t - lag)
        heard = None if wanted % 3 == 1 else SOUND
        expected = over_window(network, clip, t, 4, heard)
        assert_near(logits, expected[max(0, len(expected) - 1 - lag), None])


def test_cameras_and_prompts_do_not_see_each_other(network: ReleasedNetwork, clip: Tensor) -> None:
    stream = ReleasedStream(network, window=3)
    texts = torch.randn(1, 2, 24).expand(2, -1, -1)
    together, apart = stream.init_state(2, *SIZE), [stream.init_state(1, *SIZE) for _ in "ab"]
    for t in range(4):
        pair = torch.stack([clip[t], clip[t + 1]])
        logits = stream.step(pair, texts, together)
        for camera, state in enumerate(apart):
            for prompt in range(2):
                kept = state.copy() if prompt == 0 else state
                alone = stream.step(pair[camera, None], texts[camera, None, prompt, None], kept)
                assert_near(logits[camera, prompt], alone[0, 0])


def test_restart_forgets_all_and_memory_stays(network: ReleasedNetwork, clip: Tensor) -> None:
    stream = ReleasedStream(network, window=3)
    state = stream.init_state(1, *SIZE)
    places = [tensor.data_ptr() for tensor in state.tensors().values()]
    first = stream.step(clip[0, None], TEXT, state)
    for t in range(1, FRAMES):
        stream.step(clip[t, None], TEXT, state)
    state.restart()
    assert torch.equal(stream.step(clip[0, None], TEXT, state), first)
    assert [tensor.data_ptr() for tensor in state.tensors().values()] == places


def test_saved_state_goes_on_with_the_same_bits(network: ReleasedNetwork, clip: Tensor) -> None:
    stream = ReleasedStream(network, window=3, lag=1)
    state = stream.init_state(1, *SIZE)
    for t in range(4):
        stream.step(clip[t, None], TEXT, state)
    saved: RingState = state_of({n: t.clone() for n, t in state.tensors().items()})
    going_on = stream.step(clip[4, None], TEXT, state)
    assert torch.equal(stream.step(clip[4, None], TEXT, saved), going_on)


def test_lag_must_lie_in_the_window(network: ReleasedNetwork) -> None:
    with pytest.raises(ValueError, match="lag must be 0 to 3, got 4"):
        ReleasedStream(network, window=4, lag=4)


def test_pictures_are_turned_to_rgb_stretched_and_normalised() -> None:
    image = torch.zeros(1, 10, 30, 3, dtype=torch.uint8)
    image[..., 2] = 255  # red
    x = prepare(image)
    assert x.shape == (1, 3, 448, 448)
    red, green, blue = x[0].flatten(1).mean(1).tolist()
    assert red == pytest.approx((1 - 0.485) / 0.229, abs=1e-4)
    assert green == pytest.approx(-0.456 / 0.224, abs=1e-4)
    assert blue == pytest.approx(-0.406 / 0.225, abs=1e-4)
    assert prepare(image, None).shape == (1, 3, 10, 30)
