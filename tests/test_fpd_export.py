"""The filter as a graph: the same numbers in ONNX Runtime, for any count and size of maps."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("onnxscript", reason="needs the extra [train]")

from torch import Tensor, nn

from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.fpd import Fpd, State, initial_state, normalise


class Filter(nn.Module):
    """Predict and correct as one graph."""

    def __init__(self) -> None:
        super().__init__()
        self.fpd = Fpd()

    def forward(
        self,
        luminance: Tensor,
        dt_s: Tensor,
        ego: Tensor,
        log_evidence: Tensor,
        log_variance: Tensor,
        beta: Tensor,
        *state: Tensor,
    ) -> State:
        predicted, _ = self.fpd.predict(State(*state), luminance, dt_s, ego)
        return self.fpd.correct(predicted, log_evidence, log_variance, beta)


def inputs(cameras: int, prompts: int, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
    """A turned camera, a picture that moved, a hole of NaN in the evidence."""
    generator = torch.Generator().manual_seed(seed)
    shape = cameras, prompts, height, width
    coarse = torch.rand(cameras, 1, height // 4, width // 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    ego = identity_ego(cameras)
    ego[:, 0, 1], ego[:, 1, 0], ego[:, 0, 2], ego[:, 2, 0] = -0.1, 0.1, 0.05, 0.02
    evidence = normalise(torch.randn(shape, generator=generator))
    evidence[0, 0, 2, 3] = math.nan
    state = initial_state(*shape)._replace(
        log_density=normalise(torch.randn(shape, generator=generator)),
        variance=torch.rand(shape, generator=generator),
        luminance=picture.roll(2, dims=3),
    )
    noise = torch.randn(shape, generator=generator)
    beta = 1 + 2 * torch.rand(cameras, prompts, generator=generator)
    return picture, torch.full((cameras,), 0.05), ego, evidence, noise, beta, *state


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """The filter exported once, with every size left open."""
    path: Path = tmp_path_factory.mktemp("graph") / "fpd.onnx"
    dim = torch.export.Dim
    cameras, prompts = dim("cameras", min=1, max=8), dim("prompts", min=1, max=8)
    rows, columns = dim("rows", min=3, max=64), dim("columns", min=3, max=64)
    maps = {0: cameras, 1: prompts, 2: 8 * rows, 3: 8 * columns}
    one = {0: cameras, 2: 8 * rows, 3: 8 * columns}
    drift = {0: cameras, 2: 2 * rows, 3: 2 * columns}
    alone = {0: cameras}
    shapes = (one, alone, alone, maps, maps, {0: cameras, 1: prompts}, (maps, maps, one, drift))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.export.export(Filter(), inputs(2, 3, 48, 64, 0), dynamic_shapes=shapes)
        graph = torch.onnx.export(program, dynamo=True, opset_version=20, verbose=False)
        assert graph is not None
        graph.save(path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow  # the exporter takes 40 s
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", [(1, 1, 48, 64), (1, 2, 48, 64), (2, 1, 32, 72)])
def test_exported_filter_gives_the_same_numbers(
    session: onnxruntime.InferenceSession, shape: tuple[int, int, int, int]
) -> None:
    given = inputs(*shape, seed=1)
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, (t.numpy() for t in given), strict=True)))
    for ours, theirs in zip(Filter()(*given), found, strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
