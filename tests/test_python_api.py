"""`import aam_edge`: stills, streams, snapshots and the list of public names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest

import aam_edge
from aam_edge.messages import Frame
from tests.conftest import FRAME_NS, START_NS, scene

Frames = Callable[[int], Frame]


@pytest.fixture(scope="module")
def model() -> aam_edge.Model:
    return aam_edge.load("nano", engine="onnx")


def test_public_names_are_these_and_all_load() -> None:
    assert sorted(aam_edge.__all__) == [
        "AamEdgeError", "Attention", "Crop", "Crops", "Frame", "Gaze", "Health", "Model",
        "Observation", "Sound", "Stream", "Target", "WorldSearch", "__version__",
        "crop_targets", "load", "load_released", "open_source", "open_sources",
        "subscribe", "subscribe_crops",
    ]  # fmt: skip
    assert all(getattr(aam_edge, name) for name in aam_edge.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = aam_edge.nosuch


def test_subscribing_needs_no_network_runtime() -> None:
    code = (
        "import sys, aam_edge; aam_edge.subscribe; "
        "sys.exit(any(m in sys.modules for m in ('onnxruntime', 'torch', 'av', 'aiohttp')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_readme_loop_over_the_demo(model: aam_edge.Model) -> None:
    stream = model.stream(prompts=["search for cup"])
    with aam_edge.open_source("demo") as source:
        for frame, _ in zip(source, range(5), strict=False):
            for attention in stream.step(frame):
                assert attention.density.shape == (56, 72)
                assert attention.targets
                assert attention.gaze is not None
                assert attention.camera == "demo"
                assert attention.frame_id == str(frame.frame_id)


def test_still_is_the_same_from_array_and_file_and_again(
    model: aam_edge.Model, tmp_path: Path
) -> None:
    image = scene(20)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    first = model.predict(image)
    model.predict(scene(60, 300, 500))
    for again in (
        model.predict(str(tmp_path / "photo.png")),
        model.predict(tmp_path / "photo.png"),
    ):
        np.testing.assert_array_equal(again.density, first.density)
        assert again.image == (640, 480)


def test_caller_s_picture_stays_writable(model: aam_edge.Model) -> None:
    image = scene(0)
    model.predict(image)
    image[0, 0] = 0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 3000), (17, 900), (900, 17), (2, 3)])
def test_odd_sizes_give_a_density(model: aam_edge.Model, width: int, height: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    attention = model.predict(image)
    assert attention.density.sum() == pytest.approx(1, abs=1e-5)
    for target in attention.targets:
        assert -0.5 <= target.x <= width - 0.5
        assert -0.5 <= target.y <= height - 0.5


def test_what_is_no_picture_is_refused(model: aam_edge.Model) -> None:
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
        model.predict(np.zeros((10, 10), np.uint8))
    with pytest.raises(aam_edge.AamEdgeError, match=r"nosuch\.jpg"):
        model.predict("nosuch.jpg")


def test_mirrored_picture_gives_a_mirrored_map(model: aam_edge.Model) -> None:
    image = next(iter(aam_edge.open_source("demo"))).image
    straight, mirrored = model.predict(image), model.predict(np.ascontiguousarray(image[:, ::-1]))
    together = np.corrcoef(straight.density[:, ::-1].ravel(), mirrored.density.ravel())[0, 1]
    assert together > 0.93


def test_stream_follows_a_thing_and_keeps_its_id(
    model: aam_edge.Model, moving_frame: Frames
) -> None:
    stream = model.stream()
    readings = [stream.step(moving_frame(i))[0] for i in range(60)]
    ids = {reading.targets[0].id for reading in readings[10:]}
    assert len(ids) <= 3
    errors = [abs(r.targets[0].x - (60 + 6 * i)) for i, r in enumerate(readings)]
    assert np.median(errors[10:]) < 48  # the disc's radius


def test_snapshot_of_a_stream_goes_on_bit_for_bit(
    model: aam_edge.Model, moving_frame: Frames
) -> None:
    stream = model.stream(["a", "b"])
    for i in range(5):
        stream.step(moving_frame(i))
    saved = stream.state()
    expected = [stream.step(moving_frame(i)) for i in range(5, 9)]
    other = model.stream(["c"])
    other.restore(saved)
    found = [other.step(moving_frame(i)) for i in range(5, 9)]
    for one, two in zip(chain(*expected), chain(*found), strict=True):
        np.testing.assert_array_equal(one.density, two.density)
        assert one.targets == two.targets
        assert (one.prompt, one.prompt_id) == (two.prompt, two.prompt_id)


def test_two_cameras_of_one_stream_have_a_state_each(model: aam_edge.Model) -> None:
    stream, alone = model.stream(), model.stream()
    for i in range(4):
        stamp = START_NS + i * FRAME_NS
        stream.step(Frame(scene(100 - i), stamp, "left", i))
        both = stream.step(Frame(scene(i), stamp, "right", i))[0]
        one = alone.step(Frame(scene(i), stamp, "right", i))[0]
        np.testing.assert_array_equal(both.density, one.density)


def test_heatmap_is_a_picture_of_the_same_size(model: aam_edge.Model) -> None:
    image = scene(20)
    heat = model.predict(image).heatmap(image)
    assert heat.shape == image.shape
    assert heat.dtype == np.uint8
    assert not np.array_equal(heat, image)
