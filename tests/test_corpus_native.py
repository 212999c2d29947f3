"""The native gaze format and named photos, as the items that the corpus gives."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item
from aam_edge.training.corpus.native import read_native
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.data import read_gaze_set
from tests import corpus_trees as trees


def read(spec: str, split: str = "train") -> tuple[list[Item], Skipped]:
    skipped = Skipped()
    return list(read_items(spec, Path(), split, skipped)), skipped


def test_native_set_gives_what_the_trainer_reads(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")
    items, skipped = read(f"native:{folder}")
    photos = read_gaze_set(folder, "train")
    assert [(item.gaze_set, item.name) for item in items] == [("discs", f"p{i}") for i in range(3)]
    for item, photo in zip(items, photos, strict=True):
        np.testing.assert_array_equal(item.image(), photo.image())
        np.testing.assert_array_equal(item.points(), photo.points)
        np.testing.assert_array_equal(item.density((24, 32)), photo.density((24, 32)))
    assert str(skipped) == "none skipped"


def test_each_task_on_a_photo_is_an_item_of_its_own(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs", ("free viewing", "search for the cup"))
    (free, search), _ = read(f"native:{folder}", "val")
    assert (free.name, search.name) == ("p3, free viewing", "p3, search for the cup")
    assert search.prompt == "search for the cup"
    np.testing.assert_allclose(search.points() - free.points(), [(0, 1 / trees.SIZE[1])] * 6)


def test_published_densities_are_maps_of_each_task(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "tasks")
    (folder / "fixations.npz").unlink()
    drawn = np.stack([trees.saliency_map(0), trees.saliency_map(3)])
    tasks = np.array(["count", "look"])
    np.savez(folder / "maps.npz", image_id=np.array(["p0"]), task_text=tasks, p0=drawn)
    items, skipped = read(f"native:{folder}")
    assert [item.prompt for item in items] == ["count", "look"]
    density = items[1].density(drawn.shape[1:])
    assert density is not None
    np.testing.assert_allclose(density, drawn[1] / drawn[1].sum(), atol=1e-6)
    assert skipped.reasons == {"photo is not in the table": 2}


@pytest.fixture
def clip_set(tmp_path: Path) -> Path:
    """One clip of 20 frames at 10 a second, with a sound track; one person looks at the disc."""
    folder = tmp_path / "clips_set"
    (folder / "clips").mkdir(parents=True)
    with av.open(str(folder / "clips" / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10, width=64, height=48, bit_rate=2_000_000)
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(trees.stimulus(i), format="bgr24")
            container.mux(video.encode(frame))
        t = np.arange(32_000) / 16_000
        tone = (0.5 * np.sin(2 * np.pi * 440 * t) * (t > 1)).astype(np.float32)
        block = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        block.sample_rate = 16_000
        container.mux(sound.encode(block))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    x, y = np.array([trees.disc(2 * i) for i in range(10)]).T
    np.savez(
        folder / "fixations.npz",
        image_id=np.array(["a"]), image_size=np.array([(64, 48)]), sigma=np.array([0.05]),
        fps=np.array([10.0]), n_frames=np.array([20]), task_text=np.array(["free viewing"]),
        trial_image=np.zeros(1, int), trial_task=np.zeros(1, int),
        trial_box=np.full((1, 4), np.nan), trial=np.zeros(10, int), order=np.arange(10),
        x=x / 64, y=y / 48, start=np.arange(10) * 0.2, duration=np.full(10, 0.2),
    )  # fmt: skip
    (folder / "splits.json").write_text(json.dumps({"train": ["a"]}))
    return folder


def test_clip_is_read_frame_by_frame_in_any_order(clip_set: Path) -> None:
    (item,), _ = read(f"native:{clip_set}")
    assert (len(item), item.fps, item.kind) == (20, 10.0, "audio-visual")
    for index in (0, 7, 8, 3, 19):
        error = cv2.absdiff(item.image(index), trees.stimulus(index)).mean()
        wrong = cv2.absdiff(item.image(index), trees.stimulus((index + 2) % 20)).mean()
        assert error < 0.7 * wrong, index
        np.testing.assert_allclose(
            item.points(index) * trees.SIZE, [trees.disc(index - index % 2)], atol=1e-4
        )
    density = item.density((24, 32), 4)
    assert density is not None
    row, column = np.unravel_index(density.argmax(), density.shape)
    centre = 2 * column + 1, 2 * row + 1
    assert np.hypot(*np.subtract(centre, trees.disc(4))) <= 2


def test_sound_track_of_a_clip_is_heard(clip_set: Path) -> None:
    (item,), _ = read(f"native:{clip_set}")
    before, after = (item.samples(n, window_s=0.4, rate_hz=16_000) for n in (9, 18))
    assert before is not None
    assert after is not None
    assert np.abs(before).max() < 0.02
    assert np.abs(after).max() == pytest.approx(0.5, abs=0.1)


def test_video_without_sound_or_cut_off_is_one_line(clip_set: Path) -> None:
    clip = clip_set / "clips" / "a.mp4"
    (item,), _ = read(f"native:{clip_set}")
    clip.write_bytes(clip.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"video cannot be read \(.*a.mp4, frame 3\)"):
        item.image(3)
    with pytest.raises(DataError, match="no sound that can be read"):
        item.samples(3)


def test_broken_native_sets_are_one_line(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")
    for break_it, line in (
        (lambda: (folder / "images" / "p3.jpg").unlink(), "data set is empty, 1 skipped"),
        (lambda: np.savez(folder / "fixations.npz", x=np.zeros(1)), "lacks columns .*image_id"),
        (lambda: (folder / "fixations.npz").write_bytes(b"PK"), "gaze set cannot be read"),
        (lambda: (folder / "splits.json").write_text('{"train": []}'), "no such split .*has train"),
        (lambda: (folder / "splits.json").write_text("{"), "gaze set cannot be read"),
    ):
        break_it()
        with pytest.raises(DataError, match=line):
            read(f"native:{folder}", "val")


@pytest.mark.parametrize("name", ["osie", "interiors_search", "task_based", "faces_video"])
def test_shared_sets_are_read_whole(shared: Path, name: str) -> None:
    skipped = Skipped()
    items = list(read_native(shared / "data" / name, "val", skipped))
    counts = {"osie": 95, "interiors_search": 15, "task_based": 4 * 66, "faces_video": 2}
    assert len(items) == counts[name]
    assert skipped.count == 0
    item = items[0]
    assert item.density((24, 32), len(item) // 2) is not None
    if name == "interiors_search":
        assert all(thing.name in item.prompt for item in items for thing in item.things)
        assert all(item.things for item in items)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for i in range(3):
        trees.write(tmp_path / "train2017" / f"{i:012d}.jpg", trees.stimulus(i))
    photos = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 64, "height": 48} for i in range(4)]
    boxes = [
        {"id": 1, "image_id": 0, "category_id": 7, "bbox": [3, 19, 10, 10], "iscrowd": 0},
        {"id": 2, "image_id": 0, "category_id": 9, "bbox": [60, 40, 20, 20], "iscrowd": 1},
        {"id": 3, "image_id": 1, "category_id": 8, "bbox": [0, 0, 5, 5]},
        {"id": 4, "image_id": 1, "category_id": 7, "bbox": [70, 0, 5, 5]},
    ]
    names = [{"id": 7, "name": "sports ball"}, {"id": 9, "name": "wall"}]
    whole = {"images": photos, "annotations": boxes, "categories": names}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(whole))
    return tmp_path


def test_coco_boxes_are_fractions_of_the_photo(coco: Path) -> None:
    items, skipped = read(f"coco:{coco}")
    assert [len(item.things) for item in items] == [2, 0, 0]
    ball, wall = items[0].things
    assert (ball.name, ball.is_crowd, wall.is_crowd) == ("sports ball", False, True)
    assert ball.box == pytest.approx((3 / 64, 19 / 48, 13 / 64, 29 / 48))
    assert wall.box == pytest.approx((60 / 64, 40 / 48, 1, 1))  # cut at the photo's edge
    assert items[0].density((12, 16)) is None
    # A photo that is not there, a class that is not named, a box outside of the photo.
    assert skipped.reasons == {"file is missing": 1, "box cannot be read": 2}
    with pytest.raises(DataError, match=r"list cannot be read .*instances_val2017"):
        read(f"coco:{coco}", "val")


def test_folders_name_what_is_on_their_photos(tmp_path: Path) -> None:
    for name, count in (("tea_pot", 2), ("owl", 1)):
        for i in range(count):
            trees.write(tmp_path / name / "more" / f"{i}.png", trees.stimulus(i))
    (tmp_path / "nothing").mkdir()
    items, skipped = read(f"classes:{tmp_path}")
    assert [(item.name, item.things[0].name) for item in items] == [
        ("owl/more/0", "owl"), ("tea_pot/more/0", "tea pot"), ("tea_pot/more/1", "tea pot"),
    ]  # fmt: skip
    assert items[0].things[0].box is None
    assert skipped.reasons == {"class has no photos": 1}
    with pytest.raises(DataError, match="no such split"):
        read(f"classes:{tmp_path}", "val")
    trees.write(tmp_path / "val" / "owl" / "a.jpg", trees.stimulus(0))
    assert len(read(f"classes:{tmp_path}", "val")[0]) == 1


def test_listed_photos_with_boxes_keep_a_seventh_of_coco_for_val(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    cup = {"name": "cup", "box": [0.1, 0.2, 0.5, 0.6]}
    listed = [
        {"file": f"images/{i}.png", "source": "COCO 2017 val", "objects": [cup]} for i in range(40)
    ]
    listed[3] = listed[3] | {"objects": [cup, {"name": "dog"}]}
    listed.append({"file": "images/40.png", "source": "of nobody knows whom", "objects": [cup]})
    for photo in listed[:39]:
        trees.write(root / str(photo["file"]), trees.stimulus(0))
    (root / "annotations.json").write_text(json.dumps({"photos": listed}))
    train, skipped = read(f"boxes:{root}")
    val, _ = read(f"boxes:{root}", "val")
    names = [{item.name for item in items} for items in (train, val)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {str(i) for i in range(39)}
    assert 2 <= len(val) <= 12
    assert train[0].things[0].name == "cup"
    assert train[0].things[0].box == pytest.approx((0.1, 0.2, 0.5, 0.6))
    _, in_val = read(f"boxes:{root}", "val")
    reasons = {**skipped.reasons, **in_val.reasons}
    assert reasons == {"file is missing": 1, "box cannot be read": 1}
    with pytest.raises(DataError, match="no such split"):
        read(f"boxes:{root}", "test")
    (root / "annotations.json").write_text("{}")
    with pytest.raises(DataError, match=r"list cannot be read .*annotations.json"):
        read(f"boxes:{root}")
