"""Shards: what is packed comes back, in one order for a seed, in parts, and broken parts named."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

for library in ("scipy", "openpyxl", "h5py", "webdataset"):
    pytest.importorskip(library, reason="needs the extra [train]")

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.shards import Packing, Part, read_shards, write_shards
from tests import corpus_trees as trees

SMALL = Packing(shard_bytes=40_000, clip_frames=6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    trees.photo_set(root, "OSIE_256", "{}_id.csv", *trees.SPLIT_FOLDERS)
    trees.figrim(root, "Targets")
    trees.dhf1k(root, "train")
    trees.ledov(root)
    trees.with_sound(root, "DIEM", "")
    return root


SETS = ("OSIE", "FIGRIM-Targets", "DHF1K", "LEDOV", "DIEM")


def items_of(root: Path, *names: str) -> Iterator[Item]:
    for name in names:
        yield from read_items(name, root, "train", Skipped())


@pytest.fixture(scope="module")
def packed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with train.json."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(items_of(corpus, *SETS), folder, "train", Skipped(), SMALL)
    return folder


def key(item: Item) -> tuple[str, int]:
    return str(item), item.moments[0].number


def test_what_is_packed_comes_back(corpus: Path, packed: Path) -> None:
    skipped = Skipped()
    samples = {key(item): item for item in read_shards(packed / "train.json", skipped)}
    assert skipped.count == 0
    seen = 0
    for item in items_of(corpus, *SETS):
        for start in range(0, len(item), SMALL.clip_frames):
            original = item.clip(start, SMALL.clip_frames)
            again = samples[key(original)]
            seen += 1
            for name in ("gaze_set", "split", "kind", "prompt", "condition", "fps", "sigma"):
                assert getattr(again, name) == getattr(original, name)
            for index in range(len(original)):
                np.testing.assert_array_equal(again.image(index), original.image(index))
                np.testing.assert_array_equal(again.points(index), original.points(index))
                np.testing.assert_array_equal(
                    again.density((12, 16), index), original.density((12, 16), index)
                )
                is_none = again.moments[index].fixations is None
                assert is_none == (original.moments[index].fixations is None)
                heard, sounded = again.samples(index), original.samples(index)
                assert (heard is None) == (sounded is None)
                if heard is not None and sounded is not None:
                    np.testing.assert_allclose(heard, sounded, atol=2 / 32768)
    index = json.loads((packed / "train.json").read_text())
    assert seen == len(samples) == sum(shard["samples"] for shard in index["shards"])


def test_shards_keep_their_size_and_their_bytes(corpus: Path, packed: Path, tmp_path: Path) -> None:
    index = json.loads((packed / "train.json").read_text())
    assert len(index["shards"]) >= 4
    for shard in index["shards"]:
        size = (packed / shard["file"]).stat().st_size
        assert size == shard["bytes"]
        assert size <= SMALL.shard_bytes or shard["samples"] == 1
    write_shards(items_of(corpus, *SETS), tmp_path, "train", Skipped(), SMALL)
    for shard in index["shards"]:
        again = (tmp_path / shard["file"]).read_bytes()
        assert again == (packed / shard["file"]).read_bytes()


def test_things_are_packed_too(tmp_path: Path) -> None:
    for name in ("owl", "tea_pot"):
        trees.write(tmp_path / "photos" / name / "a.png", trees.stimulus(0))
    items = read_items(f"classes:{tmp_path / 'photos'}", tmp_path, "train", Skipped())
    write_shards(items, tmp_path / "out", "train", Skipped())
    again = list(read_shards(tmp_path / "out" / "train.json", Skipped(), seed=None))
    assert [item.things[0].name for item in again] == ["owl", "tea pot"]


def test_order_follows_seed_and_epoch_alone(packed: Path) -> None:
    def order(seed: int | None, epoch: int) -> list[tuple[str, int]]:
        samples = read_shards(packed / "train.json", Skipped(), seed=seed, epoch=epoch, buffered=5)
        return [key(item) for item in samples]

    assert order(1, 0) == order(1, 0)
    orders = [order(None, 0), order(1, 0), order(1, 1), order(2, 0)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert all(sorted(a) == sorted(orders[0]) for a in orders)


@pytest.mark.parametrize("count", [1, 2, 3, 24])
def test_parts_share_all_samples_without_overlap(packed: Path, count: int) -> None:
    source = packed / "train.json"
    whole = sorted(key(item) for item in read_shards(source, Skipped()))
    shared = [
        key(item)
        for rank in range(count)
        for item in read_shards(source, Skipped(), part=Part(rank, count))
    ]
    assert sorted(shared) == whole


@pytest.fixture
def served(packed: Path) -> Iterator[str]:
    """Address of the folder over HTTP."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=packed))
    thread = threading.Thread(target=server.serve_forever, name="aam-test-shards")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_shards_stream_from_pipes_patterns_and_addresses(packed: Path, served: str) -> None:
    whole = [key(item) for item in read_shards(packed / "train.json", Skipped(), seed=None)]
    last = len(list(packed.glob("*.tar"))) - 1
    pattern = f"train-{{000000..{last:06d}}}.tar"
    sources = [f"{packed}/{pattern}", f"pipe:cat {packed}/{pattern}"]
    if shutil.which("curl"):
        sources += [f"{served}/train.json", f"{served}/{pattern}"]
    for source in sources:
        skipped = Skipped()
        assert [key(i) for i in read_shards(source, skipped, seed=None)] == whole, source
        assert skipped.count == 0


