"""CLIP's text tower: against reference tensors and against another library's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.model.released.clip_text import ClipText, ClipTextSize
from aam_edge.model.released.encoder_weights import clip_tensors
from aam_edge.model.released.fit import compare

SMALL = ClipTextSize(width=32, layers=3, heads=4, vocabulary=99, context=20, projection=24)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def tower(size: ClipTextSize = SMALL) -> ClipText:
    torch.manual_seed(3)
    model = ClipText(size)
    model.eval()
    return model


def texts() -> Tensor:
    """Three texts of other lengths, padded with 0; 98 is the end."""
    ids: Tensor = torch.randint(
        1, 97, (3, SMALL.context), generator=torch.Generator().manual_seed(5)
    )
    for row, end in enumerate((4, 11, 19)):
        ids[row, 0], ids[row, end], ids[row, end + 1 :] = 97, 98, 0
    return ids


def in_openai_spelling(tower: ClipText) -> dict[str, Tensor]:
    """What OpenAI's own checkpoint of this tower would hold, with eyes beside it."""
    ours = tower.state_dict()
    theirs = {
        "token_embedding.weight": ours["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": ours["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": ours["text_model.final_layer_norm.weight"],
        "ln_final.bias": ours["text_model.final_layer_norm.bias"],
        "text_projection": ours["text_projection.weight"].T,
        "visual.conv1.weight": torch.zeros(4, 3, 14, 14),
        "logit_scale": torch.tensor(4.6),
        "context_length": torch.tensor(20),
        "transformer.resblocks.0.attn_mask": torch.zeros(20, 20),
    }
    for n in range(tower.size.layers):
        old, new = f"text_model.encoder.layers.{n}", f"transformer.resblocks.{n}"
        for last in ("weight", "bias"):
            rows = [ours[f"{old}.self_attn.{letter}_proj.{last}"] for letter in "qkv"]
            theirs[f"{new}.attn.in_proj_{last}"] = torch.cat(rows)
            for a, b in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                theirs[f"{new}.{b}.{last}"] = ours[f"{old}.{a}.{last}"]
    return theirs


def test_reference_tensors_are_reproduced(shared: Path) -> None:
    stored = load_file(shared / "aam/fixtures/i_clip_text_tiny.safetensors")
    tiny = ClipText(ClipTextSize(32, 2, 4, 512, 77, 24)).eval()
    tiny.load_state_dict({n[2:]: t for n, t in stored.items() if n.startswith("w.")})
    torch.testing.assert_close(tiny(stored["ids"].long()), stored["text_embeds"], rtol=0, atol=2e-6)


@pytest.mark.slow
def test_same_vectors_as_the_transformers_library() -> None:
    library = pytest.importorskip("transformers")
    config = library.CLIPTextConfig(
        vocab_size=SMALL.vocabulary,
        hidden_size=SMALL.width,
        intermediate_size=4 * SMALL.width,
        num_hidden_layers=SMALL.layers,
        num_attention_heads=SMALL.heads,
        max_position_embeddings=SMALL.context,
        projection_dim=SMALL.projection,
        eos_token_id=98,
    )
    theirs = library.CLIPTextModelWithProjection(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = tower()
    found = clip_tensors(theirs.state_dict())
    assert not compare(found, ours.state_dict())
    ours.load_state_dict(found)
    wanted = theirs(input_ids=texts()).text_embeds
    assert wanted.std() > 0.1
    torch.testing.assert_close(ours(texts()), wanted, rtol=1e-5, atol=1e-5)


def test_what_follows_the_end_cannot_be_seen() -> None:
    model, ids = tower(), texts()
    alone = model(ids[:1, :5])
    torch.testing.assert_close(model(ids)[:1], alone, rtol=1e-5, atol=1e-6)


def test_openai_spelling_is_the_same_tower_and_its_eyes_are_left_out() -> None:
    model = tower()
    found = clip_tensors(in_openai_spelling(model))
    ours = model.state_dict()
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_unknown_tensor_of_a_clip_file_is_kept_to_be_named() -> None:
    found = clip_tensors(in_openai_spelling(tower()) | {"transformer.extra": torch.zeros(1)})
    assert compare(found, tower().state_dict()).unexpected == ("transformer.extra",)
