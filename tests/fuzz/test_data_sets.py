"""Strangers at data sets: shards and their index, tables of gaze, maps of other models."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

for library in ("scipy", "webdataset", "h5py"):
    pytest.importorskip(library, reason="needs the extra [train]")

from aam_edge.training.corpus.native import read_native
from aam_edge.training.corpus.packed import pack, unpack
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.data import read_gaze_set
from aam_edge.training.measure.map_folder import read_map
from aam_edge.training.shards import read_shards, write_shards
from tests import corpus_trees as trees
from tests.fuzz.attack import SOME, Door, attack, replayed, stands, times
from tests.fuzz.mutation import bytes_like, json_like, tree_like


def shard_door(folder: Path) -> Door:
    """A tar beside a good index: what is broken is left out and counted, nothing else happens."""

    def door(content: bytes) -> None:
        (folder / "train-000000.tar").write_bytes(content)
        skipped = Skipped()
        for item in read_shards(folder / "train.json", skipped):
            with skipped.counting():
                item.image(), item.points(), item.samples()
        assert all(reason.isprintable() for reason in skipped.reasons)

    return door


@pytest.fixture(scope="module")
def gaze_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.native_set(tmp_path_factory.mktemp("sets") / "discs")


@pytest.fixture
def shards(gaze_set: Path, tmp_path: Path) -> Path:
    write_shards(read_native(gaze_set, "train", Skipped()), tmp_path, "train", Skipped())
    return tmp_path


@st.composite
def spoilt_tars(draw: st.DrawFn, valid: bytes) -> bytes:
    """Tars that are whole, with a strange member in them."""
    file = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(valid)) as source, tarfile.open(None, "w", file) as target:
        for member in source:
            content = source.extractfile(member)
            body = b"" if content is None else content.read()
            if draw(st.integers(0, 3)) == 0:
                member.name = draw(st.sampled_from(NAMES))
            if draw(st.integers(0, 3)) == 0:
                member.type = draw(st.sampled_from(tuple(tarfile.SUPPORTED_TYPES)))
                member.linkname = "/etc/passwd"
            if body[:1] == b"{":
                body = json.dumps(draw(tree_like([json.loads(body)]))).encode()
            member.size = len(body)
            target.addfile(member, io.BytesIO(body))
    return file.getvalue()


NAMES = ("../../outside.jpg", "/etc/passwd", "", "end.json", "0.json", "a" * 300, "\n.jpg", "é.png")


@times()
def test_no_shard_breaks_its_reader(cases: int, shards: Path) -> None:
    whole = (shards / "train-000000.tar").read_bytes()
    attack(shard_door(shards), st.one_of(spoilt_tars(whole), bytes_like([whole])), cases)
    assert {path.name for path in shards.iterdir()} == {"train-000000.tar", "train.json"}


@replayed("shard")
def test_shards_that_broke_it_once(case: Path, shards: Path) -> None:
    stands(shard_door(shards), case.read_bytes())


def index_door(folder: Path) -> Door:
    def door(content: bytes) -> None:
        (folder / "train.json").write_bytes(content)
        for _ in read_shards(folder / "train.json", Skipped()):
            pass

    return door


@times()
def test_no_index_of_shards_breaks_its_reader(cases: int, shards: Path) -> None:
    whole = json.loads((shards / "train.json").read_text())
    strange = ["pipe:touch x", "http://127.0.0.1:1/x.tar", "/etc/passwd", "../a.tar", "x{0..9}.tar"]
    attack(index_door(shards), json_like([whole], strange), cases)
    assert not Path("x").exists()


@replayed("index")
def test_indexes_that_broke_it_once(case: Path, shards: Path) -> None:
    stands(index_door(shards), case.read_bytes())


@times()
def test_no_facts_of_a_sample_break_its_reader(cases: int, gaze_set: Path) -> None:
    members = pack(next(iter(read_native(gaze_set, "train", Skipped()))))

    def door(content: bytes) -> None:
        item = unpack(members | {"json": content}, "a sample")
        item.image(), item.points(), item.density((12, 16)), item.samples()

    attack(door, json_like([json.loads(members["json"])]), cases)


def table_door(folder: Path) -> Door:
    """A table of gaze as training and as evaluation read it."""

    def door(content: bytes) -> None:
        (folder / "fixations.npz").write_bytes(content)
        for photo in read_gaze_set(folder, "train"):
            photo.density(photo.grid())
        for item in read_native(folder, "train", Skipped()):
            item.points(), item.density((12, 16))

    return door


@st.composite
def spoilt_tables(draw: st.DrawFn, columns: dict[str, Any]) -> bytes:
    """Tables that numpy reads, with strange columns."""
    columns = dict(columns)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(columns)))
        column = np.atleast_1d(columns[name])
        strange = [
            column[:1], column[:0], column.ravel()[:3], np.float64("nan"), np.array(["x"] * 4),
            np.full(column.shape, -1), np.full(column.shape, 2**62), np.full(column.shape, np.inf),
            np.zeros((4, 4, 4), complex), np.array([None] * 4), np.zeros(4, "V8"), np.bool_(True),
            np.zeros(column.shape, "M8[s]"), np.zeros(column.shape, np.uint8),
        ]  # fmt: skip
        columns[name] = draw(st.sampled_from(strange))
        if draw(st.integers(0, 5)) == 0:
            del columns[name]
    columns |= draw(st.sampled_from([{}, {"fps": np.full(4, 25.0)}]))
    columns |= draw(st.sampled_from([{}, {"n_frames": np.full(4, 2**60)}]))
    file = io.BytesIO()
    np.savez(file, **columns)
    return file.getvalue()


@times()
def test_no_table_of_gaze_breaks_its_readers(cases: int, tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")
    whole = (folder / "fixations.npz").read_bytes()
    with np.load(io.BytesIO(whole)) as columns:
        inputs = st.one_of(spoilt_tables(dict(columns)), bytes_like([whole]))
    attack(table_door(folder), inputs, cases)


@replayed("table")
def test_tables_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(table_door(trees.native_set(tmp_path / "discs")), case.read_bytes())


@times(SOME)
def test_no_splits_break_their_readers(cases: int, tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")

    def door(content: bytes) -> None:
        (folder / "splits.json").write_bytes(content)
        read_gaze_set(folder, "train")
        list(read_native(folder, "train", Skipped()))

    attack(door, json_like([json.loads((folder / "splits.json").read_text())]), cases)


def map_door(folder: Path) -> Door:
    def door(content: bytes) -> None:
        (folder / "a.npy").write_bytes(content)
        read_map(folder / "a.npy")

    return door


@times()
def test_no_map_of_another_model_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.ones((4, 6), np.float32))
    attack(map_door(tmp_path), bytes_like([file.getvalue()]), cases)


@replayed("map")
def test_maps_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(map_door(tmp_path), case.read_bytes())
