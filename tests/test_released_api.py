"""The public network's doors: in Python, and as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

import aam_edge
from aam_edge.cli.main import main
from aam_edge.engine.memory import free_bytes, need_memory
from aam_edge.engine.released import Released, load_released
from aam_edge.engine.released_network import Opened
from aam_edge.engine.released_session import LONGEST_GAP_S, ReleasedBackend, ReleasedSession
from aam_edge.engine.stamps import UNKNOWN_STEP_S
from aam_edge.errors import ModelError
from aam_edge.messages import Frame, Observation, Sound
from aam_edge.model.released.checkpoint import plain_network
from aam_edge.model.released.network import SHAPES, TINY_SHAPE, ReleasedNetwork
from aam_edge.model.released.pictures import prepare
from aam_edge.model.released.wav2clip import Wav2Clip, Wav2ClipSize
from aam_edge.snapshot import pack_snapshot, unpack_snapshot
from tests.reference import assert_near
from tests.tiny_released import random_released

TEXT = np.linspace(-1, 1, 24, dtype=np.float32)
SECOND_NS = 1_000_000_000
FRAME_NS = SECOND_NS // 25
SAMPLE_NS = SECOND_NS // 16_000


class Words:
    """Reads prompts for a network whose texts have 24 numbers: each by its letters."""

    def embed(self, prompt: str) -> NDArray[np.float32]:
        seed = int.from_bytes(prompt.encode()[:8], "big")
        return np.random.default_rng(seed).normal(size=24).astype(np.float32)

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        return []


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    return random_released().requires_grad_(False)


@pytest.fixture(scope="module")
def released(network: ReleasedNetwork) -> Released:
    return Released(Opened(network, "tiny", "tiny", ""), 3, 0, "clip-text", (32, 48))


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 60, 80, 3), np.uint8)


def test_stream_gives_the_last_map_of_each_window(
    released: Released, clip: NDArray[np.uint8]
) -> None:
    state = released.init_state()
    for t, frame in enumerate(clip):
        found = released.step(frame, TEXT, state)
        window = released.forward_clip(clip[max(0, t - 2) : t + 1], TEXT)
        assert found.shape == (32, 48)
        assert_near(found, window[-1])


def test_stills_are_seen_alone_and_by_their_texts(
    released: Released, clip: NDArray[np.uint8]
) -> None:
    texts = np.stack([TEXT * scale for scale in (1, -1, 2, 0, 3)])
    maps = released.forward_image(clip, texts)
    assert maps.shape == (5, 32, 48)
    assert 0 < maps.min() < maps.max() < 1
    assert_near(maps[1], released.forward_image(clip[1:2], texts[1])[0])


def test_two_cameras_in_one_step(released: Released, clip: NDArray[np.uint8]) -> None:
    state = released.init_state(cameras=2)
    both = released.step(clip[:2], TEXT, state, np.zeros((2, 20), np.float32))
    alone = released.step(clip[1], TEXT, released.init_state(), np.zeros(20, np.float32))
    assert_near(both[1], alone)


def test_what_is_no_picture_or_text_is_refused(released: Released, clip: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, H, W, 3\) uint8, got \(60, 80, 3\)"):
        released.forward_image(clip[0], TEXT)
    with pytest.raises(ValueError, match=r"must be \(B, H, W, 3\) uint8"):
        released.forward_image(clip.astype(np.float32), TEXT)
    with pytest.raises(ValueError, match=r"text must be \(24,\) or \(5, 24\), got \(768,\)"):
        released.forward_image(clip, np.zeros(768, np.float32))


def test_it_is_a_public_name() -> None:
    assert aam_edge.load_released is load_released


def session(network: ReleasedNetwork, *, filters: bool = False) -> ReleasedSession:
    made = ReleasedBackend(network, Words(), window=3, filters=filters, side=64)
    return made.session(["cup", "dog"])


Scene = Callable[[int], Frame]


@pytest.fixture
def seen(clip: NDArray[np.uint8]) -> Scene:
    def frame(t: int) -> Frame:
        return Frame(clip[t % 5].copy(), SECOND_NS + t * FRAME_NS, "test", t)

    return frame


def densities(stream: ReleasedSession, frame: Frame) -> NDArray[np.float32]:
    return np.stack([raw.density for raw in stream.step(Observation(frame))])


@pytest.mark.parametrize("filters", [False, True])
def test_session_gives_a_density_a_prompt(
    network: ReleasedNetwork, seen: Scene, filters: bool
) -> None:
    stream = session(network, filters=filters)
    readings = stream.step(Observation(seen(0)))
    assert [raw.dt_s for raw in readings] == [0, 0]
    readings = stream.step(Observation(seen(1)))
    cup, dog = (raw.density for raw in readings)
    assert cup.shape == (16, 16)
    assert cup.sum() == pytest.approx(1, abs=1e-4)
    assert np.abs(cup - dog).max() > 1e-7
    assert readings[0].dt_s == pytest.approx(0.04)
    assert (readings[0].variance > 0).all()
    assert stream.network_s > 0


def test_still_is_seen_as_a_photo_and_not_as_a_clip_of_one_frame(
    network: ReleasedNetwork, seen: Scene
) -> None:
    backend, frame = ReleasedBackend(network, Words(), side=64), seen(0)
    still = backend.session(["cup"], stills=True).step(Observation(frame))[0].density
    of_a_clip = backend.session(["cup"]).step(Observation(frame))[0].density
    image = torch.from_numpy(backend.shrink(frame.image))[None]
    text = torch.from_numpy(Words().embed("cup"))[None]
    maps = torch.nn.functional.avg_pool2d(network(prepare(image, None), text).maps, 4)[0, 0]
    np.testing.assert_allclose(still, (maps / maps.sum()).numpy(), rtol=1e-4)
    assert np.abs(still / of_a_clip - 1).max() > 1e-3


def test_sound_changes_the_map_and_opens_the_gate(network: ReleasedNetwork, seen: Scene) -> None:
    torch.manual_seed(0)
    ears = Wav2Clip(Wav2ClipSize((8, 16, 32, 64), 20)).eval()
    backend = ReleasedBackend(network, Words(), window=3, side=64, hearing=ears)
    hears, deaf = backend.session(["cup"]), backend.session(["cup"])
    for t in range(2):
        frame = seen(t)
        samples = np.random.default_rng(t).normal(size=16_000).astype(np.float32)
        sound = Sound(samples, frame.capture_ns - SECOND_NS)
        heard = hears.step(Observation(frame, sound))[0]
        silent = deaf.step(Observation(frame))[0]
    assert 0 < heard.gate < 1
    assert silent.gate == 0
    assert np.abs(heard.density / silent.density - 1).max() > 1e-3


def test_late_frame_begins_the_window_anew_and_is_counted(
    network: ReleasedNetwork, seen: Scene
) -> None:
    stream, fresh = session(network), session(network)
    for t in range(3):
        densities(stream, seen(t))
    late = Frame(seen(4).image.copy(), round(9 * LONGEST_GAP_S * SECOND_NS), "test", 9)
    np.testing.assert_array_equal(densities(stream, late), densities(fresh, late))
    assert stream.counters == {"backward_stamps": 0, "window_restarts": 1}


def test_stamp_that_does_not_rise_is_counted(network: ReleasedNetwork, seen: Scene) -> None:
    stream = session(network)
    densities(stream, seen(2))
    assert stream.step(Observation(seen(1)))[0].dt_s == UNKNOWN_STEP_S
    assert stream.counters["backward_stamps"] == 1


@pytest.mark.parametrize("filters", [False, True])
def test_state_goes_through_a_snapshot_and_on_with_the_same_bits(
    network: ReleasedNetwork, seen: Scene, filters: bool
) -> None:
    stream, other = session(network, filters=filters), session(network, filters=filters)
    for t in range(3):
        densities(stream, seen(t))
    whole = {
        "prompts": ("cup", "dog"),
        "prompt_ids": (0, 1),
        "next_id": 2,
        "sessions": {"test": stream.state()},
        "readout": [],
    }
    other.restore(unpack_snapshot(pack_snapshot(whole))["sessions"]["test"])
    np.testing.assert_array_equal(densities(other, seen(3)), densities(stream, seen(3)))


def test_state_of_another_network_is_refused(network: ReleasedNetwork) -> None:
    stream = session(network)
    state = stream.state() | {"ring_level2": np.zeros((1, 3, 5, 4, 4), np.float32)}
    with pytest.raises(ValueError, match="ring_level2 is missing or has another shape"):
        stream.restore(state)


def test_new_prompt_is_told_from_the_frames_that_were_seen(
    network: ReleasedNetwork, seen: Scene
) -> None:
    stream, asked_before = session(network), session(network)
    asked_before.set_prompts(["tree"])
    for t in range(3):
        densities(stream, seen(t)), densities(asked_before, seen(t))
    stream.set_prompts(["tree"])
    np.testing.assert_array_equal(densities(stream, seen(3)), densities(asked_before, seen(3)))


def test_filter_remembers_what_the_window_forgets(network: ReleasedNetwork, seen: Scene) -> None:
    forgets, remembers = session(network), session(network, filters=True)
    for _ in range(4):
        plain, kept = densities(forgets, seen(0)), densities(remembers, seen(0))
    # A still scene converges to its observation.
    assert np.abs(plain - kept).sum() < 0.05
    forgets.reset()
    remembers.reset()
    np.testing.assert_allclose(densities(forgets, seen(0)).sum((1, 2)), 1, atol=1e-4)


@pytest.fixture(scope="module")
def public_s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain network of size s, random, as imported weights hold it."""
    torch.manual_seed(0)
    empty = plain_network(SHAPES["s"]).state_dict()
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file({name: 0.05 * torch.randn(t.shape) for name, t in empty.items()}, path)
    return path