def test_reader_that_stops_early_leaves_nothing_open(packed: Path) -> None:
    samples = read_shards(f"pipe:cat {packed}/train-000000.tar", Skipped(), seed=None)
    next(samples)
    del samples  # an open pipe would be a warning, which is an error here


@pytest.fixture
def copied(packed: Path, tmp_path: Path) -> Path:
    shutil.copytree(packed, tmp_path / "copied")
    return tmp_path / "copied"


def read(folder: Path) -> tuple[list[Item], Skipped]:
    skipped = Skipped()
    return list(read_shards(folder / "train.json", skipped, seed=None)), skipped


def test_damaged_member_costs_its_sample_alone(copied: Path) -> None:
    before, _ = read(copied)
    shard = copied / "train-000000.tar"
    with tarfile.open(shard) as tar:
        hurt = next(m for m in tar if m.name == "00000001.s0000.jpg")
    content = bytearray(shard.read_bytes())
    content[hurt.offset_data + 300] ^= 1
    shard.write_bytes(content)
    after, skipped = read(copied)
    assert [key(i) for i in after] == [key(i) for i in before if key(i) != key(before[1])]
    assert skipped.names == [
        (f"{shard}:00000001.s0000.jpg", "member of a shard is damaged"),
    ]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.8])
def test_cut_shard_gives_its_whole_samples_and_says_so(copied: Path, kept: float) -> None:
    before, _ = read(copied)
    shard = copied / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[: int(kept * shard.stat().st_size)])
    after, skipped = read(copied)
    in_first = json.loads((copied / "train.json").read_text())["shards"][0]["samples"]
    whole = in_first - (len(before) - len(after))
    assert 0 <= whole < in_first
    assert [key(i) for i in after] == [key(i) for i in before[:whole] + before[in_first:]]
    assert skipped.reasons["shard ends too early"] == 1
    for item in after:
        item.image(len(item) - 1)


def test_overwritten_header_is_noticed(copied: Path) -> None:
    # tar itself takes a header that is not one for the end, silently.
    shard = copied / "train-000001.tar"
    with tarfile.open(shard) as tar:
        member = tar.getmembers()[-2]
    content = bytearray(shard.read_bytes())
    content[member.offset : member.offset + 512] = b"\xaa" * 512
    shard.write_bytes(content)
    _, skipped = read(copied)
    assert skipped.reasons["shard ends too early"] == 1


