"""Recognition: whether the picture holds what is asked for, wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native.decoder import Decoder
from aam_edge.model.native.recognition import Recognition, log_mean_exp
from aam_edge.model.native.vision import TAP_CHANNELS, TAP_STRIDES

MIDDLE, COARSE = 6, 8
HEIGHT, WIDTH = 64, 96
maps = hnp.arrays(np.float32, (2, 12), elements=st.floats(-20, 20, width=32, allow_subnormal=False))


def taps_with(thing: Tensor | None, pictures: int, seed: int) -> list[Tensor]:
    """Noise at strides 16 and 32, and in one cell of stride 16 of each picture the thing."""
    rng = torch.Generator().manual_seed(seed)
    middle = 0.5 * torch.randn(pictures, MIDDLE, 4, 6, generator=rng)
    coarse = 0.5 * torch.randn(pictures, COARSE, 2, 3, generator=rng)
    if thing is not None:
        at = torch.randint(24, (pictures,), generator=rng)
        middle.flatten(2)[torch.arange(pictures), :, at] += thing
    return [middle, coarse]


@given(maps, st.floats(0.1, 10))
def test_soft_maximum_lies_between_mean_and_maximum(x: np.ndarray, sharpness: float) -> None:
    soft = (log_mean_exp(sharpness * torch.from_numpy(x)) / sharpness).numpy()
    assert (soft <= x.max(1) + 1e-4).all()
    assert (soft >= x.mean(1) - 1e-4).all()


def test_before_it_is_trained_it_adds_nothing() -> None:
    recognition = Recognition((MIDDLE, COARSE), 5)
    keys, gist = recognition.look(taps_with(None, 3, seed=0))
    added = recognition(keys, gist, torch.randn(3, 4, 2), torch.randn(1, 4, 5))
    np.testing.assert_allclose(added.detach(), 0, atol=1e-6)


def test_weights_of_before_there_was_recognition_tell_what_they_told() -> None:
    old, new = Decoder(TAP_CHANNELS).eval(), Decoder(TAP_CHANNELS).eval()
    stored = {n: x for n, x in old.state_dict().items() if not n.startswith("recognition.")}
    new.load_state_dict(stored)
    rng = torch.Generator().manual_seed(1)
    taps = [
        torch.randn(2, c, HEIGHT // s, WIDTH // s, generator=rng)
        for c, s in zip(TAP_CHANNELS, TAP_STRIDES, strict=True)
    ]
    prompt = F.normalize(torch.randn(2, 128, generator=rng), dim=1)
    with torch.no_grad():
        for was, now in zip(*(d(d.look(taps), prompt) for d in (old, new)), strict=True):
            np.testing.assert_array_equal(was, now)


def test_weights_with_a_part_of_it_are_refused() -> None:
    decoder = Decoder(TAP_CHANNELS)
    stored = decoder.state_dict()
    del stored["recognition.sharpness"]
    with pytest.raises(RuntimeError, match=r"recognition\.sharpness"):
        decoder.load_state_dict(stored)


def test_it_learns_what_one_cell_shows_from_pictures_that_have_it_and_have_not() -> None:
    """Two things, each in any cell; nobody says where."""
    torch.manual_seed(0)
    recognition = Recognition((MIDDLE, COARSE), 5)
    things, prompts = 3 * torch.eye(MIDDLE)[:2], torch.eye(5)[:2]
    optimiser = torch.optim.Adam(recognition.parameters(), lr=0.02)
    nothing = torch.zeros(16, 2, 2)  # from the geometry

    def log_odds(seed: int) -> Tensor:
        """(32 pictures, 16 of each thing, 2 names)."""
        rows = []
        for n, thing in enumerate(things):
            keys, gist = recognition.look(taps_with(thing, 16, 2 * seed + n))
            rows.append(recognition(keys, gist, nothing, prompts[None]))
        both: Tensor = torch.cat(rows)
        return both

    is_there = torch.eye(2).repeat_interleave(16, dim=0)
    for step in range(150):
        loss = F.binary_cross_entropy_with_logits(log_odds(step), is_there)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        right = (log_odds(150) > 0) == (is_there > 0.5)
    assert right.float().mean() > 0.9
