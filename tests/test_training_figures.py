"""Losses and figures of search have their known values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from torch import Tensor

from aam_edge.model.native.decoder import Evidence
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training import losses
from aam_edge.training.evaluate_search import (
    Boxes,
    box_mask,
    calibration_error,
    chance_above,
    evaluate_search,
)
from aam_edge.training.measure.found import ABSENT_NAMES, Tally, questions
from aam_edge.training.objective import absence_weights

CHANNELS = {"cup": 0, "mug": 0, "dog": 1, "puppy": 1, "bus": 2}
"""What a thing's colour is."""


def peaked() -> Tensor:
    """(1, 1, 4, 4), nearly all in one cell."""
    wanted: Tensor = torch.zeros(1, 1, 4, 4)
    wanted[0, 0, 1, 2] = 1
    return wanted


def uniform() -> Tensor:
    density: Tensor = torch.full((1, 1, 4, 4), 1 / 16)
    return density


def test_losses_of_a_perfect_density() -> None:
    log_density = (peaked() + 1e-9).log()
    assert float(losses.kld(log_density, peaked())) == pytest.approx(0, abs=1e-6)
    assert float(losses.cc(log_density, peaked())) == pytest.approx(1, abs=1e-5)
    assert float(losses.sim(log_density, peaked())) == pytest.approx(1, abs=1e-5)
    assert float(losses.gaze_loss(log_density, peaked())) == pytest.approx(-2, abs=1e-5)


def test_losses_of_a_density_that_looks_nowhere() -> None:
    log_density = uniform().log()
    assert float(losses.kld(log_density, peaked())) == pytest.approx(math.log(16), abs=1e-5)
    assert float(losses.cc(log_density, peaked())) == pytest.approx(0, abs=1e-5)
    assert float(losses.sim(log_density, peaked())) == pytest.approx(1 / 16)


def test_variance_is_best_where_it_is_the_squared_error_and_moves_itself_alone() -> None:
    log_density = uniform().log().requires_grad_()
    error = (2 * uniform() + 1e-6).log() - (uniform() + 1e-6).log()
    best = error.square().log()
    at = [float(losses.variance_loss(log_density, best + d, 2 * uniform())) for d in (-0.3, 0, 0.3)]
    assert at[1] < min(at[0], at[2])
    log_variance = best.clone().requires_grad_()
    losses.variance_loss(log_density, log_variance, 2 * uniform()).sum().backward()
    assert log_density.grad is None
    assert log_variance.grad is not None
    np.testing.assert_allclose(log_variance.grad, 0, atol=1e-6)


def test_heat_that_is_found_costs_nothing_and_what_is_missed_does() -> None:
    heat = torch.zeros(1, 2, 4, 4)
    heat[0, 0, 1, 1] = 1
    right = 40 * heat - 20
    assert float(losses.heat_loss(right, heat)) < 1e-6
    assert float(losses.heat_loss(-right, heat)) > 1
    assert float(losses.heat_loss(torch.zeros_like(heat), torch.zeros_like(heat))) > 0
    one = torch.zeros(1, 1, 1, 1)
    # A positive at even odds: 1/4 log 2.
    assert float(losses.heat_loss(one, one + 1)) == pytest.approx(0.25 * math.log(2))


def test_presence_tells_in_view_and_absent_apart_and_leaves_the_unknown() -> None:
    chances = torch.tensor([[1.0, 1, 0, 0, 0, -1]])
    even, weight = torch.zeros(1, 6, requires_grad=True), torch.ones(6)
    there, absent = losses.presence_loss(even, chances, weight)
    assert float(there.detach()) == pytest.approx(2 * math.log(2))
    assert float(absent.detach()) == pytest.approx(3 * math.log(2))
    (there / 2 + absent / 3).backward()
    assert even.grad is not None
    third = 1 / 6
    np.testing.assert_allclose(even.grad, [[-0.25, -0.25, third, third, third, 0]], atol=1e-6)
    unknown = losses.presence_loss(torch.ones(1, 6), torch.full((1, 6), -1.0), weight)
    assert [float(part) for part in unknown] == [0, 0]


