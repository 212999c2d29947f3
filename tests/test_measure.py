"""What is measured is what the reference of the shared data measures, with honest intervals."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.measure.gaze import read_gazes
from aam_edge.training.measure.map_folder import MapFolder, read_map
from aam_edge.training.measure.predictor import PictureModel
from aam_edge.training.measure.prior import GRID, read_prior
from aam_edge.training.measure.released import Released
from aam_edge.training.measure.run import CEILING, PRIOR, WHOLE_CEILING, SetScores, measure_set
from aam_edge.training.measure.scores import METRICS, intervals
from aam_edge.training.metrics import to_grid
from tests import corpus_trees as trees


@pytest.fixture(scope="module")
def reference(shared: Path) -> ModuleType:
    pytest.importorskip("PIL", reason="the reference needs Pillow")
    spec = importlib.util.spec_from_file_location("read", shared / "data" / "read.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["read"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def measure(spec: str, root: Path = Path(), split: str = "val") -> SetScores:
    scores = measure_set(spec, root, split, [], Skipped())
    assert scores is not None
    return scores


@pytest.mark.parametrize("name", ["fiwi_web", "interiors_search", "faces_video"])
def test_prior_and_ceilings_are_those_of_the_reference(
    name: str, shared: Path, reference: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its table has three decimals; one is a mean over photos, one a clip every half second."""
    folder = shared / "data" / name
    reference.report(str(folder))
    head, _, *lines = capsys.readouterr().out.splitlines()
    scores = measure(f"native:{folder}")
    assert f" {len(scores.where)} items" in head
    assert len(lines) == 3
    for line, who in zip(lines, (PRIOR, CEILING, WHOLE_CEILING), strict=True):
        expected = np.array(line[21:].split(), float)
        rows = np.array(scores.rows[who])[:, : len(expected)]
        ours = np.nanmean(rows, axis=0)
        np.testing.assert_allclose(ours, expected, atol=6e-4)


@pytest.mark.parametrize("shape", [(24, 32), (96, 128), (300, 448), (97, 61)])
def test_maps_come_to_the_grid_as_in_the_reference(
    shape: tuple[int, int], reference: ModuleType
) -> None:
    drawn = np.random.default_rng(0).gamma(0.3, size=shape)
    ours = to_grid(drawn, (72, 128))
    np.testing.assert_allclose(ours, reference.to_grid(drawn, (72, 128)), rtol=1e-4)


def test_own_photo_is_left_out_of_the_prior_of_its_own_split(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "discs")
    gazes = read_gazes(f"native:{folder}", Path(), "train", Skipped())
    prior = read_prior(f"native:{folder}", Path(), "train", gazes, Skipped())
    for gaze in gazes:
        rest = [other.density(GRID) for other in gazes if other is not gaze]
        left = prior.density(gaze.item, GRID)
        np.testing.assert_allclose(left, np.mean(rest, axis=0), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30))
def test_interval_holds_the_mean_and_shrinks_with_more_photos(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 2))
    names = [str(i) for i in range(count)]
    (mean, low, high), _ = intervals(rows, names, 500)
    assert mean == pytest.approx(rows[:, 0].mean())
    assert low <= mean <= high
    (_, few, many), _ = intervals(np.tile(rows, (4, 1)), [str(i) for i in range(4 * count)], 500)
    assert many - few <= (high - low) * 0.75 + 1e-9


