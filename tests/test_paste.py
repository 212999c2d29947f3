"""Copy-paste: where a thing is laid, what is known of the picture then, and what is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from aam_edge.errors import UsageError
from aam_edge.training.batch import PLACE, UNKNOWN, BatchConfig, Scene
from aam_edge.training.corpus.item import Item, Moment, Thing
from aam_edge.training.paste import SIDES, Cuttings, cut_out, is_clear, paste
from aam_edge.training.prompts import COCO_NAMES, NAMES
from aam_edge.training.sample import Sample
from aam_edge.training.search_data import found_boxes, read_photos
from tests.test_training_data import all_of, tiny_tree

ROWS, COLUMNS = 96, 128
RED = np.array([0, 0, 255], np.uint8)


def grey_scene() -> Scene:
    picture = np.full((ROWS, COLUMNS, 3), 128, np.uint8)
    scene = Scene(picture, absent=frozenset(NAMES))
    scene.densities = [("free viewing", np.ones((ROWS // 4, COLUMNS // 4), np.float32), 1.0, 0)]
    scene.chances = np.zeros(len(NAMES), np.float32)
    return scene


@pytest.mark.parametrize("seed", range(8))
def test_heat_is_where_the_thing_was_laid(seed: int) -> None:
    scene = grey_scene()
    paste(scene, "cup", np.broadcast_to(RED, (60, 40, 3)).copy(), np.random.default_rng(seed))
    is_red = scene.picture[:, :, 2].astype(int) - scene.picture[:, :, 1] > 100
    size = np.sqrt(is_red.mean())
    assert 0.7 * SIDES[0] < size < SIDES[1]
    row, column = (4 * (i + 0.5) for i in np.unravel_index(
        scene.things["cup"].argmax(), scene.things["cup"].shape
    ))  # fmt: skip
    middle = np.argwhere(is_red).mean(0)
    assert np.abs(middle - (row, column)).max() < 4
    assert scene.things["cup"].max() > 150


def test_names_of_it_and_above_it_are_in_view() -> None:
    scene = grey_scene()
    paste(scene, "cup", np.zeros((30, 30, 3), np.uint8), np.random.default_rng(0))
    above = {"cup", "tableware", "container"}
    assert set(scene.things) == above
    assert {name for name in NAMES if scene.chances[PLACE[name]] == 1} == above
    assert scene.absent == frozenset(NAMES) - above
    assert scene.densities == []  # where people would look now, nobody knows


def test_what_is_hidden_may_be_there_or_not() -> None:
    scene = grey_scene()
    heat = np.zeros((ROWS // 4, COLUMNS // 4), np.float32)
    heat[12, 16] = 255
    seen = 0
    for seed in range(60):
        scene.things = {"dog": heat.copy()}
        scene.chances[PLACE["dog"]] = 1
        paste(scene, "cup", np.zeros((90, 90, 3), np.uint8), np.random.default_rng(seed))
        is_left = scene.things["dog"][12, 16] > 64
        assert scene.chances[PLACE["dog"]] == (1 if is_left else UNKNOWN)
        seen += is_left
    assert 0 < seen < 60


def test_names_are_drawn_alike_and_only_single_things_within_a_photo() -> None:
    sample = Sample(np.zeros((100, 100, 3), np.uint8))
    sample.boxes = [("cup", (0.1, 0.1, 0.4, 0.4)), ("cup", (0.5, 0.5, 0.8, 0.9))]
    sample.boxes += [("bus", (0.0, 0.0, 1.0, 1.0)), ("thing", (0.1, 0.1, 0.4, 0.4))]
    listed = [Thing("dog", (0.0, 0.0, 0.5, 0.5)), Thing("cat", None)]
    listed += [
        Thing("puppy", (0.5, 0.0, 1.0, 0.5)),
        Thing("cow", (0.0, 0.0, 0.5, 0.5), is_crowd=True),
    ]
    item = Item("COCO", "1", "train", "image", "", (Moment(Path("1.jpg")),), things=tuple(listed))
    cuttings = Cuttings([sample, item])
    assert len(cuttings) == 4
    rng = np.random.default_rng(0)
    drawn = [cuttings.draw(rng) for _ in range(200)]
    assert {(name, number) for name, number, _ in drawn} == {("cup", 0), ("dog", 1)}
    assert 70 < sum(name == "dog" for name, *_ in drawn) < 130
    assert len({box for *_, box in drawn}) == 4


def test_a_box_is_cut_out_whole_and_needs_pixels() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[30:60, 20:101] = 255
    cut = cut_out(image, (0.1, 0.3, 0.501, 0.6))
    assert cut.shape == (30, 81, 3)
    assert cut.min() == 255
    assert is_clear(cut)
    assert not is_clear(cut_out(image, (0.1, 0.3, 0.5, 0.49)))


def test_boxes_of_labels_and_of_a_sure_detector_are_cut(tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path)
    table = dict(np.load(tree / "heat.npz"))
    table |= {"box_map": np.array([0, 0]), "box_score": np.array([0.9, 0.3])}
    table["box"] = np.array([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.4, 0.4]])
    assert COCO_NAMES[table["name"][0]] == "dog"
    assert found_boxes(table) == {0: [("dog", (0.1, 0.1, 0.5, 0.5))]}
    np.savez(tree / "heat.npz", **table)
    samples = read_photos(tree, tree / "heat.npz")
    assert [name for name, _ in samples[0].boxes] == ["dog"]
    assert {name for s in samples for name, _ in s.boxes} == {"cup", "person", "dog"}


@pytest.mark.parametrize("name", ["pasted", "mosaics"])
def test_parts_are_within_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"drawing.{name}=25.*give 0 to 1"):
        BatchConfig(**{name: 25})


def test_photos_nobody_looked_at_get_things(tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path)
    samples = read_photos(tree, tree / "heat.npz", tree / "words.npz")
    for sample in samples:
        if not sample.has_people:
            sample.boxes = [("zebra", (0.2, 0.2, 0.6, 0.6))]
    plain = all_of(samples, 0)
    pasted = all_of(samples, 0, BatchConfig(batch=4, scale=0.5, mosaics=0.5, pasted=1.0))
    zebra = PLACE["zebra"]

    def in_view(batches: list) -> int:  # type: ignore[type-arg]
        return sum(int((batch.present[:, zebra] == 1).sum()) for batch in batches)

    looked_at = sum(sample.has_people for sample in samples)
    assert in_view(plain) == 0
    pictures = sum(len(batch.pictures) for batch in pasted)
    assert pictures - looked_at - 1 <= in_view(pasted) <= pictures - looked_at
