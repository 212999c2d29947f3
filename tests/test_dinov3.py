"""DINOv3: against the public code's tensors, against transformers, and by what must hold anyhow."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file
from torch import Tensor

from aam_edge.model.released.checkpoint import from_hub, plain_backbone_tensors
from aam_edge.model.released.dinov3 import (
    LEADING_TOKENS,
    SIZES,
    TINY,
    DinoV3,
    RotaryPositions,
    rotate,
)
from aam_edge.model.released.files import read_weights
from aam_edge.model.released.lora import add_lora, lora_layers, merge_lora

Tensors = dict[str, Tensor]


def random_backbone(seed: int = 0) -> DinoV3:
    """Weights of which every one matters."""
    torch.manual_seed(seed)
    backbone = DinoV3(TINY).eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return backbone


@pytest.fixture(scope="module")
def reference(shared: Path) -> tuple[Tensors, Tensors]:
    """The public code's tiny model: its weights, and what it computed."""
    fixtures = shared / "aam" / "fixtures"
    state, seen = (load_file(fixtures / f"h_tiny_{part}.safetensors") for part in ("state", "io"))
    own = {name.removeprefix("backbone."): t for name, t in state.items() if "backbone." in name}
    return own, seen


def referenced(weights: Tensors) -> DinoV3:
    backbone = DinoV3(TINY).eval()
    add_lora(backbone, rank=4, alpha=6, last=3)
    # strict=False: aliases of the wrapped layers' own weights, and mask_token, which nothing reads.
    assert not backbone.load_state_dict(weights, strict=False).missing_keys
    return backbone


@pytest.mark.parametrize("is_merged", [False, True])
def test_features_are_those_of_the_public_code(
    reference: tuple[Tensors, Tensors], is_merged: bool
) -> None:
    weights, seen = reference
    backbone = referenced(weights)
    if is_merged:
        merge_lora(backbone)
    for tap, features in enumerate(backbone(seen["static_48x80/x"])):
        expected = seen[f"static_48x80/features{tap}"]
        torch.testing.assert_close(
            features.flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-5
        )


def test_blocks_are_those_of_the_public_code(reference: tuple[Tensors, Tensors]) -> None:
    weights, seen = reference
    backbone = referenced(weights)
    outputs: list[Tensor] = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, given, output: outputs.append(output))
    backbone(seen["clip_T5_32x48/x"])
    for i, output in enumerate(outputs):
        torch.testing.assert_close(
            output, seen[f"clip_T5_32x48/mid/block{i}"], atol=2e-5, rtol=1e-5
        )


def test_angles_are_those_of_the_public_code(reference: tuple[Tensors, Tensors]) -> None:
    _, seen = reference
    rope = RotaryPositions(16, 2.0).eval()
    cosine, sine = rope(3, 5)
    torch.testing.assert_close(rope.periods, seen["rope_3x5/periods"])
    torch.testing.assert_close(cosine[LEADING_TOKENS:], seen["rope_3x5/cos"])
    torch.testing.assert_close(sine[LEADING_TOKENS:], seen["rope_3x5/sin"])


@pytest.mark.timeout(300)  # transformers takes its time to be imported
def test_folder_of_the_hub_gives_the_features_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=TINY.width,
        intermediate_size=TINY.hidden,
        num_hidden_layers=TINY.blocks,
        num_attention_heads=TINY.heads,
        num_register_tokens=4,
        layer_norm_eps=1e-5,
    )
    torch.manual_seed(0)
    theirs = transformers.DINOv3ViTModel(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    found = from_hub(read_weights(tmp_path).tensors)
    ours = DinoV3(TINY).eval()
    merge_lora(ours)
    ours.load_state_dict(plain_backbone_tensors(found, TINY, tmp_path))
    picture = torch.randn(2, 3, 48, 80)
    expected = theirs(picture).last_hidden_state[:, LEADING_TOKENS:]
    features = ours(picture)[-1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


def test_remainder_by_16_is_not_seen() -> None:
    backbone = random_backbone()
    picture = torch.randn(1, 3, 50, 71)
    whole, cut = backbone(picture), backbone(picture[:, :, :48, :64])
    for a, b in zip(whole, cut, strict=True):
        assert a.shape == (1, TINY.width, 3, 4)
        torch.testing.assert_close(a, b)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    backbone = random_backbone()
    pictures = torch.randn(3, 3, 32, 48)
    together = backbone(pictures)
    alone = [backbone(picture[None]) for picture in pictures]
    for tap, features in enumerate(together):
        torch.testing.assert_close(
            features, torch.cat([a[tap] for a in alone]), atol=1e-5, rtol=1e-4
        )


def test_rotation_keeps_lengths_and_leaves_leading_tokens_alone() -> None:
    rope = RotaryPositions(16, 1.0)(3, 5)
    x = torch.randn(2, 3, LEADING_TOKENS + 15, 16)
    turned = rotate(x, rope)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, :LEADING_TOKENS], x[:, :, :LEADING_TOKENS])


def test_scale_of_positions_varies_only_in_training() -> None:
    rope = RotaryPositions(16, 2.0)
    assert not torch.equal(rope(3, 5)[0], rope(3, 5)[0])
    rope.eval()
    assert torch.equal(rope(3, 5)[0], rope(3, 5)[0])


def test_periods_stay_single_precision() -> None:
    backbone = DinoV3(TINY).to(torch.bfloat16)
    assert backbone.norm.weight.dtype == torch.bfloat16
    assert backbone.rope_embed.periods.dtype == torch.float32
    torch.testing.assert_close(backbone.rope_embed.periods, DinoV3(TINY).rope_embed.periods)


def test_merged_lora_computes_the_same() -> None:
    backbone = random_backbone()
    plain = backbone(picture := torch.randn(1, 3, 32, 48))
    for layer in add_lora(backbone, rank=4, alpha=6):
        torch.nn.init.normal_(layer.lora_B.weight)
    learned = backbone(picture)
    assert (learned[-1] - plain[-1]).abs().max() > 0.1
    merge_lora(backbone)
    assert not list(lora_layers(backbone))
    for a, b in zip(learned, backbone(picture), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_fresh_lora_changes_nothing_and_alone_is_trained() -> None:
    backbone = random_backbone()
    picture = torch.randn(1, 3, 32, 48)
    plain = backbone(picture)[-1].detach()
    wrapped = add_lora(backbone, rank=4, alpha=6, last=3)
    assert len(wrapped) == 6
    features = backbone(picture)[-1]
    torch.testing.assert_close(features.detach(), plain)
    features.square().sum().backward()
    trained = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in backbone.named_parameters() if "lora_" in name}


@pytest.mark.parametrize(
    ("size", "count"), [("s", 21_601_152), ("b", 85_669_632), ("l", 303_154_176)]
)
def test_sizes_have_as_many_parameters_as_published(size: str, count: int) -> None:
    with torch.device("meta"):
        backbone = DinoV3(SIZES[size])
    mask_token = SIZES[size].width  # counted there, read by nothing
    assert sum(p.numel() for p in backbone.parameters()) + mask_token == count
