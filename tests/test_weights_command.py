"""`aam-edge weights`: what is here, what could be, and files that are brought, good and bad."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file
from torch import Tensor

from aam_edge.cli.main import main
from aam_edge.engine.weights import list_weights, read_header
from aam_edge.errors import ModelError
from aam_edge.model.released import importing
from aam_edge.model.released.clip_text import ClipText
from aam_edge.model.released.files import Found
from aam_edge.model.released.origins import ORIGINS
from aam_edge.model.released.stored import file_sha256, find_stored, user_folder
from aam_edge.model.released.wav2clip import Wav2Clip
from tests.program import run
from tests.test_clip_text import in_openai_spelling
from tests.test_weights_files import Evil, torch_bytes


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without weights."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def thin(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Right shapes in files of a few kilobytes: one number, stretched."""
    return {
        name: torch.full((), 0.01 if tensor.is_floating_point() else 1)
        .to(torch.float16 if tensor.is_floating_point() else tensor.dtype)
        .expand(tensor.shape)
        for name, tensor in tensors.items()
    }


def wav2clip_as_published() -> dict[str, Tensor]:
    theirs = {"encoder": "audio_encoder", "transform": "audio_transform"}
    renamed = {}
    for name, tensor in importing.empty(Wav2Clip).items():
        part, _, rest = name.partition(".")
        renamed[f"{theirs[part]}.{rest}"] = tensor
    return thin(renamed) | {"image_transform.sequential.0.bias": torch.zeros(3)}


def clip_as_published() -> dict[str, Tensor]:
    with torch.device("meta"):
        return thin(in_openai_spelling(ClipText()))


