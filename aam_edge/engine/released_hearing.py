"""What the public network hears of a live stream: the two seconds before each frame, as Wav2CLIP.

The public code centres its windows on the frame and so hears one second of the future; a robot
cannot. It also standardises the spectrograms of all frames of a clip together. Here those of the
last frames are kept, so that the newest is standardised as in a clip of that length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.messages import SOUND_RATE_HZ, Sound
from aam_edge.model.released.sound import FACTORS, Amplitude
from aam_edge.model.released.stored import find_stored
from aam_edge.model.released.wav2clip import WINDOW, Wav2Clip

KIND = "wav2clip"


class ReleasedHearing:
    """One camera's sound."""

    def __init__(self, network: Wav2Clip, frames: int, amplitude: Amplitude = "public"):
        """Starts in silence.

        Args:
            network: with its weights.
            frames: windows that are standardised together.
            amplitude: what full scale is, as the network's weights were trained (sound.py).
        """
        self._network, self._factor = network, FACTORS[amplitude]
        self._pictures: deque[Tensor] = deque(maxlen=frames)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._samples = np.zeros(WINDOW, np.float32)
        self._end_ns: int | None = None
        self._pictures.clear()

    @torch.inference_mode()
    def update(self, sound: Sound | None) -> Tensor | None:
        """The vector of what was heard until a frame, (1, 512); None where nothing was.

        Args:
            sound: the trailing window behind the frame; parts that earlier ones had are known.
        """
        if sound is None:
            self.reset()
            return None
        self._append(sound)
        samples = torch.from_numpy(self._samples)[None] * self._factor
        self._pictures.append(self._network.encoder.spectrogram(samples)[0])
        return self._network.embed(torch.stack(list(self._pictures)), newest=1)

    def _append(self, sound: Sound) -> None:
        """Moves the two seconds on to the end of a window; a hole is silence."""
        step = len(sound.samples)
        if self._end_ns is not None:
            step = round((sound.end_ns - self._end_ns) * SOUND_RATE_HZ / 1e9)
        self._end_ns = sound.end_ns
        step = min(max(step, 0), WINDOW)
        new = sound.samples[max(0, len(sound.samples) - step) :]
        self._samples = np.concatenate(
            [self._samples[step:], np.zeros(step - len(new), np.float32), new]
        )


def hearing_maker(
    name: str, frames: int, amplitude: Amplitude
) -> Callable[[], ReleasedHearing] | None:
    """Makes ears of imported Wav2CLIP, by name or path; None where it was not imported.

    Raises:
        ModelError: it is something else, or damaged.
    """
    stored = find_stored(name)
    if stored is None:
        return None
    if stored.kind != KIND:
        todo = "give an imported Wav2CLIP"
        raise ModelError("weights do not hear", f"{stored.name} is {stored.kind}", todo)
    stored.check()
    network = Wav2Clip().eval().requires_grad_(False)
    network.load_state_dict(load_file(stored.path), strict=False)
    return partial(ReleasedHearing, network, frames, amplitude)