def test_imported_weights_are_loaded_by_path_and_compared(
    public_s: Path, clip: NDArray[np.uint8]
) -> None:
    import json

    from aam_edge.model.released.stored import FORMAT, file_sha256

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": "mine",
        "kind": "aam",
        "size": "s",
        "tensors": 1,
        "parameters": 1,
        "licence": "none",
        "tensors_sha256": file_sha256(public_s),
    }
    public_s.with_suffix(".json").write_text(json.dumps(manifest))
    loaded = load_released(public_s, "s", input_size=(32, 48))
    maps: Tensor = loaded.forward_image(clip[:1], np.zeros(768, np.float32))
    assert maps.isfinite().all()
    with pytest.raises(ModelError, match=r"weights are of another size \(mine.safetensors"):
        load_released(public_s, "l")
    bytes_ = bytearray(public_s.read_bytes())
    bytes_[-1] ^= 1
    public_s.write_bytes(bytes_)
    with pytest.raises(ModelError, match="weights have a wrong hash"):
        load_released(public_s)


class Sly:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.unlink, ("harm",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 cut short", "weights file is damaged or of no known form"),
        (b"", "weights file is damaged or of no known form"),
    ],
)
def test_bad_files_end_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError) as problem:
        load_released(path, "s")
    assert str(problem.value).startswith(words)
    assert "\n" not in str(problem.value)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Sly()}, tmp_path / "best.pth")
    with pytest.raises(ModelError, match=r"weights file holds code \(best.pth: "):
        load_released(tmp_path / "best.pth", "s")


