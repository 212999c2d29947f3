"""The AAM corpus: every data set is read in the layout of its original, on tiny trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

for library in ("scipy", "openpyxl", "h5py"):
    pytest.importorskip(library, reason="needs the extra [train]")

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.layouts import GAZE_SETS
from aam_edge.training.corpus.ledov import gazes_by_frame, read_gazes
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from tests import corpus_trees as trees

SPLITS = [(name, split) for name, known in GAZE_SETS.items() for split in known.splits]
FIRST_FRAME = {"DHF1K": 5, "AVAD": 5} | dict.fromkeys(
    ("Coutrot-1", "Coutrot-2", "ETMD", "SumMe"), 10
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    trees.whole_corpus(root)
    return root


@pytest.fixture
def copied(corpus: Path, tmp_path: Path) -> Path:
    """Some sets of it, to be broken."""
    for folder in ("OSIE_256", "LEDOV", "ucf-003"):
        shutil.copytree(corpus / folder, tmp_path / folder)
    for part in (
        "fold_lists",
        "annotations/ETMD_av",
        "video_frames/ETMD_av",
        "video_audio/ETMD_av",
    ):
        shutil.copytree(corpus / "Audio" / part, tmp_path / "Audio" / part)
    return tmp_path


def read(root: Path, name: str, split: str = "train") -> tuple[list[Item], Skipped]:
    skipped = Skipped()
    return list(read_items(name, root, split, skipped)), skipped


def peak(item: Item, index: int = 0) -> tuple[float, float]:
    """Where the density is highest, in pixels of the stimulus."""
    density = item.density((24, 32), index)
    assert density is not None
    assert density.sum() == pytest.approx(1)
    row, column = np.unravel_index(density.argmax(), density.shape)
    return 2 * float(column) + 1, 2 * float(row) + 1


def test_table_names_all_eighteen_sets_and_the_public_prompts() -> None:
    kinds = [known.kind for known in GAZE_SETS.values()]
    assert (kinds.count("image"), kinds.count("video"), kinds.count("audio-visual")) == (9, 4, 6)
    assert {known.prompt for known in GAZE_SETS.values()} == {
        "free viewing", "recognise the action", "remember the picture",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_set_is_read_as_it_lies(corpus: Path, name: str, split: str) -> None:
    items, skipped = read(corpus, name, split)
    assert str(skipped) == "none skipped"
    assert {(item.gaze_set, item.split, item.kind) for item in items} == {
        (name, split, GAZE_SETS[name].kind)
    }
    for item in items:
        first = item.moments[0].number
        assert first == FIRST_FRAME.get(name, 0)
        x, y = trees.disc(first if item.kind != "image" else int(item.name[-1]))
        image = item.image()
        assert image.shape == (48, 64, 3)
        assert image[y, x, 2] > 180  # the disc is red, so channels are BGR
        assert np.hypot(*np.subtract(peak(item), (x, y))) <= 2
        if len(item.points()):
            np.testing.assert_allclose(item.points()[0] * trees.SIZE, (x, y), atol=1.01)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("SALICON", (4, 2)), ("FIGRIM-Targets", (2, None)), ("DHF1K", (2, 2)),
        ("Hollywood-2", (2, 2)), ("LEDOV", (2, 1)), ("DIEM", (2, 1)), ("AVAD", (2, 1)),
    ],
)  # fmt: skip
def test_each_split_has_its_own(corpus: Path, name: str, counts: tuple[int, int | None]) -> None:
    for split, count in zip(("train", "val"), counts, strict=True):
        if count is None:
            with pytest.raises(
                DataError, match=rf"no such split \({name}, {split}\): it has train"
            ):
                read(corpus, name, split)
        else:
            assert len(read(corpus, name, split)[0]) == count


def test_maps_without_fixations_are_told_from_nobody_looking(corpus: Path) -> None:
    (item, *_), _ = read(corpus, "FIGRIM-Fillers")
    assert item.moments[0].fixations is None
    assert item.name == "kitchen/p0"
    (item, *_), _ = read(corpus, "OSIE")
    assert item.moments[0].fixations is not None


def test_clip_keeps_its_place_in_time(corpus: Path) -> None:
    (item, *_), _ = read(corpus, "UCF-Sports")
    clip = item.clip(3, 4, stride=2)
    assert [moment.number for moment in clip.moments] == [3, 5, 7, 9]
    np.testing.assert_array_equal(clip.image(1), item.image(5))
    assert len(item.clip(12, 10)) == 2


def test_frames_and_maps_that_count_from_zero_and_one_belong_together(corpus: Path) -> None:
    (item, *_), _ = read(corpus, "LEDOV")  # frames are numbered from 0, masks from 1
    for index in range(0, trees.FRAMES, 4):
        assert np.hypot(*np.subtract(peak(item, index), trees.disc(index))) <= 2


def test_gazes_of_ledov_are_under_way_while_they_last(corpus: Path) -> None:
    (item, *_), _ = read(corpus, "LEDOV")
    assert item.fps == trees.FPS
    people = [len(item.points(i)) for i in range(len(item))]
    # Frames 3 to 7 and 8 to 12 of 1..n, two people; what rests on the mark is left out.
    assert people == [0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    np.testing.assert_allclose(item.points(4)[0] * trees.SIZE, trees.disc(3), atol=1e-6)


def test_gaze_on_the_centre_counts_once_a_person_has_left_the_mark() -> None:
    lines = np.array(
        [(1, 0, 40, 32, 24), (1, 40, 40, 5, 5), (1, 80, 40, 32, 24), (2, 0, 40, 32, 24)]
    )
    by_frame = gazes_by_frame(lines.astype(float), 25, 64, 48)
    assert sorted(by_frame) == [0, 1, 2]
    np.testing.assert_allclose(by_frame[2], [(0.5, 0.5)])
    assert [len(by_frame[n]) for n in (0, 1, 2)] == [1, 2, 1]


def test_gaze_table_of_matlab_73_is_read_too(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "Data.mat", "w") as file:
        file["Data/VideoFrameRate"] = np.array([[trees.FPS]])
        file["Data/VideoSize"] = np.array(trees.SIZE, float)[:, None]
        file["Data/fixdata"] = trees.ledov_lines().T  # HDF5 turns MATLAB's arrays around
    trees.write_gazes(tmp_path / "old" / "Data.mat")
    (fps, new), (_, old) = (
        read_gazes(tmp_path / "Data.mat"),
        read_gazes(tmp_path / "old" / "Data.mat"),
    )
    assert fps == trees.FPS
    assert new.keys() == old.keys()
    assert all(np.array_equal(new[n], old[n]) for n in new)


def test_sound_is_heard_up_to_the_frame(corpus: Path) -> None:
    (item, *_), _ = read(corpus, "DIEM")
    assert item.name == "a"  # by name, not by line
    beats = item.samples(13, window_s=0.5, rate_hz=16_000)  # ends at 0.52 s
    assert beats is not None
    assert beats.shape == (8000,)
    loud = np.abs(beats) > 0.1
    times_s = 0.02 + np.flatnonzero(loud) / 16_000
    # Beats at 0, 0.25, 0.5 s last 0.05 s; mixed down to 3/4 of 20000/32768.
    assert np.all((times_s % 0.25 < 0.052) | (times_s % 0.25 > 0.248))
    # The last beat is cut off, where the filter swings over.
    assert np.abs(beats[:-100]).max() == pytest.approx(0.75 * 20_000 / 32_768, rel=0.02)
    early = item.samples(0)
    assert early is not None
    assert not early.any()


def test_missing_files_are_named_counted_and_skipped(copied: Path) -> None:
    train = copied / "OSIE_256" / "train"
    (train / "train_stimuli" / "p0.jpg").unlink()
    (train / "train_saliency" / "p1.png").unlink()
    (train / "train_fixation" / "p2.png").unlink()
    items, skipped = read(copied, "OSIE")
    assert [item.name for item in items] == ["p2", "p3"]
    assert [len(item.points()) for item in items] == [0, 1]
    assert skipped.count == 3
    assert skipped.reasons["file is missing"] == 2
    assert {Path(name).name for name, _ in skipped.names} == {"p0.jpg", "p1.png", "p2.png"}


def test_broken_files_are_one_line_that_names_them(copied: Path) -> None:
    train = copied / "OSIE_256" / "train"
    photo = train / "train_stimuli" / "p0.jpg"
    photo.write_bytes(photo.read_bytes()[:400])
    (train / "train_saliency" / "p0.png").write_bytes(b"no picture")
    (item, *_), _ = read(copied, "OSIE")
    with pytest.raises(DataError, match=r"picture is cut off \(.*p0.jpg\)"):
        item.image()
    with pytest.raises(DataError, match=r"picture cannot be read \(.*p0.png\)"):
        item.density((12, 16))


def test_broken_mat_and_missing_sound_leave_the_rest(copied: Path) -> None:
    notes = copied / "Audio" / "annotations" / "ETMD_av" / "a"
    (notes / "fixMap_00011.mat").write_bytes(b"MATLAB 5.0 MAT-file, but cut" * 9)
    (copied / "Audio" / "video_audio" / "ETMD_av" / "a" / "a.wav").unlink()
    (first, second), skipped = read(copied, "ETMD")
    assert first.sound is None
    assert first.samples() is None
    assert second.sound is not None
    assert skipped.reasons == {"sound is missing, the clip is kept silent": 1}
    with pytest.raises(DataError, match="MATLAB file cannot be read"):
        first.points(0)
    assert len(first.points(1)) == 1


def test_frame_without_map_is_left_out_and_time_goes_on(copied: Path) -> None:
    clip = copied / "ucf-003" / "training" / "clip_a"
    (clip / "maps" / "0004.png").unlink()
    shutil.rmtree(copied / "ucf-003" / "training" / "clip_b" / "maps")
    (item,), skipped = read(copied, "UCF-Sports")
    assert [moment.number for moment in item.moments] == [0, 1, 2, *range(4, trees.FRAMES)]
    assert skipped.reasons == {
        "frame has no map": 1 + trees.FRAMES,
        "video has no frame with a map": 1,
    }


def test_broken_gaze_table_leaves_the_maps(copied: Path) -> None:
    (copied / "LEDOV" / "fixation" / "cat" / "Data.mat").write_bytes(b"x" * 300)
    items, skipped = read(copied, "LEDOV")
    assert [len(item.points(4)) for item in items] == [0, 2]
    assert skipped.reasons == {"MATLAB file cannot be read": 1}


@pytest.mark.parametrize(
    ("name", "table", "content", "words"),
    [
        ("OSIE", "OSIE_256/train_id.csv", b"", "data set is empty"),
        ("OSIE", "OSIE_256/train_id.csv", b"\xff\xfe\x00", "list cannot be read"),
        ("OSIE", "OSIE_256/train_id.csv", b"image,map\na.jpg\n", "data set is empty, 1 skipped"),
        ("LEDOV", "LEDOV/LEDOV_TrainValidVideoList.xlsx", b"PK no book", "list cannot be read"),
        ("ETMD", "Audio/fold_lists/ETMD_av_list_train_3_fps.txt", b"a 3 x\n", "empty, 1 skipped"),
    ],
)  # fmt: skip
def test_broken_list_is_one_line(
    copied: Path, name: str, table: str, content: bytes, words: str
) -> None:
    (copied / table).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read(copied, name)


def test_list_without_headings_loses_no_line(copied: Path) -> None:
    table = copied / "OSIE_256" / "train_id.csv"
    table.write_text("\n".join(table.read_text().splitlines()[1:]))
    assert len(read(copied, "OSIE")[0]) == 4


def test_unknown_sets_layouts_and_folders_are_one_line(corpus: Path, tmp_path: Path) -> None:
    for name, line in (
        ("SALICN", r"unknown data set \(SALICN\): did you mean SALICON\?"),
        (
            "quux",
            r"unknown data set \(quux\): give native:DIR, coco:DIR or one of SALICON, MIT1003",
        ),
        ("webdataset:x", r"unknown layout \(webdataset\): known are native, coco, boxes, classes"),
        ("native:/no/where", r"folder of the data set is missing"),
    ):
        with pytest.raises(DataError, match=line):
            read_items(name, corpus, "train", Skipped())
    for name in ("DHF1K", "OSIE", "LEDOV", "DIEM"):
        with pytest.raises(DataError, match=r"cannot be read|is missing"):
            read(tmp_path, name)
    assert len(read(corpus, "osie")[0]) == 4  # in any case
