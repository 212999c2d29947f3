"""What teaches: photos with heat, gaze and names, and the pictures that are drawn of them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from aam_edge.engine.text import TextTable
from aam_edge.messages import Image
from aam_edge.training.batch import (
    ABSENT,
    GAZE,
    PLACE,
    SEARCH,
    TEACHER,
    Batch,
    BatchConfig,
    Scene,
    rows_of,
    scene_of,
)
from aam_edge.training.prompts import (
    COCO_NAMES,
    FREE_VIEWING,
    GENERAL,
    KEPT_OUT,
    KINDS,
    NAMES,
    SYNONYMS,
    TASKS,
    children,
    word_for,
)
from aam_edge.training.run.drawing import Drawer
from aam_edge.training.run.material import Material
from aam_edge.training.run.plan import Plan
from aam_edge.training.run.settings import ClipsConfig, DataConfig, RunConfig
from aam_edge.training.sample import Sample, boxes_heat, thing_density
from aam_edge.training.search_data import (
    chances_of,
    heats_of,
    held_out_photos,
    is_held_out,
    labelled_boxes,
    read_photos,
    with_general,
    with_general_chances,
)

SMALL = BatchConfig(batch=4, scale=0.5, mosaics=0.5)
EMBED = TextTable().embed
PHOTOS = [f"images/{letter}.jpg" for letter in "abcdefghijklmno"]
"""The last has no licence."""
VIEWS = ("osie", "eyecrowd", "scene500")


def square_at(x: float, y: float, side: int = 128) -> Image:
    """A white square of an eighth of the side, its middle at fractions (x, y), on black."""
    image = np.zeros((side, side, 3), np.uint8)
    half, centre = side // 16, (round(x * side), round(y * side))
    image[centre[1] - half : centre[1] + half, centre[0] - half : centre[0] + half] = 255
    return image


def place(i: int) -> tuple[float, float]:
    return 0.25 + 0.0625 * (i % 8), 0.5


def write_gaze_set(folder: Path, train: int, texts: tuple[str, ...] = ()) -> None:
    """Some photos of a square and one of `val`; three people look at the square."""
    (folder / "images").mkdir(parents=True)
    ids = [f"{folder.name}{i}" for i in range(train + 1)]
    rows: list[tuple[float, ...]] = []
    trials: list[int] = []
    for i, name in enumerate(ids):
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), square_at(*place(i)))
        for observer in range(3):
            x, y = place(i)
            rows += [(len(trials), n, x + 0.01 * observer, y + 0.01 * n) for n in range(4)]
            trials.append(i)
    trial, order, x, y = np.array(rows).T
    np.savez(
        folder / "fixations.npz",
        image_id=np.array(ids), image_size=np.full((len(ids), 2), 128),
        sigma=np.full(len(ids), 0.03), trial_image=np.array(trials),
        trial_box=np.full((len(trials), 4), np.nan), trial=trial.astype(int),
        order=order.astype(int), x=x, y=y, trial_task=np.zeros(len(trials), int),
        task_text=np.array(texts or [""]),
    )  # fmt: skip
    (folder / "splits.json").write_text(json.dumps({"train": ids[:train], "val": ids[train:]}))


def write_tasks(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "t0.jpg"), square_at(0.25, 0.5))
    maps = np.zeros((1, 96, 128), np.float32)
    maps[0, 40:56, 24:40] = 2
    np.savez(folder / "maps.npz", task_text=np.array(["count the people"]), t0=maps)
    (folder / "splits.json").write_text(json.dumps({"train": ["t0"], "val": []}))


def write_photos(root: Path) -> None:
    """Squares that are cups or, by a source without licence, dogs."""
    (root / "photos" / "images").mkdir(parents=True)
    listing = []
    for i, file in enumerate(PHOTOS):
        x, y = place(i)
        cv2.imwrite(str(root / "photos" / file), square_at(x, y))
        box = [x - 0.0625, y - 0.0625, x + 0.0625, y + 0.0625]
        thing = {"name": "cup" if i % 2 else "person", "box": box}
        source = "COCO 2017 via somebody" if file != PHOTOS[-1] else "Nobody knows"
        listing.append({"file": file, "source": source, "objects": [thing]})
    (root / "photos" / "annotations.json").write_text(json.dumps({"photos": listing}))


def tiny_tree(root: Path) -> Path:
    """Everything a fit reads: `data/`, `photos/`, `heat.npz`, `words.npz`."""
    for name in VIEWS:
        write_gaze_set(root / "data" / name, 2)
    write_gaze_set(root / "data" / "interiors_search", 1, ("find the cup",))
    write_tasks(root / "data" / "task_based")
    write_photos(root)
    looked_at = [f"data/{name}/images/{name}{i}.jpg" for name in VIEWS for i in range(2)]
    files = np.array([*looked_at, *(f"photos/{file}" for file in PHOTOS)])
    peaks = np.full((len(files), 80), 0.01)
    peaks[:, [0, COCO_NAMES.index("cup"), COCO_NAMES.index("dog")]] = 0.9
    dog = np.zeros((64, 64), np.uint8)
    dog[8:16, 8:16] = 255
    np.savez(
        root / "heat.npz", files=files, peaks=peaks, index=np.array([0, len(files) - 1]),
        name=np.full(2, COCO_NAMES.index("dog")), maps=np.stack([dog, dog]),
    )  # fmt: skip
    probabilities = np.full((len(files), 3), 1 / 3, np.float16)
    names = np.array(["cup", "", "dog"])
    np.savez(root / "words.npz", files=files, probabilities=probabilities, names=names)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def samples(tree: Path) -> list[Sample]:
    return read_photos(tree, tree / "heat.npz", tree / "words.npz")


def test_photos_are_read_with_what_is_known_of_each(tree: Path, samples: list[Sample]) -> None:
    kept = [file for file in PHOTOS[:-1] if not is_held_out(f"photos/{file}")]
    # Six of free viewing, one searched, one of the task set, and the one without a licence.
    assert len(samples) == 6 + len(kept) + 1 + 2
    assert sum(sample.has_people for sample in samples) == 8
    first = samples[0]
    assert [text for text, _ in first.gaze] == ["free viewing"]
    assert set(first.things) == {"dog", "animal"}
    assert first.words is not None
    texts = {text for sample in samples for text, *_ in (*sample.gaze, *sample.maps)}
    assert texts == {"free viewing", "find the cup", "count the people"}


def test_boxes_without_a_licence_do_not_label(tree: Path, samples: list[Sample]) -> None:
    assert f"photos/{PHOTOS[-1]}" not in labelled_boxes(tree)
    assert not any("person" in s.things and "dog" in s.things for s in samples)


def test_held_out_photos_never_teach(tree: Path) -> None:
    held = {path.relative_to(tree).as_posix() for path, _ in held_out_photos(tree)}
    assert len(held) == 2
    assert all(is_held_out(name) for name in held)


def test_what_is_in_view_is_not_absent(samples: list[Sample]) -> None:
    for sample in samples:
        assert not sample.absent & set(sample.things)
    assert "vehicle" in samples[0].absent
    assert "animal" not in samples[0].absent


def test_general_words_get_the_heat_of_what_is_below_them() -> None:
    cat, dog = np.zeros((2, 64, 64), np.uint8)
    cat[3, 4], dog[5, 6] = 200, 100
    below = set(children("vehicle"))
    things, absent = with_general({"cat": cat, "dog": dog}, below | {"fork"})
    np.testing.assert_array_equal(things["animal"], np.maximum(cat, dog))
    assert "vehicle" in absent
    assert "cutlery" not in absent  # of a knife nothing is known
    assert set(things) == {"cat", "dog", "animal"}


def test_boxes_become_heat_where_they_are() -> None:
    heat = boxes_heat([[0.5, 0.25, 0.75, 0.5]])
    assert heat.max() > 235
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(row - 24) <= 1
    assert abs(column - 40) <= 1
    assert heat[:4].max() == heat[:, :16].max() == 0
    inside = heat[16:32, 32:48]
    assert inside[[0, 8, 15, 8], [8, 0, 8, 15]].min() > 64  # up to the edges
    assert heat[:15].max() < 64


def test_detector_s_boxes_raise_its_heat(tree: Path) -> None:
    table = dict(np.load(tree / "heat.npz"))
    plain = heats_of(table)
    table |= {"box_map": [1], "box_score": [0.5], "box": np.array([[0.5, 0.25, 0.75, 0.5]])}
    raised = heats_of(table)
    box = boxes_heat([[0.5, 0.25, 0.75, 0.5]])
    np.testing.assert_array_equal(raised[0], plain[0])
    np.testing.assert_array_equal(raised[1], np.maximum(plain[1], (0.5 * box).astype(np.uint8)))


def test_chance_of_a_name_rises_with_the_detector_s_peak() -> None:
    peaks = np.array([0.0, 0.05, 0.125, 0.225, 0.6, 1.0], np.float16)
    chances = chances_of(peaks)
    assert (np.diff(chances) > 0).all()
    np.testing.assert_allclose(chances[1:5], [0.02, 0.15, 0.5, 0.98], atol=0.03)


def test_general_word_is_as_likely_as_one_of_what_is_below_it() -> None:
    chances = np.zeros(len(COCO_NAMES))
    chances[[COCO_NAMES.index("cat"), COCO_NAMES.index("dog")]] = 0.5
    told = dict(zip(NAMES, with_general_chances(chances), strict=True))
    assert (told["cat"], told["animal"], told["vehicle"]) == (0.5, 0.75, 0)


def test_each_picture_is_asked_for_what_there_is_and_what_is_not(samples: list[Sample]) -> None:
    rng = np.random.default_rng(0)
    scene = scene_of(samples[0], (96, 128), 0.999, rng)
    rows = rows_of(scene, 4, rng)
    assert [kind for *_, kind in rows] == [GAZE, SEARCH, SEARCH, ABSENT]
    for _, density, _, _ in rows:
        assert density.sum() == pytest.approx(1, abs=1e-4)
    # What is not there is looked for where nothing is known to be.
    known = np.maximum.reduce(list(scene.things.values()))
    assert rows[3][1][known == 0].min() == rows[3][1].max()
    assert rows[3][1][known >= 0.4 * 255].max() < 0.15 * rows[3][1].max()
    nothing = rows_of(Scene(scene.picture), 2, rng)
    assert [(weight, kind) for *_, weight, kind in nothing] == [(0.0, TEACHER)] * 2


def test_absent_names_are_asked_for_where_many_things_are_in_view() -> None:
    scene = Scene(np.zeros((32, 32, 3), np.uint8), absent=frozenset({"zebra"}))
    scene.things = {name: np.full((8, 8), 200, np.float32) for name in COCO_NAMES[:10]}
    rng = np.random.default_rng(0)
    asked = [[kind for *_, kind in rows_of(scene, 3, rng)] for _ in range(200)]
    assert all(kinds in ([SEARCH] * 3, [SEARCH, SEARCH, ABSENT]) for kinds in asked)
    assert 70 < sum(kinds[-1] == ABSENT for kinds in asked) < 130


def test_thing_that_is_hardly_in_view_is_not_asked_for() -> None:
    assert thing_density(np.full((4, 4), 63, np.float32)) is None
    seen = np.zeros((4, 4), np.float32)
    seen[1, 2], seen[3, 3] = 200, 40  # the second below a quarter of the first
    density = thing_density(seen)
    assert density is not None
    assert density[1, 2] == 1


def all_of(samples: list[Sample], epoch: int, drawing: BatchConfig = SMALL) -> list[Batch]:
    """The batches of an epoch, drawn here."""
    config = RunConfig(
        epochs=epoch + 1, drawing=drawing, clips=ClipsConfig(every=0), data=DataConfig(sets=("-",))
    )
    material = Material(photos=list(samples))
    drawer = Drawer(config, material, EMBED)
    drawn = [drawer[entry].batch for entry in Plan(config, material).entries(epoch)]
    return [batch for batch in drawn if isinstance(batch, Batch)]


def test_seed_and_epoch_alone_decide_what_is_drawn(samples: list[Sample]) -> None:
    first, again, other = all_of(samples, 1), all_of(samples, 1), all_of(samples, 2)
    assert len(first) == -(-len(samples) // SMALL.batch)
    for one, same in zip(first, again, strict=True):
        for name in Batch.__dataclass_fields__:
            assert torch.equal(getattr(one, name), getattr(same, name))
    assert not torch.equal(first[0].pictures, other[0].pictures)


def test_batches_are_whole(samples: list[Sample]) -> None:
    for batch in all_of(samples, 3):
        count, _, height, width = batch.pictures.shape
        assert count == SMALL.batch
        assert (height, width) in ((96, 128), (128, 128), (128, 96))
        assert batch.prompts.shape == (count, SMALL.prompts, 128)
        assert batch.wanted.shape == (count * SMALL.prompts, 1, height // 4, width // 4)
        np.testing.assert_allclose(batch.wanted.sum((1, 2, 3)), 1, atol=1e-3)
        assert batch.heat.shape == (count, len(NAMES), height // 8, width // 8)
        assert batch.names.shape == (len(NAMES), 128)
        assert set(batch.present.unique().tolist()) <= {-1.0, 0.0, 1.0}
        assert bool((batch.heat.amax((2, 3))[batch.present == 0] == 0).all())
        assert bool((batch.heat.amax((2, 3))[batch.present == 1] > 0).all())
        assert float(batch.heat.max()) <= 1
        assert tuple(batch.words.shape) in ((count, 3), (count, 0))  # 0 where none is known
        assert all(bool(getattr(batch, n).isfinite().all()) for n in Batch.__dataclass_fields__)


def test_names_in_view_and_absent_are_told(samples: list[Sample]) -> None:
    drawing = BatchConfig(batch=1, scale=0.5, smallest_gaze_crop=0.999)
    (batch,) = all_of(samples[:1], 0, drawing)
    present = {name: float(batch.present[0, PLACE[name]]) for name in NAMES}
    assert (present["dog"], present["animal"]) == (1, 1)
    assert (present["bus"], present["vehicle"]) == (0, 0)
    assert present["cup"] == -1  # seen by the detector, but not clearly enough for a map


def test_words_kept_out_are_in_no_prompt_of_training() -> None:
    rng = np.random.default_rng(0)
    drawn = {word_for(name, rng) for name in NAMES for _ in range(200)}
    asked = {*drawn, *NAMES, *FREE_VIEWING, *KINDS, *TASKS}
    asked |= {word for words in (*SYNONYMS.values(), *TASKS.values()) for word in words}
    spoken = {word for text in asked for word in text.split()}
    assert not spoken & set(KEPT_OUT)
    assert len(drawn) > 2 * len(NAMES)


def test_names_and_words_fit_together() -> None:
    assert len(COCO_NAMES) == 80
    assert set(SYNONYMS) <= set(COCO_NAMES)
    assert set(KEPT_OUT.values()) <= set(COCO_NAMES)
    assert {name for general in GENERAL for name in children(general)} <= set(COCO_NAMES)