def test_weights_that_are_not_there_not_finite_or_of_no_told_size(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights are not there"):
        load_released(tmp_path / "none.pth", "s")
    path = tmp_path / "best.pth"
    torch.save({"backbone.cls_token": torch.full((1, 1, 384), torch.nan)}, path)
    with pytest.raises(ModelError, match="size of the weights is not told"):
        load_released(path)
    with pytest.raises(ModelError, match=r"weights are not finite \(best.pth: backbone.cls_token"):
        load_released(path, "s")


def test_device_that_is_not_there_is_one_line(public_s: Path) -> None:
    path = public_s.with_name("other.pth")
    path.write_bytes(b"")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    from aam_edge.engine.released_network import _moved

    with pytest.raises(ModelError, match=r"torch cannot use this device \(cuda: "):
        _moved(ReleasedNetwork(TINY_SHAPE), "cuda")


def test_too_little_memory_is_said_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.pth"
    path.write_bytes(b"1234")
    need_memory(path)
    with pytest.raises(ModelError, match=r"too little memory \(big.pth: needs 4000000.0 GB, "):
        need_memory(path, 1e15)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable: 7 kB\n")
    assert free_bytes(meminfo, tmp_path) == 7 * 1024
    for name, words in (("max", "5000"), ("current", "1000"), ("stat", "inactive_file 24\n")):
        (tmp_path / f"memory.{name}").write_text(words)
    assert free_bytes(meminfo, tmp_path) == 4024
    assert free_bytes(tmp_path / "none", tmp_path / "none") is None


def test_stream_command_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    off = ["--camera", "synthetic", "--pub", "none", "--control", "none", "--page", "none"]
    assert main([*off, "--model", "best.pth"]) == 4
    assert capsys.readouterr().err.endswith(
        "aam-edge: weights are not imported (best.pth): "
        "run aam-edge weights import best.pth --size s, b or l\n"
    )
