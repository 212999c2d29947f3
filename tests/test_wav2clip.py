"""Sound for the released network: windows, resampling and Wav2CLIP, against reference tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.model.released.sound import (
    frame_windows,
    heard,
    resampled,
    resampling_kernels,
    stretched,
)
from aam_edge.model.released.wav2clip import RATE_HZ, WINDOW, Wav2Clip, Wav2ClipSize

TINY = Wav2ClipSize((8, 16, 32, 64), 64)
EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def network() -> Wav2Clip:
    torch.manual_seed(1)
    return Wav2Clip(TINY).eval()


@pytest.fixture(scope="session")
def reference(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "aam/fixtures/g_wav2clip_tiny.safetensors")


@pytest.fixture(scope="session")
def taught(reference: dict[str, Tensor]) -> Wav2Clip:
    model = network()
    model.load_state_dict({n[2:]: t for n, t in reference.items() if n.startswith("w.")})
    return model


def test_full_scale_is_reproduced(reference: dict[str, Tensor], taught: Wav2Clip) -> None:
    sound = heard(reference["pcm_int16_48k"].float() / 32768, "full")
    torch.testing.assert_close(sound[0], reference["x16k_window0"], **EXACT)
    picture = taught.encoder.spectrogram(sound)
    wanted = reference["full_scale/power_spec_window0_cols0:8"]
    torch.testing.assert_close(picture[0, :, :8].exp(), wanted, rtol=1e-4, atol=1e-6)
    standard = (picture - picture.mean()) / (picture.std() + 1e-9)
    wanted = reference["full_scale/normalised_spec_window0"]
    # The log of the quietest bins magnifies how a processor rounds its transforms.
    torch.testing.assert_close(standard[0], wanted, rtol=0, atol=5e-4)
    encoded = taught.encoder(standard.unsqueeze(1))
    torch.testing.assert_close(encoded, reference["full_scale/encoder_out"], **EXACT)
    torch.testing.assert_close(taught(sound), reference["full_scale/embedding"], **EXACT)


def test_vector_depends_on_the_windows_beside_it(
    reference: dict[str, Tensor], taught: Wav2Clip
) -> None:
    alone = taught(heard(reference["pcm_int16_48k"][:1].float() / 32768, "full"))
    wanted = reference["full_scale/embedding_window0_alone"]
    torch.testing.assert_close(alone, wanted, **EXACT)
    assert (alone[0] - reference["full_scale/embedding"][0]).abs().max() > 1e-3


def test_public_amplitude_is_reproduced_but_for_its_rounding(
    reference: dict[str, Tensor], taught: Wav2Clip
) -> None:
    sound = heard(reference["pcm_int16_48k"].float() / 32768, "public")
    picture = taught.encoder.spectrogram(sound)
    mean, std = reference["times_2^-23/log_mean_std"]
    assert float(picture.mean()) == pytest.approx(float(mean), abs=1e-5)
    assert float(picture.std()) == pytest.approx(float(std), rel=0.1)
    wanted = reference["times_2^-23/embedding"]
    torch.testing.assert_close(taught(sound), wanted, rtol=0, atol=0.1)


def test_newest_window_costs_one_and_equals_all() -> None:
    model = network()
    pictures = model.encoder.spectrogram(torch.randn(4, WINDOW))
    torch.testing.assert_close(model.embed(pictures, newest=1), model.embed(pictures)[-1:])


@pytest.mark.parametrize("case", "abcd")
def test_windows_of_frames_are_reproduced(shared: Path, case: str) -> None:
    stored = load_file(shared / "aam/fixtures/g_audio_windows.safetensors")
    start, count, frames_hz, target_hz = stored[f"{case}/start_T_fps_targetsr"].tolist()
    windows = frame_windows(
        stored["wav"][0],
        4000,
        range(int(start), int(start + count)),
        frames_hz,
        target_hz=int(target_hz),
    )
    torch.testing.assert_close(windows, stored[f"{case}/windows"][:, 0], **EXACT)


def test_kernels_are_reproduced(reference: dict[str, Tensor], shared: Path) -> None:
    stored = load_file(shared / "aam/fixtures/g_audio_windows.safetensors")
    kernels, width = resampling_kernels(48_000, 16_000)
    torch.testing.assert_close(kernels, reference["resample_kernel_48k_16k"], rtol=0, atol=1e-7)
    assert width == 19
    kernels, _ = resampling_kernels(4000, 4800)
    wanted = stored["resample_kernel_4000_4800"]
    torch.testing.assert_close(kernels, wanted, rtol=0, atol=2e-7)


def test_trailing_window_ends_where_the_centred_one_has_its_middle() -> None:
    track = torch.arange(1, 10 * 100 + 1, dtype=torch.float32)
    centred = frame_windows(track, 100, range(90, 93), 30.0, target_hz=100)
    trailing = frame_windows(track, 100, range(90, 93), 30.0, place="trailing", target_hz=100)
    assert torch.equal(trailing[:, 100:], centred[:, :100])
    assert trailing[0, -1] == 300
    assert centred[0, -1] == 400


@given(st.integers(-400, 1400))
def test_windows_outside_the_track_are_silent(frame: int) -> None:
    window = frame_windows(torch.ones(900), 128, range(frame, frame + 1), 128.0, target_hz=128)[0]
    ones = sum(0 <= n < 900 for n in range(frame - 128, frame + 128))
    assert window.shape == (256,)
    assert window.sum() == ones


@given(st.sampled_from([8000, 11_025, 22_050, 44_100, 48_000]), st.integers(1, 4000))
def test_resampled_length_is_rounded_up(from_hz: int, length: int) -> None:
    out = resampled(torch.zeros(1, length), from_hz, RATE_HZ)
    assert out.shape == (1, -(-length * RATE_HZ // from_hz))


def test_tone_keeps_its_height_and_place() -> None:
    seconds = torch.arange(48_000) / 48_000
    tone = resampled(torch.sin(2 * torch.pi * 440 * seconds)[None], 48_000, RATE_HZ)[0]
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(RATE_HZ) / RATE_HZ)
    torch.testing.assert_close(tone[200:-200], wanted[200:-200], rtol=0, atol=2e-3)


def test_stretching_leaves_the_right_length_alone() -> None:
    windows = torch.randn(2, 9)
    assert stretched(windows, 9) is windows
    assert stretched(windows, 12).shape == (2, 12)