def clip_found(**changes: Any) -> Found:
    return Found(Path("ViT-L-14.pt"), "TorchScript", clip_as_published(), **changes)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints; its error, in one line, where it fails."""
    assert main(["weights", *arguments]) == code
    out, error = capsys.readouterr()
    if not code:
        return out
    assert error.startswith("aam-edge: ")
    assert error.count("\n") == 1
    return error


def test_list_says_where_everything_is_got_and_on_which_terms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, "list")
    assert "nano" in text
    assert len({origin.name for origin in ORIGINS}) == len(ORIGINS) == 8
    for origin in ORIGINS:
        for words in (origin.name, origin.where, origin.licence, origin.command):
            assert words in text
    rows = json.loads(said(capsys, "list", "--json"))["weights"]
    assert {row["state"] for row in rows} == {"packaged", "missing"}


def test_weights_are_imported_listed_and_shown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": wav2clip_as_published()}, home / "Wav2CLIP.pt")
    text = said(capsys, "import", str(home / "Wav2CLIP.pt"))
    path = user_folder() / "wav2clip.safetensors"
    assert str(path) in text
    assert "MIT" in text
    stored = find_stored("wav2clip")
    assert stored is not None
    assert stored.path == path
    assert file_sha256(path) == stored.sha256
    assert stored.manifest["from_sha256"] == file_sha256(home / "Wav2CLIP.pt")
    row = next(row for row in list_weights() if row.name == "wav2clip")
    assert (row.state, row.sha256) == ("imported", stored.sha256)
    shown = json.loads(said(capsys, "show", "wav2clip", "--json"))
    assert shown["tensors"]["encoder.conv1.weight"] == {"dtype": "F16", "shape": [64, 1, 7, 7]}
    assert shown["parameters"] == stored.manifest["parameters"] == 11_705_684
    Wav2Clip().load_state_dict(load_file(path))
    assert not list(user_folder().glob(".*"))


def test_show_names_all_that_keeps_a_file_from_being_imported(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = wav2clip_as_published()
    del tensors["audio_encoder.bn1.weight"], tensors["audio_encoder.bn1.bias"]
    tensors["audio_encoder.conv1.weight"] = torch.zeros(64, 2, 7, 7)
    tensors["audio_encoder.fc.weight"] = torch.zeros(2)
    save_file({n: t.contiguous() for n, t in tensors.items()}, home / "x.safetensors")
    error = said(capsys, "import", str(home / "x.safetensors"), code=4)
    assert "2 missing, first encoder.bn1.weight; 1 of another shape, first encoder.conv1" in error
    assert main(["weights", "show", str(home / "x.safetensors")]) == 4
    text = capsys.readouterr().out
    for line in (
        "missing    encoder.bn1.weight",
        "missing    encoder.bn1.bias",
        "misshapen  encoder.conv1.weight: [64, 2, 7, 7], wanted [64, 1, 7, 7]",
        "unexpected encoder.fc.weight",
    ):
        assert line in text


def test_packaged_network_is_shown_with_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show", "nano")
    assert "Model card: nano" in text
    assert "licence: Apache-2.0" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no weights at all", "damaged or of no known form"),
        (torch_bytes({"a": torch.zeros(3), "b": Evil()}), r"holds code \(x.pt: .*print"),
        (pickle.dumps(Evil(), 2), "holds code|damaged"),
        (torch_bytes({"a": torch.zeros(3)})[:-30], "damaged or of no known form"),
        (torch_bytes({"a": torch.full((3,), torch.nan)}), r"not finite \(x.pt: a\)"),
        (torch_bytes({"a": torch.zeros(3)}), r"no known kind \(x.pt: first a\)"),
        (torch_bytes({"backbone.cls_token": torch.zeros(1, 1, 99)}), "no known size .*width 99"),
        (torch_bytes({"cls_token": torch.zeros(())}), "no known size"),
    ],
)
def test_file_that_is_no_good_ends_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    (home / "x.pt").write_bytes(content)
    error = said(capsys, "import", str(home / "x.pt"), code=4)
    assert re.search(words, error)
    assert not list(user_folder().glob("*"))


def test_command_of_its_own_refuses_a_missing_file(home: Path) -> None:
    done = run("weights", "import", str(home / "none.pt"))
    assert done.returncode == 4
    assert done.stderr == (
        f"aam-edge: weights file is not there ({home}/none.pt): check the path\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "wav2clip", "--size", "l"], "one size alone"),
        (["--kind", "wav2clip", "--vocabulary", "merges.txt"], "only CLIP has a vocabulary"),
        (["--name", "../up"], "name of weights cannot be used"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    torch.save({"a": torch.zeros(1)}, home / "x.pt")
    assert words in said(capsys, "import", str(home / "x.pt"), *arguments, code=2)


def test_folder_that_cannot_be_written_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(wav2clip_as_published(), home / "x.pt")
    (home / "data").write_text("in the way")
    assert "weights cannot be written" in said(capsys, "import", str(home / "x.pt"), code=4)


def test_damaged_store_is_listed_and_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(wav2clip_as_published(), home / "x.pt")
    said(capsys, "import", str(home / "x.pt"), "--name", "ears")
    path = user_folder() / "ears.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "wrong hash (ears.safetensors" in said(capsys, "show", "ears", code=4)
    path.with_suffix(".json").write_text('{"kind": "else"}')
    text = said(capsys, "list")
    assert "ears" in text
    assert "damaged" in text


def test_clip_is_told_and_takes_the_vocabulary_that_fits(tmp_path: Path) -> None:
    ready = importing.prepare(clip_found())
    assert (ready.kind, ready.size, ready.merges) == ("clip", "", None)
    short = tmp_path / "merges.txt"
    short.write_text("heading\na b\n")
    with pytest.raises(ModelError, match="515 tokens, weights have 49408"):
        importing.prepare(clip_found(), vocabulary=short)


def public(shared: Path, size: str) -> dict[str, Tensor]:
    """An AAM checkpoint of the right names and shapes."""
    manifest = json.loads((shared / f"aam/manifest_{size}.json").read_text())["tensors"]
    return {name: torch.zeros(()).expand(tensor["shape"]) for name, tensor in manifest.items()}


def test_public_checkpoint_is_told_with_its_size_and_merged(shared: Path) -> None:
    found = Found(Path("best.pth"), "torch.save", public(shared, "s"))
    ready = importing.prepare(found)
    assert (ready.kind, ready.size) == ("aam", "s")
    kept = [name for name in ready.tensors if not name.startswith("lora.")]
    assert "backbone.blocks.11.attn.qkv.weight" in kept
    assert not [name for name in kept if ".base." in name or "lora_" in name]


def test_size_that_is_not_the_files_is_refused_with_the_right_one(shared: Path) -> None:
    found = Found(Path("best.pth"), "torch.save", public(shared, "b"))
    with pytest.raises(ModelError, match=r"another size .*: pass --size b"):
        importing.prepare(found, size="l")


@pytest.mark.parametrize("prefix", ["", "dinov3_vit."])
def test_backbone_of_the_hub_is_told(prefix: str) -> None:
    mark = f"{prefix}embeddings.cls_token"
    found = Found(Path("dinov3"), "safetensors", {mark: torch.zeros(1, 1, 1024)})
    assert importing.kind_of(found.tensors, found.path) == "dinov3"
    assert importing.size_of(found) == "l"
    with pytest.raises(ModelError, match="weights do not fit the model"):
        importing.prepare(found)


def test_tower_of_another_training_is_refused() -> None:
    with pytest.raises(ModelError, match=r"of another training \(ViT-L-14.pt: gelu\)"):
        importing.prepare(clip_found(config={"text_config": {"hidden_act": "gelu"}}))


def test_smaller_clip_is_refused_by_its_shapes() -> None:
    found = clip_found()
    found.tensors["token_embedding.weight"] = torch.zeros(()).expand(49_408, 512)
    with pytest.raises(ModelError, match=r"\[49408, 512\], wanted \[49408, 768\]"):
        importing.prepare(found)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\0" * 9])
def test_header_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        read_header(tmp_path / "x.safetensors")
