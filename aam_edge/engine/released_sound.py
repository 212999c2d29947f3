"""Sound for the public network: imported Wav2CLIP on the two seconds before each frame.

The stream's own window of sound is shorter, so what frames bring is put together by the numbers of
its samples. Where frames come seldom, what nobody brought is silent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.messages import SOUND_RATE_HZ, Sound
from aam_edge.model.released.live_sound import PICTURE, LiveSound, Trail
from aam_edge.model.released.loading import load_encoder
from aam_edge.model.released.sound import Amplitude
from aam_edge.model.released.stored import find_stored
from aam_edge.model.released.wav2clip import Wav2Clip

logger = logging.getLogger(__name__)

KIND = "wav2clip"
DEAF = "none"
SAMPLE_NS = 1_000_000_000 // SOUND_RATE_HZ
IMPORT = "aam-edge weights import Wav2CLIP.pt, or model.wav2clip=none"


def open_hearing(name: str, device: str = "cpu") -> Wav2Clip | None:
    """Imported Wav2CLIP by name or path; None for `none`, and where it was never imported.

    Raises:
        ModelError: another name is not there, or weights cannot be used.
    """
    if name == DEAF:
        return None
    stored = find_stored(name)
    if stored is None and name == KIND:
        logger.info("sound is not heard: %s is not imported (aam-edge weights list)", name)
        return None
    if stored is None or stored.kind != KIND:
        raise ModelError("Wav2CLIP, which hears, is not there", name, IMPORT)
    return load_encoder(Wav2Clip, stored).to(device)


class Hearing:
    """One camera's sound: what came before, and the network that sessions share."""

    def __init__(self, network: Wav2Clip, windows: int, amplitude: Amplitude):
        """Takes the network, the frames that are held against each other, and the amplitude."""
        self._trail = Trail()
        self._live = LiveSound(network, windows, amplitude)

    def hear(self, sound: Sound | None) -> Tensor | None:
        """The vector behind a frame, (1, 512); None where nothing was heard."""
        if sound is None:
            return None
        start = (sound.start_ns + SAMPLE_NS // 2) // SAMPLE_NS
        self._trail.add(sound.samples, start)
        return self._live.hear(self._trail.samples)

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of what was heard, for `restore`."""
        state: dict[str, NDArray[Any]] = {
            "sound_samples": self._trail.samples.copy(),
            "sound_end": np.array(self._trail.end, np.int64),
        }
        pictures = self._live.pictures()
        # An empty array does not survive every way of packing.
        return state | {"sound_pictures": pictures} if len(pictures) else state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `state` was taken; ValueError where it does not fit."""
        samples = state.get("sound_samples")
        if samples is None or np.shape(samples) != self._trail.samples.shape:
            raise ValueError("sound_samples is missing or has another shape")
        pictures = state.get("sound_pictures", np.zeros((0, *PICTURE)))
        self._live.put_pictures(np.asarray(pictures, np.float32))
        self._trail.samples = np.array(samples, np.float32)
        self._trail.end = int(state["sound_end"])

    def reset(self) -> None:
        """Forgets what was heard."""
        self._trail.reset()
        self._live.reset()
