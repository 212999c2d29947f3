"""Engines run the same network: same frames, sound and motion in, same densities out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aam_edge.engine.catalog import choose_engine, is_installed, open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.errors import ModelError, UsageError
from aam_edge.messages import SOUND_RATE_HZ, Frame, Observation, RawAttention, Sound
from tests.conftest import START_NS, scene

FRAMES = 50
PROMPTS = ("free viewing", "search for cup")
LONG = 200
"""Frames of a stream in which everything happens."""
ASKED = {
    0: ["free viewing"],
    40: ["search for cup", "free viewing"],
    90: ["free viewing", "where is the red ball?"],
    140: ["count the people"],
}
"""Prompts from a frame on."""
Frames = Callable[[int], Frame]
ENGINES_END = """
import signal
from aam_edge.engine.catalog import open_backend
from aam_edge.engine.package import find_package
signal.signal(signal.SIGTERM, lambda number, frame: print("stops"))
engines = [open_backend(find_package("nano"), "openvino", "auto") for _ in range(3)]
while engines:
    del engines[0]
signal.raise_signal(signal.SIGTERM)
"""
OPEN_OPENVINO = """
from aam_edge.engine.catalog import choose_engine, open_backend
from aam_edge.engine.package import find_package
from aam_edge.errors import ModelError
print(choose_engine())
try:
    open_backend(find_package("nano"), "openvino")
except ModelError as problem:
    print(problem)