def test_missing_shard_and_index_are_named(copied: Path) -> None:
    (copied / "train-000001.tar").unlink()
    items, skipped = read(copied)
    assert items
    assert "shard cannot be read on (FileNotFoundError)" in skipped.reasons
    (copied / "train.json").unlink()
    with pytest.raises(DataError, match=r"index of shards cannot be read \(.*train.json\)"):
        read(copied)


def test_index_cannot_name_commands(copied: Path) -> None:
    for name in ("pipe:true", "../train-000000.tar", "/etc/passwd"):
        index = {"shards": [{"file": name, "samples": 1, "bytes": 1}]}
        (copied / "train.json").write_text(json.dumps(index))
        with pytest.raises(DataError, match="index names shards elsewhere"):
            read(copied)


def test_full_disk_leaves_no_shard_that_reads_as_whole(corpus: Path, tmp_path: Path) -> None:
    # The kernel refuses to let a file grow, as it does where the disk is full.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    packing = Packing(shard_bytes=400_000, clip_frames=6)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(DataError, match=r"shard cannot be written, File too large \(.*0.tar\)"):
            write_shards(items_of(corpus, "OSIE", "DHF1K"), tmp_path, "train", Skipped(), packing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    write_shards(items_of(corpus, "OSIE", "DHF1K"), tmp_path, "train", Skipped(), packing)
    assert len(read(tmp_path)[0]) == 4 + 2 * 2


def test_disk_without_room_is_told_by_its_own_words(corpus: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "train-000000.tar.part").symlink_to(full)
    with pytest.raises(DataError, match="No space left on device"):
        write_shards(items_of(corpus, "DHF1K"), tmp_path, "train", Skipped(), SMALL)
    assert list(tmp_path.iterdir()) == []


def test_packing_does_not_write_over_shards(corpus: Path, packed: Path) -> None:
    with pytest.raises(DataError, match="there are shards already"):
        write_shards(items_of(corpus, "OSIE"), packed, "train", Skipped())


def test_what_cannot_be_read_is_not_packed(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "OSIE_256", tmp_path / "OSIE_256")
    train = tmp_path / "OSIE_256" / "train"
    photo = train / "train_stimuli" / "p0.jpg"
    photo.write_bytes(photo.read_bytes()[:500])
    upright = np.ascontiguousarray(trees.saliency_map(1).T)
    trees.write(train / "train_saliency" / "p1.png", upright)
    nobody = np.zeros_like(trees.saliency_map(2))
    for folder in ("train_saliency", "train_fixation"):
        trees.write(train / folder / "p2.png", nobody)
    skipped = Skipped()
    write_shards(items_of(tmp_path, "OSIE"), tmp_path / "out", "train", skipped)
    items, _ = read(tmp_path / "out")
    assert [item.name for item in items] == ["p3"]
    assert skipped.reasons == {
        "picture is cut off": 1, "map does not fit its picture": 1,
        "nobody looked at the photo": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "train.json").read_text())["skipped"] == skipped.reasons
    assert "24x32 and 64x48" in str(skipped.names)


def test_fixations_outside_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")
    with np.load(folder / "fixations.npz") as archive:
        table = dict(archive)
    table["x"][:2] = (1.5, -0.1)
    np.savez(folder / "fixations.npz", **table)
    skipped = Skipped()
    items = read_items(f"native:{folder}", tmp_path, "train", skipped)
    write_shards(items, tmp_path / "out", "train", skipped)
    first = next(read_shards(tmp_path / "out" / "train.json", Skipped(), seed=None))
    assert len(first.points()) == 4
    assert skipped.reasons == {"fixation is outside": 2}


def test_other_tools_read_the_tars(packed: Path) -> None:
    names = subprocess.run(
        ["tar", "-tf", packed / "train-000000.tar"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert names[:3] == [f"00000000.{name}" for name in ("json", "m0000.png", "points.npy")]
    assert names[-1] == "end.json"
