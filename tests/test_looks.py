"""Ways of viewing moved apart before they teach (tools/looks)."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

TOOL = Path(__file__).resolve().parents[1] / "tools" / "looks.py"
LOGS = arrays(np.float64, (3, 4, 5), elements=st.floats(-12, 0))
BY = st.floats(0, 2)


@pytest.fixture(scope="module")
def looks() -> ModuleType:
    loader = SourceFileLoader("looks", str(TOOL))
    spec = spec_from_loader("looks", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@given(logs=LOGS, by=BY)
def test_apart_keeps_the_mean_and_stretches_what_lies_between(
    looks: ModuleType, logs: NDArray[np.float64], by: float
) -> None:
    told = looks.apart(logs, by)
    np.testing.assert_allclose(told.mean(0), logs.mean(0), atol=1e-9)
    np.testing.assert_allclose(told[0] - told[1], (1 + by) * (logs[0] - logs[1]), atol=1e-9)


@given(logs=LOGS, by=BY)
def test_away_leaves_the_other_where_it_is(
    looks: ModuleType, logs: NDArray[np.float64], by: float
) -> None:
    one, other = logs[0], logs[1]
    np.testing.assert_allclose(looks.away(one, one, by), one)
    moved = looks.away(one, other, by) - other
    np.testing.assert_allclose(moved, (1 + by) * (one - other), atol=1e-9)


@given(logs=LOGS)
def test_what_is_stored_has_its_peak_at_full_scale(
    looks: ModuleType, logs: NDArray[np.float64]
) -> None:
    stored = looks.as_stored(logs[0])
    assert stored.dtype == np.uint8
    assert stored.max() == 255
    assert stored.flat[logs[0].argmax()] == 255