def test_rows_of_one_photo_are_no_independent_evidence() -> None:
    rows = np.repeat(np.arange(4.0)[:, None], 50, axis=0)
    together = intervals(rows, [str(i // 50) for i in range(200)])[0]
    apart = intervals(rows, [str(i) for i in range(200)])[0]
    assert together[0] == apart[0] == 1.5
    assert together[2] - together[1] > 4 * (apart[2] - apart[1])


def test_what_was_not_measured_is_no_number_and_the_rest_counts() -> None:
    rows = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    first, second = intervals(rows, ["a", "b", "c"])
    assert first[0] == 2
    assert np.isnan(second).all()


def test_video_is_looked_at_every_half_second(tmp_path: Path) -> None:
    trees.whole_corpus_part(tmp_path)
    gazes = read_gazes("DIEM", tmp_path, "val", Skipped())
    # 14 frames at 25 a second: at 0.5 s frame 12 is on the screen.
    assert [gaze.item.moments[gaze.index].number for gaze in gazes] == [12]
    assert len(gazes[0].points) == 1


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return trees.native_set(tmp_path / "discs")


def maps_for(folder: Path, names: list[str], suffix: str = ".npy") -> Path:
    folder.mkdir(parents=True)
    for name in names:
        drawn = trees.saliency_map(int(name[-1]))
        if suffix == ".npy":
            np.save(folder / f"{name}{suffix}", drawn)
        else:
            cv2.imwrite(str(folder / f"{name}{suffix}"), drawn)
    return folder


@pytest.mark.parametrize("suffix", [".npy", ".png", ".jpg.npy", ".map.png"])
def test_maps_of_another_model_are_found_by_the_photos_name(
    discs: Path, tmp_path: Path, suffix: str
) -> None:
    names = ["p0", "p1", "p2"]
    kind = ".npy" if suffix.endswith(".npy") else ".png"
    folder = maps_for(tmp_path / "maps" / "deep", [f"{n}" for n in names], kind)
    for name in names:
        (folder / f"{name}{kind}").rename(folder / f"{name}{suffix}")
    rival = MapFolder("rival", tmp_path / "maps")
    scores = measure_set(f"native:{discs}", Path(), "train", [rival], Skipped())
    assert scores is not None
    assert np.mean([row[0] for row in scores.rows["rival"]]) > 0.6  # the map is on the disc
    assert np.isfinite(scores.rows["rival"]).all()


def test_photo_without_a_map_is_left_out_for_all(discs: Path, tmp_path: Path) -> None:
    rival = MapFolder("rival", maps_for(tmp_path / "maps", ["p0", "p2"]))
    skipped = Skipped()
    flat = PictureModel("flat", lambda image: np.ones((3, 4)))
    scores = measure_set(f"native:{discs}", Path(), "train", [flat, rival], skipped)
    assert scores is not None
    assert scores.stimuli == ["p0", "p2"]
    assert {len(rows) for rows in scores.rows.values()} == {2}
    assert skipped.reasons == {"photo has no map": 1}
    assert "p1" in skipped.names[0][0]
    assert scores.rows["flat"][0][list(METRICS).index("sAUC")] == 0.5


def test_map_for_a_prompt_lies_in_a_folder_of_its_words(tmp_path: Path) -> None:
    folder = trees.native_set(tmp_path / "tasks", ("free viewing", "search for the cup"))
    maps = maps_for(tmp_path / "maps" / "search-for-the-cup", ["p3"])
    np.save(tmp_path / "maps" / "p3.npy", np.ones((24, 32)))
    assert maps.is_dir()
    rival = MapFolder("rival", tmp_path / "maps" / "")
    assert rival.follows("tasks", ["search for the cup"])
    with pytest.raises(DataError, match="several maps fit a photo"):
        measure_or_raise(folder, rival)
    (tmp_path / "maps" / "free-viewing").mkdir()
    (tmp_path / "maps" / "p3.npy").rename(tmp_path / "maps" / "free-viewing" / "p3.npy")
    scores = measure_set(f"native:{folder}", Path(), "val", [rival2(tmp_path)], Skipped())
    assert scores is not None
    by_prompt = dict(zip(scores.prompts, scores.rows["rival"], strict=True))
    assert by_prompt["free viewing"][0] == 0
    assert by_prompt["search for the cup"][0] > 0.6
    other = dict(zip(scores.prompts, scores.rows["rival, another prompt"], strict=True))
    assert other["search for the cup"][0] == 0


def rival2(tmp_path: Path) -> MapFolder:
    return MapFolder("rival", tmp_path / "maps")


def measure_or_raise(folder: Path, rival: MapFolder) -> None:
    for gaze in read_gazes(f"native:{folder}", Path(), "val", Skipped()):
        next(rival.look(gaze.item, [0], [gaze.item.prompt]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "map is not (h, w)"),
        (b"no picture", "map is not"),
        (None, "map does not fit its picture"),
        (np.full((24, 32), np.nan), "map is not (h, w) of numbers"),
        (np.ones((3, 24, 32)), "map is not (h, w) of numbers"),
    ],
)
def test_map_that_is_none_is_named(
    discs: Path, tmp_path: Path, content: bytes | NDArray[np.float64] | None, words: str
) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    if isinstance(content, bytes):
        (folder / "p3.png").write_bytes(content)
    else:
        np.save(folder / "p3.npy", np.ones((10, 64)) if content is None else content)
    rival = MapFolder("rival", folder)
    with pytest.raises(DataError) as problem:
        measure_or_raise(discs, rival)
    assert str(problem.value).startswith(words)
    assert "p3" in str(problem.value)


def test_pictures_of_16_bit_keep_their_depth(tmp_path: Path) -> None:
    deep = np.arange(0, 60_000, 1000, dtype=np.uint16).reshape(6, 10)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    np.testing.assert_array_equal(read_map(tmp_path / "a.png"), deep)


class StandIn:
    """Speaks as a released network does: the brightness of pictures, and it counts a clip."""

    def forward_image(self, images: NDArray[np.uint8], text: str) -> NDArray[np.float32]:
        seen = np.asarray(images, np.float32).mean(axis=3)
        return np.asarray(seen if text == "free viewing" else 255 - seen, np.float32)

    def init_state(self) -> list[int]:
        return []

    def step(self, frame: NDArray[np.uint8], text: str, state: list[int]) -> NDArray[np.float32]:
        state.append(len(state))
        spot = np.zeros((24, 32), np.float32)
        spot[12, len(state)] = 1
        return spot


def test_released_network_is_asked_by_prompt_and_streams_clips(tmp_path: Path) -> None:
    tasks = trees.native_set(tmp_path / "tasks", ("free viewing", "search for the cup"))
    released = Released("released-s", StandIn())
    scores = measure_set(f"native:{tasks}", Path(), "val", [released], Skipped())
    assert scores is not None
    right, other = (dict(zip(scores.prompts, scores.rows[name], strict=True)) for name in
                    ("released-s", "released-s, another prompt"))  # fmt: skip
    assert right["free viewing"][0] == pytest.approx(other["search for the cup"][0], abs=0.1)
    assert right["free viewing"][0] != right["search for the cup"][0]
    trees.whole_corpus_part(tmp_path)
    (gaze,) = read_gazes("DIEM", tmp_path, "val", Skipped())
    ((answer,),) = released.look(gaze.item, [gaze.index], ["free viewing"])
    row, column = np.unravel_index(answer.density.argmax(), answer.density.shape)
    assert (int(row), int(column)) == (12, gaze.index + 1)  # every frame up to it was seen
    assert 0 < answer.density.max() < 0.1  # blurred as the public code does
