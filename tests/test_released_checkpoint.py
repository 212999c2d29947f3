"""Public checkpoints and DINOv3 files: read whole, or refused by the names of what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.model.released import checkpoint, names
from aam_edge.model.released.dinov3 import (
    SIZES,
    TINY,
    DinoV3,
    KeylessBiasLinear,
    VitShape,
    key_bias_mask,
)
from aam_edge.model.released.files import read_weights
from aam_edge.model.released.lora import add_lora, lora_layers, merge_lora
from aam_edge.model.released.network import SHAPES, TINY_SHAPE, ReleasedNetwork
from tests.reference import Tensors, assert_near, below, reference
from tests.tiny_released import TINY_LORA

FILE = Path("aam.pth")
OFFICIAL_ENTRIES = {"s": 605, "b": 605, "l": 881}


def manifest_tensors(shared: Path, size: str, device: str = "meta") -> Tensors:
    """A whole checkpoint of this size: random and seeded, or empty on `meta`."""
    entries = json.loads((shared / "aam" / f"manifest_{size}.json").read_text())["tensors"]
    torch.manual_seed(0)
    tensors = {
        name: 0.1 * torch.randn(entry["shape"], device=device) for name, entry in entries.items()
    }
    for name in tensors:  # aliases show the same storage
        if names_alias(name):
            tensors[name] = tensors[re.sub(r"\.(weight|bias)$", r".base.\1", name)]
    return tensors


def names_alias(name: str) -> bool:
    return bool(re.fullmatch(r".*\.attn\.(qkv|proj)\.(weight|bias)", name))


@pytest.mark.parametrize("size", ["s", "b", "l"])
def test_every_tensor_of_the_manifests_finds_its_place(shared: Path, size: str) -> None:
    tensors = manifest_tensors(shared, size)
    assert len(tensors) == OFFICIAL_ENTRIES[size]
    plain = checkpoint.read_checkpoint(tensors, size, FILE)
    network = checkpoint.plain_network(SHAPES[size])
    checkpoint.fill(network, plain, FILE)
    pairs = {name for name in plain if name.startswith("lora.")}
    assert len(pairs) == 4 * SIZES[size].blocks


def test_file_of_size_s_gives_the_map_of_its_unmerged_network(shared: Path, tmp_path: Path) -> None:
    tensors = manifest_tensors(shared, "s", "cpu")
    tensors["backbone.rope_embed.periods"] = 100.0 ** (torch.arange(16) / 16)
    path = tmp_path / "best_model.pth"
    torch.save({"state_dict": {f"module.{name}": t for name, t in tensors.items()}}, path)
    plain = checkpoint.read_checkpoint(read_weights(path).tensors, "s", path)
    merged = checkpoint.plain_network(SHAPES["s"])
    checkpoint.fill(merged, plain, path)
    unmerged = ReleasedNetwork(SHAPES["s"]).eval()
    add_lora(unmerged.backbone)
    missing, _ = unmerged.load_state_dict(names.our_names(tensors), strict=False)
    assert not missing
    for layer in lora_layers(unmerged.backbone):  # the random file has a random mask
        if isinstance(layer[1].base, KeylessBiasLinear):
            layer[1].base.bias_mask.copy_(key_bias_mask(384))
    picture, text = torch.randn(1, 3, 32, 48), torch.randn(1, 768)
    assert_near(merged(picture, text).maps, unmerged(picture, text).maps.detach(), rtol=1e-4)


@pytest.fixture
def tiny(shared: Path) -> Tensors:
    return reference(shared, "h_tiny_state")


def read_tiny(tensors: Tensors) -> Tensors:
    return checkpoint.plain_tensors(tensors, TINY_SHAPE, TINY_LORA, FILE)


def test_merged_network_computes_what_the_public_code_does(shared: Path, tiny: Tensors) -> None:
    expected = below(reference(shared, "h_tiny_io"), "clip_sound_T5_32x48/")
    network = checkpoint.plain_network(TINY_SHAPE)
    checkpoint.fill(network, read_tiny(tiny), FILE)
    found = network(expected["x"], expected["text"], expected["audio"], is_clip=True)
    assert_near(found.maps, expected["pred"], atol=2e-5)


def test_aliases_masks_and_dead_tensors_may_be_missing(tiny: Tensors) -> None:
    whole = read_tiny(tiny)
    fewer = {n: t for n, t in tiny.items() if not names.is_alias(n, tiny)}
    fewer = {n: t for n, t in fewer.items() if "motion_modules.0" not in n and "mask" not in n}
    assert len(fewer) < len(tiny) - 25
    again = read_tiny(fewer)
    assert whole.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_base_counts_where_an_alias_disagrees(tiny: Tensors) -> None:
    whole = read_tiny(tiny)
    spoilt = {n: t + 1 if names.is_alias(n, tiny) else t for n, t in tiny.items()}
    again = read_tiny(spoilt)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_mask_that_was_never_filled_is_the_constant(tiny: Tensors) -> None:
    whole = read_tiny(tiny)
    empty = {n: t * torch.nan if n.endswith("bias_mask") else t for n, t in tiny.items()}
    again = read_tiny(empty)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_periods_are_those_of_the_file(tiny: Tensors) -> None:
    tiny["backbone.rope_embed.periods"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    network = checkpoint.plain_network(TINY_SHAPE)
    checkpoint.fill(network, read_tiny(tiny), FILE)
    assert network.backbone.rope_embed.periods.tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda t: t.pop("head.curv"), "1 missing, first head.curv"),
        (
            lambda t: t.pop("head.motion_modules.2.temporal_attn.qkv.weight"),
            "1 missing, first head.motion_modules.2.temporal_attn.qkv.weight",
        ),
        (lambda t: t.update({"head.new": torch.ones(1)}), "1 unexpected, first head.new"),
        (
            lambda t: t.update({"head.visual_proj.weight": torch.ones(3, 3)}),
            "1 of another shape, first head.visual_proj.weight: [3, 3], wanted [16, 40]",
        ),
    ],
)
def test_what_does_not_fit_is_named(tiny: Tensors, harm: object, words: str) -> None:
    assert callable(harm)
    harm(tiny)
    with pytest.raises(ModelError) as problem:
        read_tiny(tiny)
    assert str(problem.value) == (
        f"weights do not fit the model (aam.pth: {words}): run aam-edge weights show aam.pth"
    )


def test_other_size_and_other_files_are_refused() -> None:
    wide = {"backbone.cls_token": torch.zeros(1, 1, 768)}
    with pytest.raises(ModelError) as problem:
        checkpoint.read_checkpoint(wide, "s", FILE)
    assert str(problem.value) == (
        "weights are of another size (aam.pth: width 768, s has 384): pass --size b"
    )
    with pytest.raises(ModelError, match=r"file holds no AAM \(aam.pth: no backbone.cls_token\)"):
        checkpoint.read_checkpoint({"conv1.weight": torch.zeros(1)}, "s", FILE)
    with pytest.raises(ModelError, match=r"unknown size of the AAM \(xl\): give one of s, b"):
        checkpoint.read_checkpoint(wide, "xl", FILE)
    with pytest.raises(ModelError, match=r"file holds no DINOv3 \(aam.pth: no cls_token\)"):
        checkpoint.read_backbone({"conv1.weight": torch.zeros(1)}, None, FILE)
    with pytest.raises(ModelError, match=r"DINOv3 is of no known size \(aam.pth: width 5\)"):
        checkpoint.read_backbone({"cls_token": torch.zeros(1, 1, 5)}, None, FILE)


def random_backbone() -> DinoV3:
    torch.manual_seed(0)
    backbone = DinoV3(TINY).eval().requires_grad_(False)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return backbone


def filled_backbone(plain: Tensors, shape: VitShape = TINY) -> DinoV3:
    backbone = DinoV3(shape).eval()
    merge_lora(backbone)
    backbone.load_state_dict(plain)
    return backbone


def test_backbone_of_meta_computes_the_same() -> None:
    backbone = random_backbone()
    tensors = dict(backbone.state_dict()) | {"mask_token": torch.zeros(1, 48)}
    plain = checkpoint.plain_backbone_tensors(tensors, TINY, FILE)
    picture = torch.randn(1, 3, 32, 48)
    for a, b in zip(filled_backbone(plain)(picture), backbone(picture), strict=True):
        assert_near(a, b)


def hub_names(tensors: Tensors, prefix: str) -> Tensors:
    """Meta's tensors as the Hugging Face hub has them."""
    hub: Tensors = {}
    parts = {theirs: ours for ours, theirs in checkpoint._HUB_PARTS.items()}
    rest = {theirs: ours for ours, theirs in checkpoint._HUB_REST.items()}
    for name, tensor in tensors.items():
        if name.endswith(("bias_mask", "periods")):
            continue
        if not name.startswith("blocks."):
            hub[rest.get(name, name)] = tensor
            continue
        _, number, part, kind = re.split(r"\.(?=\d+\.)|(?<=\d)\.|\.(?=\w+$)", name)
        layer = f"{prefix}layer.{number}."
        if part == "attn.qkv":
            for letter, rows in zip("qkv", tensor.chunk(3), strict=True):
                if (letter, kind) != ("k", "bias"):
                    hub[f"{layer}attention.{letter}_proj.{kind}"] = rows
        else:
            hub[f"{layer}{parts[part]}.{'lambda1' if kind == 'gamma' else kind}"] = tensor
    return hub


@pytest.mark.parametrize("prefix", ["", "model."])
def test_backbone_of_the_hub_computes_the_same(prefix: str) -> None:
    backbone = random_backbone()
    hub = hub_names(dict(backbone.state_dict()), prefix)
    plain = checkpoint.plain_backbone_tensors(checkpoint.from_hub(hub), TINY, FILE)
    picture: Tensor = torch.randn(1, 3, 32, 48)
    for a, b in zip(filled_backbone(plain)(picture), backbone(picture), strict=True):
        assert_near(a, b)


@pytest.mark.parametrize("size", ["s", "b", "l"])
def test_backbones_of_all_sizes_are_recognised(shared: Path, size: str) -> None:
    with torch.device("meta"):
        tensors = dict(DinoV3(SIZES[size]).state_dict())
    plain = checkpoint.read_backbone(tensors, None, FILE)
    assert plain["blocks.0.attn.qkv.weight"].shape[1] == SIZES[size].width
