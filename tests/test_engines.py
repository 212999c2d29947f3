"""Engines run the same network: same frames in, same densities out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.engine.catalog import choose_engine, is_installed, open_backend
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.errors import ModelError, UsageError
from aam_edge.messages import Frame, Observation

FRAMES = 50
Frames = Callable[[int], Frame]


def densities(engine: str, precision: str, frames: Frames, prompts: int = 1) -> NDArray[np.float32]:
    session = Session(open_backend(find_package("nano"), engine, precision), ["a"] * prompts)
    steps = (session.step(Observation(frames(i))) for i in range(FRAMES))
    return np.array([[reading.density for reading in step] for step in steps])


@pytest.fixture(scope="module")
def reference(moving_frame: Frames) -> NDArray[np.float32]:
    pytest.importorskip("torch", reason="needs the extra [torch]")
    return densities("eager", "f32", moving_frame)


def test_onnx_gives_what_torch_gives(reference: NDArray[np.float32], moving_frame: Frames) -> None:
    np.testing.assert_allclose(densities("onnx", "f32", moving_frame), reference, atol=1e-6)
    relative = np.abs(np.log(densities("onnx", "f32", moving_frame) / reference))
    assert relative.max() < 1e-3  # of the smallest cells, too


@pytest.mark.skipif(not is_installed("openvino"), reason="needs the extra [openvino]")
def test_openvino_in_single_precision_gives_what_torch_gives(
    reference: NDArray[np.float32], moving_frame: Frames
) -> None:
    np.testing.assert_allclose(densities("openvino", "f32", moving_frame), reference, atol=1e-6)


@pytest.mark.skipif(not is_installed("openvino"), reason="needs the extra [openvino]")
def test_openvino_in_half_precision_correlates_with_torch(
    reference: NDArray[np.float32], moving_frame: Frames
) -> None:
    try:
        found = densities("openvino", "bf16", moving_frame)
    except ModelError as problem:
        pytest.skip(str(problem))
    for half, whole in zip(found, reference, strict=True):
        assert np.corrcoef(half.ravel(), whole.ravel())[0, 1] > 0.995


def test_density_sums_to_one_and_is_positive_in_every_engine(moving_frame: Frames) -> None:
    for engine in ("onnx", "openvino", "eager"):
        if is_installed(engine):
            found = densities(engine, "auto", moving_frame)
            np.testing.assert_allclose(found.sum((2, 3), dtype=np.float64), 1, atol=1e-5)
            assert found.min() > 0


def test_second_prompt_does_not_change_the_first(moving_frame: Frames) -> None:
    alone = densities("onnx", "f32", moving_frame)
    together = densities("onnx", "f32", moving_frame, prompts=2)
    np.testing.assert_allclose(together[:, :1], alone, atol=1e-7)


def test_auto_chooses_an_engine_that_is_installed() -> None:
    assert is_installed(choose_engine())


def test_unknown_engine_or_precision_is_refused() -> None:
    package = find_package("nano")
    with pytest.raises(UsageError, match=r"unknown engine \(cuda\): give auto, openvino"):
        open_backend(package, "cuda")
    with pytest.raises(UsageError, match=r"unknown precision \(f8\)"):
        open_backend(package, "onnx", "f8")
    with pytest.raises(ModelError, match=r"engine has no bf16 \(onnx\)"):
        open_backend(package, "onnx", "bf16")
