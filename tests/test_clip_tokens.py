"""CLIP's tokens: the reader of merges, and the same numbers as another library."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.errors import ModelError
from aam_edge.model.released.clip_tokens import ClipTokens, parse_merges
from aam_edge.model.released.encoder_weights import merges_text, read_merges

MERGES = [
    *[("c", "u"), ("cu", "p</w>"), ("t", "h"), ("th", "e</w>"), ("i", "n"), ("in", "g</w>")],
    *[("a", "r"), ("s", "e"), ("se", "ar"), ("sear", "c"), ("f", "o"), ("fo", "r</w>"), ("r", "e")],
    *[("Ã", "©"), ("Ã", "©</w>"), ("'", "s</w>"), ("!", "!"), ("!!", "!</w>"), ("1", "2</w>")],
]
ODD = "cup the searching for'S re!!!12é ß½Ⅷ漢字🙂'\t_²ı"


def test_earliest_pair_is_joined_first() -> None:
    tokens = ClipTokens([("b", "c</w>"), ("a", "b"), ("ab", "c</w>")])
    start, end = 512 + 3, 512 + 4
    assert tokens.encode("abc") == [start, ord("a") - 33, 512, end]
    assert tokens.encode("ab") == [start, ord("a") - 33, 256 + ord("b") - 33, end]
    assert tokens.encode("") == [start, end]
    assert tokens.size == end + 1


def test_case_spaces_and_entities_make_no_difference() -> None:
    tokens = ClipTokens(MERGES)
    assert tokens.encode("  Search\n FOR &amp;amp; cup ") == tokens.encode("search for & cup")


def test_marks_of_the_model_are_text() -> None:
    tokens = ClipTokens(MERGES)
    assert tokens.encode("cup <|endoftext|>").count(tokens.end) == 1


@given(st.text(st.sampled_from(ODD) | st.characters(max_codepoint=0x2FF), max_size=40))
def test_same_numbers_as_the_tokenizers_library(text: str) -> None:
    ours = ClipTokens(MERGES).encode(text.replace("&", " "))[1:-1]
    assert ours == LIBRARY.encode(text.replace("&", " ")).ids


def library_tokens() -> Any:
    """The published pipeline of CLIP out of the tokenizers library's parts."""
    library = pytest.importorskip("tokenizers")
    splitting = library.Regex(
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as published
    )
    bpe = library.models.BPE(ClipTokens(MERGES)._ids, MERGES, end_of_word_suffix="</w>")
    tokens = library.Tokenizer(bpe)
    normal, before = library.normalizers, library.pre_tokenizers
    spaces = normal.Replace(library.Regex(r"\s+"), " ")
    tokens.normalizer = normal.Sequence([normal.NFC(), spaces, normal.Lowercase()])
    split = before.Split(splitting, behavior="removed", invert=True)
    tokens.pre_tokenizer = before.Sequence([split, before.ByteLevel(add_prefix_space=False)])
    return tokens


LIBRARY = library_tokens()


@pytest.mark.skipif(find_spec("open_clip") is None, reason="needs the file of open_clip_torch")
def test_prompts_of_the_public_model_have_its_numbers(shared: Path) -> None:
    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    tokens = ClipTokens(read_merges(Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"))
    assert tokens.size == 49_408
    prompts = json.loads((shared / "aam/prompts.json").read_text())["prompts"]
    for prompt in prompts.values():
        assert tokens.encode(prompt["text"]) == prompt["token_ids"]


def test_each_form_of_the_vocabulary_gives_the_same_pairs(tmp_path: Path) -> None:
    text = merges_text(MERGES)
    (tmp_path / "merges.txt").write_text(text)
    (tmp_path / "bpe.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    for name, merges in (("old.json", [" ".join(p) for p in MERGES]), ("new.json", MERGES)):
        (tmp_path / name).write_text(json.dumps({"model": {"merges": merges}}))
    for name in (".", "merges.txt", "bpe.txt.gz", "old.json", "new.json"):
        assert read_merges(tmp_path / name) == MERGES, name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"heading\n",
        b"heading\na b c\n",
        b"heading\na b\na b\n",
        b"\xff\xfe\x00",
        b"\x1f\x8bcut",
        gzip.compress(b"heading\na b\n" * 99, mtime=0)[:30],
    ],
)
def test_file_that_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "merges.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"vocabulary .*: pass --vocabulary") as raised:
        read_merges(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"model": 3}', '{"model": {"merges": [1]}}', '{"model": {}}']
)
def test_json_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError):
        read_merges(tmp_path)


def test_missing_vocabulary_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there"):
        read_merges(tmp_path)


def test_line_that_is_no_pair_is_named() -> None:
    with pytest.raises(ValueError, match="line 3"):
        parse_merges("heading\na b\nc\n")