def test_presence_that_is_not_certain_counts_as_both() -> None:
    there, absent = losses.shares_of_presence(torch.tensor([[0.75, 0.25]]), torch.tensor([1.0, 2]))
    assert there.tolist() == [[0.75, 0.25]]
    assert absent.tolist() == [[0.25, 1.5]]


def test_absence_of_what_most_photos_hold_counts_more() -> None:
    usual = torch.tensor([0.5, 0.1, 0.01])
    even = absence_weights(usual, 1.0)
    torch.testing.assert_close(even / even[0], usual / (1 - usual))
    half = absence_weights(usual, 0.5)
    torch.testing.assert_close((half / half[0]).square(), even / even[0])
    assert absence_weights(usual, 0.0).tolist() == [1, 1, 1]
    assert float(half.mean()) == pytest.approx(1)


def test_words_count_where_they_are_known() -> None:
    words = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0, 0]])  # of the second nothing is known
    assert float(losses.words_loss(torch.zeros(2, 4), words)) == pytest.approx(math.log(4))
    sure = torch.tensor([[20.0, 20, 0, 0], [0, 0, 9, 0]])
    assert float(losses.words_loss(sure, words)) == pytest.approx(math.log(2), abs=1e-5)
    assert float(losses.words_loss(sure, torch.zeros(2, 4))) == 0


def test_names_compete_for_hot_cells_and_cells_for_names_in_view() -> None:
    heat = torch.zeros(1, 3, 4, 4)
    heat[0, 1, 2, 2] = 1
    present = torch.tensor([[0.0, 1, -1]])
    even = torch.zeros_like(heat)
    assert float(losses.naming_loss(even, heat)) == pytest.approx(math.log(3))
    assert float(losses.placing_loss(even, heat, present)) == pytest.approx(math.log(16))
    assert float(losses.naming_loss(50 * heat, heat)) == pytest.approx(0, abs=1e-5)
    assert float(losses.placing_loss(50 * heat, heat, present)) == pytest.approx(0, abs=1e-5)
    assert float(losses.naming_loss(even, 0.3 * heat)) == 0  # nothing is hot
    assert float(losses.placing_loss(even, heat, 0 * present)) == 0


@pytest.mark.parametrize(
    ("chance", "happened", "error"),
    [
        ([0.8] * 5, [1, 1, 1, 1, 0], 0.0),
        ([0.8] * 5, [1] * 5, 0.2),
        ([0.95, 0.05], [0, 1], 0.95),
        ([1.0, 0.0], [1, 0], 0.0),
        ([0.61, 0.69], [1, 0], 0.15),  # of one bin: they make up for each other
    ],
)
def test_calibration_error_of_known_cases(
    chance: list[float], happened: list[float], error: float
) -> None:
    even = np.ones(len(chance))
    found = calibration_error(np.array(chance), np.array(happened), even)
    assert found == pytest.approx(error)
    assert calibration_error(np.array(chance), np.array(happened), 7 * even) == pytest.approx(found)


def test_calibration_error_counts_by_weight() -> None:
    chance, happened = np.array([0.75, 0.25]), np.array([1.0, 1.0])
    assert calibration_error(chance, happened, np.array([3.0, 1])) == pytest.approx(0.375)


def test_chance_above_counts_ties_as_one_half() -> None:
    assert chance_above(np.array([2.0, 3]), np.array([0.0, 1])) == 1
    assert chance_above(np.array([1.0]), np.array([1.0])) == 0.5
    assert chance_above(np.array([0.0, 2]), np.array([1.0])) == 0.5


def test_boxes_cover_the_cells_under_them() -> None:
    expected = np.zeros((4, 8), bool)
    expected[:2, 2:4] = True
    expected[2, 6] = True  # a tiny one has a cell too
    mask = box_mask([[0.25, 0, 0.5, 0.5], [0.76, 0.51, 0.77, 0.52]], (4, 8))
    np.testing.assert_array_equal(mask, expected)


class Oracle(NativeNetwork):
    """Sees colours, so it knows where everything is, and whether."""

    def observe(self, picture: Tensor, prompt: Tensor) -> Evidence:
        small = torch.nn.functional.avg_pool2d(picture, 4)
        seen = small[:, prompt[0].argmax(1)].transpose(0, 1)  # (N, 1, h, w)
        log_density = seen / 20
        log_density = log_density - log_density.logsumexp(dim=(2, 3), keepdim=True)
        presence = torch.where(seen.amax((1, 2, 3)) > 200, 12.0, -12.0)
        return Evidence(log_density, torch.zeros_like(log_density), presence, presence)


