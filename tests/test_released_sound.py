"""Sound in a stream of the released network: the same vectors as offline, for the newest frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given
from hypothesis import strategies as st

from aam_edge.engine.released_sound import Hearing, open_hearing
from aam_edge.errors import ModelError
from aam_edge.messages import SOUND_RATE_HZ, Sound
from aam_edge.model.released.live_sound import LiveSound, Trail
from aam_edge.model.released.sound import FACTORS, Amplitude, frame_windows
from aam_edge.model.released.wav2clip import WINDOW, Wav2Clip, Wav2ClipSize

START_NS = 1_800_000_000_000_000_000
FPS = 20


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def network() -> Wav2Clip:
    torch.manual_seed(1)
    model = Wav2Clip(Wav2ClipSize((8, 16, 32, 64), 64))
    model.eval()
    return model


def track(seconds: float = 4.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A tone that rises, with clicks."""
    t = np.arange(round(seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 300 * t * (1 + t / 4))
    clicks = np.random.default_rng(4).random(len(t)) > 0.999
    return (tone + clicks * 0.5).astype(np.float32)


def behind(frame: int, seconds: float = 1.0) -> Sound:
    """The trailing window of a frame, as the stream's synchroniser gives it."""
    end = round(frame / FPS * SOUND_RATE_HZ)
    begin = max(0, end - round(seconds * SOUND_RATE_HZ))
    return Sound(track()[begin:end].copy(), START_NS + begin * 62_500)


# At the public amplitude the spectrum's last bits, which differ with the batch, count.
@pytest.mark.parametrize(("amplitude", "tolerance"), [("full", 1e-5), ("public", 0.05)])
def test_stream_hears_what_the_offline_windows_give_for_the_newest_frame(
    network: Wav2Clip, amplitude: Amplitude, tolerance: float
) -> None:
    hearing = Hearing(network, 4, amplitude)
    whole = torch.from_numpy(track())
    for frame in range(41, 48):
        live = hearing.hear(behind(frame))
        frames = range(max(41, frame - 3), frame + 1)
        windows = frame_windows(
            whole, SOUND_RATE_HZ, frames, FPS, place="trailing", target_hz=SOUND_RATE_HZ
        )
        # The stream began with the second before frame 41; nothing older was heard.
        for row, number in enumerate(frames):
            unheard = WINDOW - round((number - 41) / FPS * SOUND_RATE_HZ) - WINDOW // 2
            windows[row, : max(unheard, 0)] = 0
        offline = network(windows * FACTORS[amplitude])[-1:]
        assert live is not None
        torch.testing.assert_close(live, offline, rtol=0, atol=tolerance)


@given(st.lists(st.tuples(st.integers(-60, 60), st.integers(0, 30)), min_size=1, max_size=8))
def test_trail_holds_the_newest_samples_at_their_places(blocks: list[tuple[int, int]]) -> None:
    trail, said, end = Trail(20), dict[int, float](), 0
    for number, (start, length) in enumerate(blocks, start=1):
        samples = np.full(length, number, np.float32)
        if abs(start + length - end) >= 20:
            said, end = {}, start + length
        end = max(end, start + length)
        said |= dict.fromkeys(range(start, start + length), float(number))
        trail.add(samples, start)
        wanted = [said.get(place, 0.0) for place in range(end - 20, end)]
        said = {place: value for place, value in said.items() if place >= end - 20}
        assert trail.end == end
        assert trail.samples.tolist() == wanted


def test_silence_has_no_vector_and_leaves_no_trace(network: Wav2Clip) -> None:
    live, fresh = LiveSound(network), LiveSound(network)
    assert live.hear(np.zeros(WINDOW, np.float32)) is None
    assert Hearing(network, 4, "full").hear(None) is None
    window = track()[-WINDOW:]
    heard, alone = live.hear(window), fresh.hear(window)
    assert heard is not None
    assert alone is not None
    assert torch.equal(heard, alone)


def test_hearing_goes_on_from_its_state(network: Wav2Clip) -> None:
    hearing, other = Hearing(network, 4, "full"), Hearing(network, 4, "full")
    for frame in range(41, 47):
        hearing.hear(behind(frame))
    other.restore(hearing.state())
    one, two = hearing.hear(behind(47)), other.hear(behind(47))
    assert one is not None
    assert two is not None
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    "change", [{"sound_samples": None}, {"sound_samples": np.zeros(3)}, {"sound_pictures": [1.0]}]
)
def test_state_of_something_else_is_refused(network: Wav2Clip, change: dict[str, object]) -> None:
    hearing = Hearing(network, 4, "full")
    with pytest.raises(ValueError, match="sound"):
        hearing.restore(hearing.state() | change)


def test_network_that_was_not_imported_is_missed_only_if_it_is_named(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert open_hearing("none") is None
    assert open_hearing("wav2clip") is None
    with pytest.raises(ModelError, match="Wav2CLIP, which hears, is not there"):
        open_hearing("ears")