"""


def open_session(engine: str, precision: str, prompts: list[str]) -> Session:
    """On a small input, so that a long stream is short."""
    backend = open_backend(find_package("nano"), engine, precision)
    return Session(backend, prompts, pixels=96 * 128, embed=open_text())


def densities(
    engine: str, precision: str, frames: Frames, prompts: tuple[str, ...] = PROMPTS
) -> NDArray[np.float32]:
    """(FRAMES, prompts, h, w)."""
    session = open_session(engine, precision, list(prompts))
    steps = (session.step(Observation(frames(i))) for i in range(FRAMES))
    return np.array([[reading.density for reading in step] for step in steps])


def eventful() -> Iterator[Observation]:
    """Frames from 1 ms to 10 s apart, some back in time; cuts, bangs, turns of the camera."""
    rng, now_ns = np.random.default_rng(0), START_NS
    bangs = rng.normal(0, 0.2, SOUND_RATE_HZ) * (np.arange(SOUND_RATE_HZ) % 4000 < 800)
    for i in range(LONG):
        dt_s = 10 ** rng.uniform(-3, 1) if i % 10 == 5 else 0.033
        now_ns += round(1e9 * (-dt_s if i % 37 == 36 else dt_s))
        image = scene(i if i % 50 < 25 else 7 * i, 320, 240)
        frame = Frame(image if i < 120 else image[:, ::-1].copy(), now_ns, "test", i)
        samples = np.roll(bangs, 533 * i).astype(np.float32)
        sound = Sound(samples, now_ns - 1_000_000_000) if i % 60 >= 20 else None
        yield Observation(frame, sound, turned(rng) if i % 4 == 3 else None)


def turned(rng: np.random.Generator) -> NDArray[np.float32]:
    """A small turn about any axis, as a homography of a camera of 90 degrees."""
    rotation, _ = cv2.Rodrigues(rng.normal(0, 0.02, 3))
    return np.asarray(rotation, np.float32)


def eventful_readings(engine: str) -> list[list[RawAttention]]:
    session = open_session(engine, "f32", ASKED[0])
    readings = []
    for i, observation in enumerate(eventful()):
        session.set_prompts(ASKED.get(i, session.prompts))
        readings.append(session.step(observation))
    assert session.counters["backward_stamps"] == LONG // 37
    return readings


@pytest.fixture(scope="module")
def reference(moving_frame: Frames) -> NDArray[np.float32]:
    pytest.importorskip("torch", reason="needs the extra [torch]")
    return densities("eager", "f32", moving_frame)


def test_onnx_gives_what_torch_gives(reference: NDArray[np.float32], moving_frame: Frames) -> None:
    found = densities("onnx", "f32", moving_frame)
    np.testing.assert_allclose(found, reference, atol=1e-5)
    relative = np.abs(np.log(found / reference))
    assert relative.max() < 1e-2  # of the smallest cells, too


def test_onnx_gives_what_torch_gives_whatever_happens() -> None:
    """Issue 10: within 1e-4 over 200 frames with changing prompts, gaps, sound and motion."""
    pytest.importorskip("torch", reason="needs the extra [torch]")
    ours, theirs = eventful_readings("onnx"), eventful_readings("eager")
    assert any(step[0].cut for step in ours)
    for mine, eager in zip(ours, theirs, strict=True):
        for a, b in zip(mine, eager, strict=True):
            np.testing.assert_allclose(a.density, b.density, atol=1e-4)
            assert (a.presence is None) == (b.presence is None)
            assert a.presence is None or a.presence == pytest.approx(b.presence, abs=1e-4)
            assert a.gate == pytest.approx(b.gate, abs=1e-4)
            assert a.beta == pytest.approx(b.beta, abs=1e-4)
            assert (a.cut, a.dt_s) == (b.cut, b.dt_s)


@pytest.mark.skipif(not is_installed("openvino"), reason="needs the extra [openvino]")
def test_openvino_in_single_precision_gives_what_torch_gives(
    reference: NDArray[np.float32], moving_frame: Frames
) -> None:
    np.testing.assert_allclose(densities("openvino", "f32", moving_frame), reference, atol=1e-5)


@pytest.mark.skipif(not is_installed("openvino"), reason="needs the extra [openvino]")
def test_signal_is_heard_after_engines_of_openvino_have_ended() -> None:
    """Where the CPU has AMX it was a segmentation fault."""
    command = [sys.executable, "-X", "faulthandler", "-c", ENGINES_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, "stops\n"), done.stderr


@pytest.mark.skipif(not is_installed("openvino"), reason="needs the extra [openvino]")
def test_openvino_in_half_precision_correlates_with_torch(
    reference: NDArray[np.float32], moving_frame: Frames
) -> None:
    try:
        found = densities("openvino", "bf16", moving_frame)
    except ModelError as problem:
        pytest.skip(str(problem))
    for n in range(len(PROMPTS)):
        correlations = [
            np.corrcoef(half.ravel(), whole.ravel())[0, 1]
            for half, whole in zip(found[:, n], reference[:, n], strict=True)
        ]
        assert np.mean(correlations) > 0.99
        assert np.min(correlations) > 0.9


def test_density_sums_to_one_and_is_positive_in_every_engine(moving_frame: Frames) -> None:
    for engine in ("onnx", "openvino", "eager"):
        if is_installed(engine):
            found = densities(engine, "auto", moving_frame)
            np.testing.assert_allclose(found.sum((2, 3), dtype=np.float64), 1, atol=1e-5)
            assert found.min() > 0


def test_prompts_do_not_touch_each_other(moving_frame: Frames) -> None:
    together = densities("onnx", "f32", moving_frame)
    for n, prompt in enumerate(PROMPTS):
        alone = densities("onnx", "f32", moving_frame, (prompt,))
        np.testing.assert_allclose(together[:, n : n + 1], alone, atol=1e-6)


def test_auto_chooses_an_engine_that_is_installed() -> None:
    assert is_installed(choose_engine())


def test_too_old_an_openvino_is_named_and_auto_passes_it_over(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").touch()
    (tmp_path / "openvino-2026.2.1.dist-info").mkdir()
    (tmp_path / "openvino-2026.2.1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: openvino\nVersion: 2026.2.1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", OPEN_OPENVINO],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "onnx",
        "engine is too old (openvino): pip install aam-edge[openvino]",
    ], done.stderr


def test_unknown_engine_or_precision_is_refused() -> None:
    package = find_package("nano")
    with pytest.raises(UsageError, match=r"unknown engine \(cuda\): give auto, openvino"):
        open_backend(package, "cuda")
    with pytest.raises(UsageError, match=r"unknown precision \(f8\)"):
        open_backend(package, "onnx", "f8")
    with pytest.raises(ModelError, match=r"engine has no bf16 \(onnx\)"):
        open_backend(package, "onnx", "bf16")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_exported_program_of_any_size_equals_the_network() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    pytest.importorskip("onnx", reason="needs the extra [train]")
    from aam_edge.model.native.network import NativeNetwork, silent_moment
    from aam_edge.training.export import load_weights, program_of

    network = NativeNetwork().eval().requires_grad_(False)
    load_weights(network, find_package("nano").tensors)
    # Its guards refuse a single prompt, of which the program is right as well.
    program = program_of(network).module(check_guards=False)
    embed = open_text()
    for cameras, asked, height, width in ((1, 1, 96, 128), (2, 2, 160, 96), (1, 3, 192, 256)):
        vectors = np.stack([embed(x) for x in ("search for cup", "free viewing", "dog")[:asked]])
        prompt = torch.from_numpy(vectors).expand(cameras, -1, -1).contiguous()
        ours = theirs = network.init_state(cameras, asked, height, width)
        for i in range(3):
            image = torch.from_numpy(scene(i, width, height)).expand(cameras, -1, -1, -1)
            dt_s = torch.full((cameras,), 0.04 if i else 0.0)
            moment = silent_moment(image.contiguous(), prompt, dt_s)
            generator = torch.Generator().manual_seed(i)
            mel = torch.rand(moment.mel.shape, generator=generator)
            moment = moment._replace(mel=mel, heard=torch.ones(cameras))
            *given, ours = network.step(moment, ours)
            count = len(given)
            found = program(*moment, *theirs)
            theirs = type(ours)(*found[count:])
            for a, b in zip((*given, *ours), found, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)
