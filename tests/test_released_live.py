"""The released network live: words through CLIP, sound through Wav2CLIP, and the frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from aam_edge.engine.released_session import ReleasedBackend
from aam_edge.engine.released_text import ClipPrompts
from aam_edge.errors import ModelError
from aam_edge.messages import SOUND_RATE_HZ, Frame, Observation, Sound
from aam_edge.model.released.checkpoint import plain_network
from aam_edge.model.released.clip_text import ClipText, ClipTextSize
from aam_edge.model.released.clip_tokens import ClipTokens
from aam_edge.model.released.conditions import GENERAL, TEXTS, words_for
from aam_edge.model.released.importing import Ready, write
from aam_edge.model.released.network import TINY_SHAPE, ReleasedNetwork
from aam_edge.model.released.stored import Stored
from aam_edge.model.released.wav2clip import Wav2Clip, Wav2ClipSize
from aam_edge.snapshot import pack_snapshot, unpack_snapshot
from tests.conftest import FRAME_NS, START_NS, scene

MERGES = [("c", "u"), ("cu", "p</w>"), ("t", "h"), ("th", "e</w>")]
SMALL = ClipTextSize(32, 2, 4, 514 + len(MERGES), 300, TINY_SHAPE.widths.text)


def tower() -> ClipText:
    torch.manual_seed(3)
    model = ClipText(SMALL)
    model.eval()
    return model


@pytest.fixture
def clip(tmp_path: Path) -> Stored:
    """An imported CLIP, small."""
    note = {"name": "clip-text", "kind": "clip", "size": "", "licence": "MIT"}
    tensors = {n: t.half() for n, t in tower().state_dict().items()}
    return write(Ready("clip", "", tensors, MERGES), note, tmp_path / "weights")


def prompts(clip: Stored, tmp_path: Path) -> ClipPrompts:
    return ClipPrompts(str(clip.path), SMALL, tmp_path / "cache")


def vector(words: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """By hand: tokens, then the tower in the precision of the file."""
    model = tower()
    model.half().float()
    with torch.inference_mode():
        found = model(torch.tensor([ClipTokens(MERGES).encode(words)]))[0]
    return np.asarray(found.numpy(), np.float32)


def test_words_become_the_vector_of_the_tower(clip: Stored, tmp_path: Path) -> None:
    found = prompts(clip, tmp_path).embed("the cup")
    np.testing.assert_allclose(found, vector("the cup"), atol=1e-5)


def test_vector_that_was_asked_before_needs_no_tower(clip: Stored, tmp_path: Path) -> None:
    first = prompts(clip, tmp_path).embed("the cup")
    clip.path.unlink()
    again = prompts(clip, tmp_path)
    assert np.array_equal(again.embed("the cup"), first)
    with pytest.raises(ModelError):
        again.embed("another cup")


def test_weights_that_were_changed_are_refused(clip: Stored, tmp_path: Path) -> None:
    content = bytearray(clip.path.read_bytes())
    content[-1] ^= 1
    clip.path.write_bytes(content)
    with pytest.raises(ModelError, match="wrong hash"):
        prompts(clip, tmp_path).embed("the cup")


def test_vocabulary_that_is_missing_is_said(clip: Stored, tmp_path: Path) -> None:
    clip.merges.unlink()
    with pytest.raises(ModelError, match="vocabulary of CLIP is not there"):
        prompts(clip, tmp_path)


def test_long_prompt_is_cut_at_what_the_tower_reads_and_said(clip: Stored, tmp_path: Path) -> None:
    given = prompts(clip, tmp_path)
    assert np.array_equal(given.embed("cup " * 298), given.embed("cup " * 400))
    (line,) = given.doubts(["cup " * 400, "cup"])
    assert "only 300 pieces of it are read" in line


def test_free_viewing_is_the_text_that_the_network_was_taught(clip: Stored, tmp_path: Path) -> None:
    found = prompts(clip, tmp_path).embed("free viewing (SumMe)")
    np.testing.assert_allclose(found, vector(TEXTS["SumMe"]), atol=1e-5)
    assert words_for("Free viewing") == TEXTS[GENERAL]
    assert words_for("free viewing (osie)") == TEXTS["OSIE"]
    assert words_for("free viewing (moon)") == "free viewing (moon)"
    assert words_for("the cup") == "the cup"


def test_texts_are_those_of_the_public_model(shared: Path) -> None:
    public = json.loads((shared / "aam/prompts.json").read_text())["prompts"]
    assert {key: prompt["text"] for key, prompt in public.items()} == TEXTS


def network() -> ReleasedNetwork:
    """Tiny, with random weights, and a head that listens."""
    torch.manual_seed(5)
    made = plain_network(TINY_SHAPE).to_empty(device="cpu")
    for name, tensor in made.state_dict().items():
        if tensor.is_floating_point():
            small = torch.randn(tensor.shape) * 0.2
            tensor.copy_(small.exp() if name.endswith(("norm.weight", "gamma")) else small)
    made.backbone.rope_embed.periods.copy_(torch.tensor([1.0, 3.0, 10.0, 30.0]))
    return made


def observation(number: int, *, is_loud: bool) -> Observation:
    frame = Frame(scene(number), START_NS + number * FRAME_NS, "test", number)
    if not is_loud:
        return Observation(frame)
    start_ns = frame.capture_ns - 1_000_000_000
    first = start_ns // 62_500
    noise = np.sin(np.arange(first, first + SOUND_RATE_HZ) % 9_973 * 0.4)
    return Observation(frame, Sound(noise.astype(np.float32) * 0.3, start_ns))


def test_prompt_and_sound_change_the_map_and_a_silent_stream_stays_as_it_is(
    clip: Stored, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    ears = Wav2Clip(Wav2ClipSize((8, 8, 8, 8), TINY_SHAPE.audio))
    ears.eval()
    made, words = network(), prompts(clip, tmp_path)
    asked = ["free viewing", "the cup"]
    hearing = ReleasedBackend(made, words, window=3, side=64, hearing=ears).session(asked)
    deaf = ReleasedBackend(made, words, window=3, side=64).session(asked)
    silent = [hearing.step(observation(n, is_loud=False)) for n in range(2)][-1]
    plain = [deaf.step(observation(n, is_loud=True)) for n in range(2)][-1]
    for one, two in zip(silent, plain, strict=True):
        assert np.array_equal(one.density, two.density)
        assert one.gate == 0
    assert np.abs(silent[0].density - silent[1].density).max() > 0
    loud, still = (
        hearing.step(observation(2, is_loud=True)),
        deaf.step(observation(2, is_loud=True)),
    )
    assert 0 < loud[0].gate < 1
    assert np.abs(loud[0].density / still[0].density - 1).max() > 1e-4
    assert loud[0].density.sum() == pytest.approx(1, abs=1e-3)


def test_what_was_heard_is_part_of_a_snapshot(clip: Stored, tmp_path: Path) -> None:
    torch.manual_seed(2)
    ears = Wav2Clip(Wav2ClipSize((8, 8, 8, 8), TINY_SHAPE.audio))
    ears.eval()
    words = prompts(clip, tmp_path)
    backend = ReleasedBackend(network(), words, window=3, side=64, hearing=ears)
    stream, other = backend.session(["cup"]), backend.session(["cup"])
    for n in range(3):
        if n:
            stream.step(observation(n, is_loud=True))
        whole = {
            "prompts": ("cup",),
            "prompt_ids": (0,),
            "next_id": 1,
            "sessions": {"test": stream.state()},
            "readout": [],
        }
        other.restore(unpack_snapshot(pack_snapshot(whole))["sessions"]["test"])
    one, two = (s.step(observation(3, is_loud=True))[0] for s in (stream, other))
    assert np.array_equal(one.density, two.density)
    assert one.gate == two.gate > 0
