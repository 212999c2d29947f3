"""The public code's losses, scores and stored maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aam_edge.model.released import losses, scoring
from tests.reference import Tensors, assert_near, below, reference

MEASURES = {"kldiv": losses.kld, "cc": losses.cc, "similarity": losses.sim}
CASES = (
    *("rand", "same", "pred_zero", "pred_const", "gt_zero", "gt_onehot", "both_const"),
    "three_dim",
)
ILL_CONDITIONED = ("pred_zero", "pred_const", "both_const")


@pytest.fixture(scope="module")
def expected(shared: Path) -> Tensors:
    return reference(shared, "b_losses")


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_the_public_code(expected: Tensors, case: str) -> None:
    truth = expected[f"{case}/gt"]
    for name, measure in MEASURES.items():
        prediction = expected[f"{case}/pred"].clone().requires_grad_()
        found = measure(prediction, truth)
        assert_near(found, expected[f"{case}/{name}"])
        found.backward()
        assert prediction.grad is not None
        rtol = 0.1 if case in ILL_CONDITIONED else 1e-4
        slopes = prediction.grad.abs().sum()
        torch.testing.assert_close(slopes, expected[f"{case}/{name}/gradabs"], rtol=rtol, atol=1e-6)
    combined = losses.task_loss(expected[f"{case}/pred"], truth)
    assert_near(torch.stack(combined), expected[f"{case}/combined"])


@pytest.mark.parametrize("case", ["normal", "wide", "anchor_zero"])
def test_hierarchy_is_that_of_the_public_code(expected: Tensors, case: str) -> None:
    given_ = below(expected, f"hae/{case}/")
    points = [given_[f"z_{part}"].clone().requires_grad_() for part in ("img", "txt", "anc")]
    image, text, anchor = points
    found = losses.hierarchy_loss(image, text, anchor, torch.tensor(0.8))
    assert_near(torch.stack(found), given_["contrast,ti,at,entail,weighted"])
    found.weighted.backward()
    slopes = torch.stack([p.grad.abs().sum() for p in points if p.grad is not None])
    # At the origin the anchor's slope is 7e7, of which rounding leaves two digits.
    rtol = 0.05 if case == "anchor_zero" else 1e-4
    torch.testing.assert_close(slopes, given_["gradabs_img,txt,anc"], rtol=rtol, atol=1e-5)


def test_scores_are_those_of_the_public_code(expected: Tensors) -> None:
    prediction, fixations = expected["rand/pred"], expected["fix"]
    constant = torch.full_like(prediction, 0.5)
    assert_near(scoring.nss(prediction, fixations), expected["nss/rand"])
    assert_near(scoring.nss(constant, fixations), expected["nss/const"])
    assert_near(scoring.nss(prediction, torch.zeros_like(fixations)), expected["nss/nofix"])
    assert_near(scoring.nss(expected["nss/lowres_pred"], fixations), expected["nss/lowres"])
    for name, maps in (("nojitter", prediction), ("const_nojitter", constant)):
        areas = [scoring.auc_judd(m[0], f[0]) for m, f in zip(maps, fixations, strict=True)]
        np.testing.assert_allclose(areas, expected[f"auc_judd/{name}"], atol=1e-6)


def test_stored_maps_are_those_of_the_public_code(expected: Tensors) -> None:
    grey = scoring.to_grey(expected["png/pred"][0])
    np.testing.assert_array_equal(grey, expected["png/uint8"])
    assert not scoring.to_grey(torch.full((5, 6), 0.3)).any()
    assert_near(scoring.smooth(expected["blur/in"]), expected["blur/out"], atol=1e-6)


maps = st.integers(0, 10_000).map(
    lambda seed: torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(seed))
)


@settings(max_examples=25)
@given(maps, maps, st.floats(0.1, 10.0))
def test_losses_see_no_scale_and_are_best_at_the_truth(a: Tensor, b: Tensor, scale: float) -> None:
    scaled, plain = losses.task_loss(scale * a, b), losses.task_loss(a, b)
    assert_near(torch.stack(scaled), torch.stack(plain), atol=1e-4, rtol=1e-4)
    assert_near(losses.task_loss(a, a).total, torch.tensor(-2.0), atol=1e-4)
    assert plain.total > -2 - 1e-4


def test_hierarchy_is_met_by_points_behind_each_other() -> None:
    straight = torch.zeros(1, 8)
    straight[0, 0] = 1.0
    found = losses.hierarchy_loss(3 * straight, 2 * straight, straight, torch.tensor(1.0))
    assert found.entail == 0
    assert found.contrast > 0