class Blind(NativeNetwork):
    """Looks at the middle, whatever is asked, and never knows."""

    def observe(self, picture: Tensor, prompt: Tensor) -> Evidence:
        count, (height, width) = prompt.shape[1], (n // 4 for n in picture.shape[2:])
        log_density = torch.full((count, 1, height, width), -math.log(height * width))
        log_density[:, :, height // 2, width // 2] += 0.01
        nothing = torch.zeros(count)
        return Evidence(log_density, torch.zeros_like(log_density), nothing, nothing)


def embed(prompt: str) -> NDArray[np.float32]:
    vector = np.zeros(128, np.float32)
    vector[CHANNELS[prompt.removeprefix("search for ")]] = 1
    return vector


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Boxes]]:
    """Cups, dogs and buses in their colours, at the left and at the right, none in the middle."""
    folder, found = tmp_path_factory.mktemp("photos"), []
    for i, names in enumerate((("cup",), ("dog",), ("cup", "dog"), ("bus",), ("dog", "bus"))):
        image, boxes = np.zeros((120, 160, 3), np.uint8), {}
        for name, x in zip(names, (0.125, 0.6875), strict=False):
            rows, columns = slice(30, 60), slice(round(160 * x), round(160 * x) + 30)
            image[rows, columns, CHANNELS[name]] = 255
            boxes[name] = [[x, 0.25, x + 0.1875, 0.5]]
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), image)
        found.append((path, boxes))
    return found


def test_network_that_knows_everything_has_perfect_figures(
    photos: list[tuple[Path, Boxes]],
) -> None:
    figures = evaluate_search(Oracle(), photos, embed, pixels=96 * 128)
    assert figures["n"] == 7
    for name in ("peak", "named", "synonym", "presence_auc"):
        assert figures[name] == 1, name
    assert figures["pixel_auc"] > 0.97
    assert figures["presence_error"] == pytest.approx(0, abs=1e-3)
    assert json.dumps(figures)


def test_network_that_is_blind_has_those_of_chance(photos: list[tuple[Path, Boxes]]) -> None:
    figures = evaluate_search(Blind(), photos, embed, pixels=96 * 128)
    for name in ("peak", "other", "named", "synonym", "presence_error"):
        assert figures[name] == 0, name
    assert figures["pixel_auc"] == pytest.approx(0.5, abs=0.01)
    assert figures["presence_auc"] == 0.5


def test_photo_is_asked_for_several_absent_names_each_once() -> None:
    names = ["cup", *map(str, range(20))]
    boxes = {"cup": [[0.5, 0.5, 1.0, 1.0]]}
    asked = questions(boxes, names, np.random.default_rng(0))
    assert asked is not None
    assert asked.names() == ["cup", *asked.absent, "mug"]
    assert len(set(asked.absent)) == ABSENT_NAMES
    assert set(asked.absent) < set(names) - {"cup"}
    few = questions(boxes, ["cup", "dog"], np.random.default_rng(0))
    assert few is not None
    assert few.absent == ["dog"]
    assert questions(boxes, ["cup"], np.random.default_rng(0)) is None


def test_other_is_the_share_of_absent_names_that_find_the_thing() -> None:
    boxes = {"cup": [[0.5, 0.5, 1.0, 1.0]]}
    asked = questions(boxes, ["cup", "dog", "bus", "cat", "bed"], np.random.default_rng(0))
    assert asked is not None
    on_it, beside_it = np.zeros((2, 4, 4), np.float32)
    on_it[3, 3] = beside_it[0, 0] = 1
    maps = [on_it if name in ("cup", "dog") else beside_it for name in asked.names()]
    chances = [0.9 if name == "cup" else 0.2 for name in asked.names()]
    tally = Tally()
    asked.add_to(tally, "photo", maps, chances)
    figures = tally.figures()
    assert figures["peak"][0] == 1
    assert figures["other"][0] == 0.25
    assert figures["presence_auc"][0] == 1
    assert figures["presence_error"][0] == pytest.approx((0.1 + 0.2) / 2)
    assert tally.absent == [0.2] * 4
