"""Files of weights that users bring: each known form is read, and nothing in them is run."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from aam_edge.errors import ModelError
from aam_edge.model.released.files import read_weights

Tensors = dict[str, Tensor]
RUN_MARK = "this code was run"


def some() -> Tensors:
    torch.manual_seed(2)
    return {"a.weight": torch.randn(3, 4), "a.bias": torch.randn(3).half(), "n": torch.tensor(7)}


def same(found: Tensors, wanted: Tensors) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


class Small(nn.Module):
    """Has a shared tensor, a buffer, a child, and numbers that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
        self.register_buffer("scale", torch.tensor([1.0, 2.0]))
        self.again = self.layer[0]
        self.size, self.name = 2, "small"

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) * self.scale
        return y


@cache
def archive() -> tuple[bytes, Tensors]:
    """A TorchScript archive with half precision, and what is in it."""
    torch.manual_seed(1)
    model = Small().half().eval()
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and what CLIP comes in
        torch.jit.save(torch.jit.script(model), content)
    return content.getvalue(), model.state_dict()


def torch_bytes(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


class Evil:
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return print, (RUN_MARK,)


def refused(path: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    save_file(some(), tmp_path / name)
    found = read_weights(tmp_path / name)
    assert (found.form, same(found.tensors, some())) == ("safetensors", True)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3, "args": {"lr": 1e-3}},
        lambda t: {"model": {f"module.{n}": v for n, v in t.items()}},
    ],
)
def test_checkpoints_are_read_and_unwrapped(
    tmp_path: Path, wrap: Callable[[Tensors], Any], is_zip: bool
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(torch_bytes(wrap(some()), _use_new_zipfile_serialization=is_zip))
    found = read_weights(path)
    assert (found.form, same(found.tensors, some())) == ("torch.save", True)


def test_tensors_of_an_archive_are_read_without_its_code(tmp_path: Path) -> None:
    content, wanted = archive()
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    found = read_weights(path)
    assert found.form == "TorchScript"
    assert same(found.tensors, wanted)


def test_code_of_an_archive_is_not_even_looked_at(tmp_path: Path) -> None:
    content, wanted = archive()
    path = tmp_path / "x.pt"
    rewrite(content, path, {"/code/": lambda _: b"raise SystemExit\n"})
    assert same(read_weights(path).tensors, wanted)


def rewrite(content: bytes, path: Path, change: dict[str, Callable[[bytes], bytes]]) -> None:
    """The archive with the records changed whose names hold a key."""
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            record = old.read(info)
            for part, how in change.items():
                record = how(record) if part in info.filename else record
            new.writestr(info.filename, record)


def test_archive_whose_pickle_names_a_function_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pt"
    rewrite(archive()[0], path, {"/data.pkl": lambda _: pickle.dumps(Evil(), 2)})
    refused(path, r"weights file holds code \(x.pt: \w+.print\): it was not opened")
    assert RUN_MARK not in capfd.readouterr().out


def test_archive_that_leads_beyond_its_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    rewrite(archive()[0], path, {"/data/0": lambda record: record[:2]})
    refused(path, "damaged")


def test_compressed_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/constants.pkl", b"")
        file.writestr("x/data.pkl", b"0" * 1_000_000)
    refused(path, "damaged")


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickle_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, is_zip: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pth"
    content = {"a": torch.zeros(1), "b": Evil()}
    path.write_bytes(torch_bytes(content, _use_new_zipfile_serialization=is_zip))
    refused(path, r"weights file holds code \(x.pth: .*print\): it was not opened")
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(Evil()))
    refused(plain, "weights file holds code|damaged")
    assert RUN_MARK not in capfd.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    tensors = some()
    tensors["a.bias"][1] = value
    save_file(tensors, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"not finite \(x.safetensors: a.bias\)")


def test_mask_that_was_never_filled_is_no_fault(tmp_path: Path) -> None:
    save_file({"qkv.bias_mask": torch.full((3,), float("nan"))}, tmp_path / "x.safetensors")
    assert read_weights(tmp_path / "x.safetensors").tensors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, "more than named tensors .*'epoch' is int"),
        ({"a": torch.zeros(2), "b": "word"}, "more than named tensors"),
        ({3: torch.zeros(2)}, "more than named tensors"),
        ({"a": torch.zeros(2).to_sparse()}, "more than named tensors"),
        ([torch.zeros(2)], "no named tensors"),
        ({}, "no named tensors"),
        (torch.zeros(2), "no named tensors"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(torch_bytes(content))
    refused(path, words)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x80\x02", b"\0" * 8 + b"{", b"{}"])
def test_file_of_no_known_form_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", "damaged or of no known form")


def test_missing_file_and_empty_folder_are_said(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "is not there")
    refused(tmp_path, "folder has no weights")


def hub_folder(folder: Path) -> Path:
    """Two files beside an index, as large models come from the Hugging Face hub."""
    tensors = some()
    places = {"a.weight": "model-1.safetensors", "a.bias": "model-2.safetensors"}
    places["n"] = "model-2.safetensors"
    for name in set(places.values()):
        save_file({n: tensors[n] for n, p in places.items() if p == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text('{"model_type": "small"}')
    return folder


def test_folder_with_an_index_is_one_model(tmp_path: Path) -> None:
    found = read_weights(hub_folder(tmp_path))
    assert same(found.tensors, some())
    assert found.config == {"model_type": "small"}


def test_folder_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    (hub_folder(tmp_path) / "model-2.safetensors").unlink()
    refused(tmp_path, r"part of the weights is not there \(.*model-2")


@pytest.mark.parametrize(
    "index",
    ["{", "[]", "{}", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../x.safetensors"}}'],
)
def test_index_that_leads_nowhere_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refused(tmp_path, "index of the weights|file beside the weights")


FORMS = {
    "safetensors": lambda: save(some()),
    "zip": lambda: torch_bytes(some()),
    "old": lambda: torch_bytes(some(), _use_new_zipfile_serialization=False),
    "archive": lambda: archive()[0],
}


@settings(max_examples=30)
@given(st.sampled_from(sorted(FORMS)), st.floats(0, 1, exclude_max=True))
def test_cut_file_ends_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, form: str, part: float
) -> None:
    content = FORMS[form]()
    path = tmp_path_factory.mktemp("cut") / "x"
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "weights file|file holds|weights are not finite")


@settings(max_examples=30)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
def test_changed_file_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, form: str, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(FORMS[form]())
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    path = tmp_path_factory.mktemp("changed") / "x"
    path.write_bytes(content)
    with contextlib.suppress(ModelError):
        read_weights(path)
