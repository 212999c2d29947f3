"""A microphone through PortAudio: its callback puts sound into the ring.

PortAudio's clock has an unknown start; what counts is how long before the callback the first sample
was taken, and the callback is told both times on that clock:

    start_ns = unix_now - (current_time - adc_time)        where 0 < that difference <= 2 s

Behind PulseAudio and PipeWire `adc_time` may be 0; then the block is taken to have ended one
latency before now.
"""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import SourceError
from aam_edge.messages import SOUND_RATE_HZ, Sound
from aam_edge.recording.pcm import as_recorded
from aam_edge.sources.resampler import Resampler
from aam_edge.sources.sample_clock import SampleClock
from aam_edge.sources.samples import within_scale
from aam_edge.sources.sound_ring import SoundRing

logger = logging.getLogger(__name__)
BLOCK_S = 0.02
OLDEST_S = 2.0


class BlockReader:
    """What the callback does, without a device or a clock."""

    def __init__(self, rate_hz: int, latency_s: float = 0.0):
        self.overruns = 0
        """Times that the machine was too busy to take the sound."""
        self._rate_hz, self._latency_s = rate_hz, latency_s
        self._resampler = Resampler(rate_hz)
        self._clock = SampleClock(rate_hz)
        self._output_clock = SampleClock()
        self._lead_ns = 0

    def read(
        self,
        samples: NDArray[np.float32],
        *,
        adc_time_s: float,
        current_time_s: float,
        now_ns: int,
        overran: bool = False,
    ) -> Sound:
        """A block as sound of our rate.

        Args:
            samples: (n, channels), at the device's rate; anything beyond -1..1 counts as that.
            adc_time_s: when the first sample was taken, PortAudio's clock.
            current_time_s: now, on the same clock.
            now_ns: now, UNIX time.
            overran: whether sound was lost before this block.

        Returns:
            Mono; may be empty while the resampler waits for more.
        """
        self.overruns += overran
        age_s = current_time_s - adc_time_s
        if not (0 < age_s <= OLDEST_S and adc_time_s > 0):
            age_s = len(samples) / self._rate_hz + self._latency_s
        start_ns = self._clock.start_of(len(samples), now_ns - round(age_s * 1e9))
        return self._resampled(within_scale(samples).mean(axis=1), start_ns)

    def _resampled(self, mono: NDArray[np.float32], start_ns: int) -> Sound:
        # The resampler holds some inputs back, so what it gives out began before this block did.
        outputs = self._resampler.feed(mono)
        sound_start_ns = self._output_clock.start_of(len(outputs), start_ns - self._lead_ns)
        self._lead_ns += len(mono) * 1_000_000_000 // self._rate_hz
        self._lead_ns -= len(outputs) * 1_000_000_000 // SOUND_RATE_HZ
        return Sound(outputs, sound_start_ns)


class Microphone:
    """An input device; the constructor opens and starts it, or raises SourceError."""

    def __init__(self, spec: str, ring: SoundRing):
        """`spec` is a device's number, a part of its name, or `default`."""
        self.name = spec
        portaudio = load_portaudio()
        device = pick_device(spec)
        try:
            rate_hz = best_rate(portaudio, device)
            self._ring = ring
            self._stream = portaudio.InputStream(
                device=device,
                channels=1,
                samplerate=rate_hz,
                dtype="float32",
                blocksize=round(BLOCK_S * rate_hz),
                latency="low",
                callback=self._on_block,
            )
            self._reader = BlockReader(rate_hz, self._stream.latency)
            self._stream.start()
        except (portaudio.PortAudioError, ValueError) as problem:
            raise _refused(portaudio, spec, problem) from problem
        logger.info("microphone %s is open: %d Hz", spec, rate_hz)

    @property
    def overruns(self) -> int:
        """Times that sound was lost because the machine was busy."""
        return self._reader.overruns

    @property
    def is_live(self) -> bool:
        """Whether the device still delivers."""
        return bool(self._stream.active)

    def close(self) -> None:
        """Stops it; twice is fine."""
        self._stream.close(ignore_errors=True)

    def _on_block(self, samples: NDArray[np.float32], count: int, times: Any, status: Any) -> None:
        sound = self._reader.read(
            samples,
            adc_time_s=times.inputBufferAdcTime,
            current_time_s=times.currentTime,
            now_ns=time.time_ns(),
            overran=bool(status.input_overflow),
        )
        self._ring.add(as_recorded(sound))


def load_portaudio() -> Any:
    """The module sounddevice: imported here only, as it fails where the C library is missing."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError as problem:
        todo = "pip install sounddevice"
        raise SourceError("microphone needs sounddevice", "not installed", todo) from problem
    except OSError as problem:
        todo = "sudo apt install libportaudio2, or choose --mic none"
        raise SourceError(
            "microphone needs PortAudio", "libportaudio2 is missing", todo
        ) from problem


def pick_device(spec: str) -> int | str | None:
    """What sounddevice takes for a device."""
    if spec == "default":
        return None
    return int(spec) if spec.isascii() and spec.isdigit() else spec


def best_rate(portaudio: Any, device: int | str | None) -> int:
    """Our own rate where the device has it, else the device's."""
    try:
        portaudio.check_input_settings(device, channels=1, samplerate=SOUND_RATE_HZ)
    except portaudio.PortAudioError:
        return int(portaudio.query_devices(device, "input")["default_samplerate"])
    return SOUND_RATE_HZ


def microphones(portaudio: Any) -> list[str]:
    """Names of the devices that can record, with their numbers."""
    found = enumerate(portaudio.query_devices())
    return [f"{number} {one['name']}" for number, one in found if one["max_input_channels"] > 0]


def _refused(portaudio: Any, spec: str, problem: Exception) -> SourceError:
    words = " ".join(str(problem).split())
    there = ", ".join(microphones(portaudio)) or "none is there"
    todo = f"choose --mic none or another one ({there})"
    return SourceError("microphone cannot be opened", f"{spec}: {words}", todo)
