"""The plan of a run: the same for one process and many, and from any place on."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("webdataset", reason="needs the extra [train]")

from aam_edge.errors import DataError
from aam_edge.training.batch import Batch
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.run.clips import ClipBatch
from aam_edge.training.run.drawing import Drawer, load
from aam_edge.training.run.material import Material, read_held, read_material
from aam_edge.training.run.plan import Entry, Plan, Share
from aam_edge.training.run.settings import RunConfig
from aam_edge.training.run.vectors import Vectors
from aam_edge.training.shards import write_shards
from tests import corpus_trees as trees
from tests.train_runs import config_of

EMBED = Vectors()
WHOLE = Share()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with maps and with points, and videos."""
    folder = tmp_path_factory.mktemp("corpus")
    trees.photo_set(folder, "OSIE_256", "{}_id.csv", *trees.SPLIT_FOLDERS)
    trees.dhf1k(folder, "train")
    trees.native_set(folder / "discs")
    return folder


def material_of(root: Path, *more: str) -> tuple[RunConfig, Material]:
    sets = f"[OSIE, DHF1K, 'native:{root / 'discs'}']"
    config = config_of(sets, root / "out", f"data.root={root}", "drawing.batch=4", *more)
    return config, read_material(config, EMBED)


def entries_of(config: RunConfig, material: Material, share: Share = WHOLE) -> list[Entry]:
    return list(Plan(config, material, share).entries())


def test_photos_and_clips_alternate_and_every_photo_comes(root: Path) -> None:
    config, material = material_of(root)
    entries = entries_of(config, material)
    assert [entry.is_clips for entry in entries] == [False, True, False, True] * 2
    seen = [row.first for entry in entries if not entry.is_clips for row in entry.rows]
    assert set(seen) == set(range(7))
    assert {row.is_video for e in entries if e.is_clips for row in e.rows} <= {True, False}


def test_processes_share_each_batch(root: Path) -> None:
    config, material = material_of(root)
    whole = entries_of(config, material)
    parts = [entries_of(config, material, Share(rank, 2)) for rank in (0, 1)]
    for entry, left, right in zip(whole, *parts, strict=True):
        assert left.rows + right.rows == entry.rows
        assert left.size == right.size == entry.size


def test_plan_goes_on_from_any_place(root: Path) -> None:
    config, material = material_of(root)
    plan = Plan(config, material)
    whole = list(plan.entries())
    for begin in range(len(whole)):
        epoch, step = divmod(begin, plan.steps)
        assert list(plan.entries(epoch, step)) == whole[begin:]


def test_seed_and_epoch_change_the_order(root: Path) -> None:
    config, material = material_of(root)
    other = entries_of(replace(config, seed=1), material)
    entries = entries_of(config, material)
    assert entries[:4] != other[:4]
    assert [e.rows for e in entries[:4]] != [e.rows for e in entries[4:]]


def test_batches_hold_what_the_plan_says_and_workers_change_nothing(root: Path) -> None:
    config, material = material_of(root, "clips.every=1", "sound.after_epochs=0")
    drawer = Drawer(config, material, EMBED)
    here = list(load(drawer, Plan(config, material).entries(), 0, 2))
    there = list(load(drawer, Plan(config, material).entries(), 1, 2))
    assert [(d.epoch, d.step) for d in here] == [(d.epoch, d.step) for d in there]
    for one, other in zip(here, there, strict=True):
        kind = ClipBatch if one.step % 2 else Batch
        assert isinstance(one.batch, kind)
        for name in kind.__dataclass_fields__:
            assert torch.equal(getattr(one.batch, name), getattr(other.batch, name)), name


@pytest.mark.parametrize("count", [1, 2])
def test_shards_stream_in_an_order_that_can_be_gone_on_with(
    root: Path, tmp_path: Path, count: int
) -> None:
    for name in ("OSIE", "DHF1K"):
        items = read_items(name, root, "train", Skipped())
        write_shards(items, tmp_path / name, "train", Skipped())
    sets = ", ".join(f"'shards:{tmp_path / name / 'train.json'}'" for name in ("OSIE", "DHF1K"))
    config = config_of(f"[{sets}]", tmp_path / "out", "drawing.batch=2", "clips.generated=0.5")
    material = read_material(config, EMBED)
    assert (material.streams[0].photos, material.streams[1].clips) == (4, 2)
    seen = []
    for rank in range(count):
        plan = Plan(config, material, Share(rank, count))
        names = [[f"{row.first}" for row in e.rows] for e in plan.entries()]
        assert [[f"{row.first}" for row in e.rows] for e in plan.entries(0, 1)] == names[1:]
        assert {len(rows) for rows in names} == {2 // count}
        photos = [e.rows for e in islice(plan.entries(), 4) if not e.is_clips]
        seen.append({f"{row.first}" for rows in photos for row in rows})
    assert len(seen) == 1 or not seen[0] & seen[1]


def test_one_photo_is_enough(tmp_path: Path) -> None:
    discs = trees.native_set(tmp_path / "discs")
    (discs / "splits.json").write_text('{"train": ["p0"], "val": ["p3"]}')
    config = config_of(f"native:{discs}", tmp_path / "out", "drawing.batch=4")
    material = read_material(config, EMBED)
    (first, *_) = entries_of(config, material)
    batch = Drawer(config, material, EMBED)[first].batch
    assert isinstance(batch, Batch)
    assert len(batch.pictures) == 4
    assert not torch.equal(batch.pictures[0], batch.pictures[1])


def test_broken_photos_are_named_and_left_out(tmp_path: Path) -> None:
    discs = trees.native_set(tmp_path / "discs")
    broken = discs / "images" / "p1.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    with np.load(discs / "fixations.npz") as archive:
        table = {name: archive[name] for name in archive.files}
    table["x"][:2] = 1.5
    np.savez(discs / "fixations.npz", **table)
    config = config_of(f"native:{discs}", tmp_path / "out", "drawing.batch=3", "clips.every=0")
    material = read_material(config, EMBED)
    drawn = [Drawer(config, material, EMBED)[e] for e in entries_of(config, material)]
    reasons = {reason for one in drawn for _, reason in one.lost}
    assert reasons == {"picture is cut off", "fixation is outside"}
    assert all(len(one.batch.pictures) == 3 for one in drawn if isinstance(one.batch, Batch))


def test_batch_without_anything_to_learn_from_is_one_line(root: Path, tmp_path: Path) -> None:
    trees.photo_set(tmp_path, "OSIE_256", "{}_id.csv", *trees.SPLIT_FOLDERS)
    for path in (tmp_path / "OSIE_256" / "train" / "train_saliency").iterdir():
        trees.write(path, np.full((40, 24), 9, np.uint8))  # upright, the photos are not
    config = config_of("OSIE", tmp_path / "out", f"data.root={tmp_path}", "clips.every=0")
    material = read_material(config, EMBED)
    drawer = Drawer(config, material, EMBED)
    words = r"nothing in a batch .*map does not fit its picture, 2 of 2\): put the right one"
    with pytest.raises(DataError, match=words):
        next(load(drawer, Plan(config, material).entries(), 0, 1))


def test_set_without_val_is_told_what_to_do(tmp_path: Path) -> None:
    discs = trees.native_set(tmp_path / "discs")
    (discs / "splits.json").write_text('{"train": ["p0"]}')
    config = config_of(f"native:{discs}", tmp_path / "out")
    with pytest.raises(DataError, match=r"no val split \(native:.*data.val=none"):
        read_held(config.data)
    off = config_of(f"native:{discs}", tmp_path / "out", "data.val=none")
    assert read_held(off.data) == {}
