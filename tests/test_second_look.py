"""A closer look at a part of the picture: what it may change, when it comes, in each engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aam_edge
from aam_edge.config import GazeConfig, ModelConfig, load_config
from aam_edge.engine.package import find_package, packaged_folder
from aam_edge.errors import ModelError, UsageError
from aam_edge.messages import Frame
from aam_edge.model_api import Model, Stream
from aam_edge.readout.closer import next_box
from aam_edge.snapshot import pack_snapshot, unpack_snapshot
from tests.conftest import FRAME_NS, START_NS, scene
from tests.program import Program

FOVEATE = GazeConfig(foveate=True)
HAS_GRAPH = find_package("nano").look is not None
ENGINE = "onnx" if HAS_GRAPH else "eager"
needs_graph = pytest.mark.skipif(not HAS_GRAPH, reason="nano has no graph for second looks yet")


def model_of(engine: str = ENGINE, name: str = "nano") -> Model:
    return Model(ModelConfig(name=name, engine=engine, precision="f32"), gaze=FOVEATE)


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of()


def frame_of(k: int, camera: str = "0") -> Frame:
    return Frame(scene(k), START_NS + k * FRAME_NS, camera, k)


@given(
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.integers(32, 2000),
    st.integers(32, 2000),
    st.floats(0.1, 1),
)
def test_box_has_its_size_and_lies_in_the_picture_around_the_gaze(
    place: tuple[float, float], width: int, height: int, part: float
) -> None:
    config = GazeConfig(foveate=True, foveate_part=part)
    box = next_box(config, 1, [place], (width, height))
    assert box is not None
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left, bottom - top) == (round(part * width), round(part * height))
    x, y = (place[0] + 1) / 2 * width, (place[1] + 1) / 2 * height
    assert left - 1 <= x <= right + 1
    assert top - 1 <= y <= bottom + 1


def test_each_nth_step_looks_closer_for_one_prompt_after_the_other() -> None:
    every_third = GazeConfig(foveate=True, foveate_every=3)
    left, right = (-0.5, 0.0), (0.5, 0.0)
    boxes = [next_box(every_third, k, [left, right], (640, 480)) for k in range(12)]
    assert [k for k, box in enumerate(boxes) if box] == [2, 5, 8, 11]
    middles = [(box[0] + box[2]) / 2 for box in boxes if box]
    assert middles == [160, 480, 160, 480]
    assert next_box(GazeConfig(), 1, [left], (640, 480)) is None
    assert next_box(FOVEATE, 1, [None], (640, 480)) is None
    assert next_box(FOVEATE, 1, [], (640, 480)) is None


def test_second_looks_change_the_map_and_are_off_by_default(model: Model) -> None:
    plain = aam_edge.load(engine=ENGINE, precision="f32").stream(["search for ball"])
    closer = model.stream(["search for ball"])
    for k in range(6):
        one, two = plain.step(frame_of(k))[0], closer.step(frame_of(k))[0]
        if k < 1:
            np.testing.assert_array_equal(one.density, two.density)
        assert two.density.sum() == pytest.approx(1, abs=1e-5)
        assert two.density.min() > 0
    assert np.abs(one.density - two.density).sum() > 1e-3


def step_all(stream: Stream, ids: range) -> list[aam_edge.Attention]:
    return [stream.step(frame_of(k))[0] for k in ids]


def test_snapshot_goes_on_bit_for_bit_with_the_same_looks(model: Model) -> None:
    for count in (2, 3, 4):
        stream, other = (model.stream(["search for ball"]) for _ in range(2))
        step_all(stream, range(count))
        other.restore(unpack_snapshot(pack_snapshot(stream.state())))
        for one, two in zip(
            step_all(stream, range(count, count + 5)),
            step_all(other, range(count, count + 5)),
            strict=True,
        ):
            np.testing.assert_array_equal(one.density, two.density)
            assert (one.gaze, one.presence) == (two.gaze, two.presence)


@needs_graph
@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_engines_look_closer_alike(model: Model, engine: str) -> None:
    pytest.importorskip({"eager": "torch"}.get(engine, engine))
    prompts = ["search for ball", "free viewing"]
    ours, theirs = model.stream(prompts), model_of(engine).stream(prompts)
    for k in range(7):
        for one, two in zip(ours.step(frame_of(k)), theirs.step(frame_of(k)), strict=True):
            np.testing.assert_allclose(one.density, two.density, rtol=2e-3, atol=1e-6)


def test_network_without_second_look_says_so(tmp_path: Path) -> None:
    for suffix in (".json", ".onnx", ".safetensors"):
        shutil.copy(packaged_folder() / f"nano{suffix}", tmp_path)
    manifest = tmp_path / "nano.json"
    facts = json.loads(manifest.read_text())
    facts.pop("look_sha256", None)
    manifest.write_text(json.dumps(facts))
    blind = model_of("onnx", str(manifest))
    assert blind.package.look is None
    with pytest.raises(ModelError, match=r"network has no second look \(nano\): "):
        blind.stream().step(frame_of(0))


@needs_graph
def test_damaged_graph_is_refused_by_its_hash(tmp_path: Path) -> None:
    for suffix in (".json", ".onnx", ".safetensors", ".look.onnx"):
        shutil.copy(packaged_folder() / f"nano{suffix}", tmp_path)
    (tmp_path / "nano.look.onnx").write_bytes(b"else")
    with pytest.raises(ModelError, match=r"wrong hash \(nano.look.onnx"):
        find_package(str(tmp_path / "nano.json"))


@pytest.mark.parametrize("text", ["foveate_every=1", "foveate_part=0.05", "foveate_part=2"])
def test_settings_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"gaze.{text}"):
        load_config(sets=[f"gaze.{text}"])


@needs_graph  # torch takes long to start
def test_program_streams_with_second_looks() -> None:
    with Program("--camera", "demo", "--engine", ENGINE, "--set", "gaze.foveate=true") as program:
        got = aam_edge.subscribe(program.pub, newest_only=False, timeout_s=40)
        maps = [next(got) for _ in range(7)]
        got.close()  # type: ignore[attr-defined]
    assert all(attention.density.sum() == pytest.approx(1, abs=1e-3) for attention in maps)
    assert all(attention.gaze for attention in maps)


torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from aam_edge.model.native.fpd import State, normalise
from aam_edge.model.native.second_look import VARIANCE, Placed, correct_part, place

SHAPE = 1, 2, 24, 32
edges = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.1, 1), st.floats(0.1, 1)).map(
    lambda t: (t[0], t[1], min(1.0, t[0] + t[2]), min(1.0, t[1] + t[3]))
)


def placed_in(box: tuple[float, ...], seed: int) -> Placed:
    generator = torch.Generator().manual_seed(seed)
    density = normalise(3 * torch.randn(SHAPE, generator=generator)).exp()
    return place(density, torch.full(SHAPE, 1.5), torch.tensor([box]))


def state_of(seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return State(
        normalise(torch.randn(SHAPE, generator=generator)),
        torch.rand(SHAPE, generator=generator) + 0.1,
        torch.zeros(1, 1, *SHAPE[2:]),
        torch.zeros(1, 2, 6, 8),
    )


@settings(max_examples=30)
@given(edges, st.integers(0, 99))
def test_crop_keeps_its_mass_and_lies_in_its_box(box: tuple[float, ...], seed: int) -> None:
    placed = placed_in(box, seed)
    np.testing.assert_allclose(placed.density.sum((2, 3)), 1, atol=1e-5)
    x, y = (np.arange(32) + 0.5) / 32, (np.arange(24) + 0.5) / 24
    beyond = (x < box[0] - 1 / 32) | (x > box[2] + 1 / 32)
    assert float(placed.density[:, :, :, beyond].abs().max() if beyond.any() else 0) < 1e-7
    inside = np.outer(
        (y > box[1] + 1 / 24) & (y < box[3] - 1 / 24), (x > box[0] + 1 / 32) & (x < box[2] - 1 / 32)
    )
    assert bool(placed.is_known[0, 0].numpy()[inside].all())
    np.testing.assert_allclose(placed.log_variance[placed.is_known.expand(SHAPE)], 1.5, atol=1e-4)


def test_whole_picture_as_its_own_part_is_laid_where_it_was() -> None:
    density = normalise(torch.randn(SHAPE)).exp()
    placed = place(density, torch.zeros(SHAPE), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(placed.density, density, atol=1e-7)
    assert bool(placed.is_known.all())


@settings(max_examples=30)
@given(edges, st.integers(0, 99), st.floats(-9, 9))
def test_correction_keeps_mass_one_and_what_lies_outside_in_proportion(
    box: tuple[float, ...], seed: int, rise: float
) -> None:
    before, placed = state_of(seed), placed_in(box, seed + 1)
    after = correct_part(before, placed, torch.full(SHAPE[:2], rise))
    np.testing.assert_allclose(after.log_density.exp().sum((2, 3)), 1, atol=1e-5)
    outside = ~placed.is_known.expand(SHAPE)
    moved = (after.log_density - before.log_density)[0, 0][outside[0, 0]]
    if len(moved):
        assert float(moved.max() - moved.min()) < 1e-4
    assert torch.equal(after.variance[outside], before.variance[outside])
    assert bool((after.variance[~outside] < before.variance[~outside]).all())
    observed = VARIANCE * np.exp(1.5)
    gain = before.variance / (before.variance + observed)
    expected = (gain * observed)[~outside]
    np.testing.assert_allclose(after.variance[~outside], expected, rtol=1e-3)


def test_free_viewing_moves_mass_within_the_box_and_a_sure_search_into_it() -> None:
    box = (0.25, 0.25, 0.75, 0.75)
    unsure = state_of(3)._replace(variance=torch.full(SHAPE, 1e4))
    placed = placed_in(box, 4)

    def mass(state: State) -> float:
        return float((state.log_density.exp() * placed.is_known)[0, 0].sum())

    before = mass(unsure)
    free, sure, missed = (
        mass(correct_part(unsure, placed, torch.full(SHAPE[:2], rise))) for rise in (0.0, 3.0, -3.0)
    )
    assert free == pytest.approx(before, abs=0.01)
    odds = before / (1 - before) * np.e**3
    hoped = odds / (1 + odds)
    assert sure == pytest.approx(hoped / (hoped + 1 - before), abs=0.02)
    assert missed < 0.2 * before


def test_evidence_that_is_no_number_changes_nothing() -> None:
    before = state_of(5)
    placed = placed_in((0.2, 0.2, 0.6, 0.6), 6)
    broken = placed._replace(density=torch.full(SHAPE, float("nan")))
    after = correct_part(before, broken, torch.zeros(SHAPE[:2]))
    np.testing.assert_allclose(after.log_density, before.log_density, atol=1e-5)
    assert torch.equal(after.variance, before.variance)
