"""Sound of a clip as mono samples: WAV files, and the sound tracks of videos."""

from __future__ import annotations

import math
import struct
import warnings
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.stored import RESTORE, Blob, Stored, content_of, suffix_of

WAV_PROBLEMS = (
    *(ValueError, EOFError, OverflowError, KeyError, AttributeError, TypeError, IndexError),
    *(NameError, ZeroDivisionError, MemoryError, struct.error),
)
"""What scipy raises on broken files; it checks little."""
Samples = NDArray[np.float32]
FASTEST_HZ = 1_000_000
"""Beyond it is no sound: the filter of the resampling would grow with it."""
FILTER_S = 0.01
"""Longer than the filter of the resampling."""


def samples_between(stored: Stored, start_s: float, length_s: float, rate_hz: int) -> Samples:
    """A piece of the sound at another rate: `length_s * rate_hz` samples, zeros outside of it.

    What comes after the piece has no part in it, though the filter of the resampling looks ahead.
    """
    from scipy.signal import resample_poly

    whole, own_hz = read_sound(stored)
    count = round(length_s * rate_hz)
    # The filter needs what was before; it is cut away again.
    first = math.floor((start_s - FILTER_S) * own_hz)
    last = math.ceil((start_s + length_s) * own_hz)
    piece = np.zeros(last - first, np.float32)
    inside = slice(max(0, first), max(0, min(last, len(whole))))
    found = whole[inside]
    piece[inside.start - first : inside.start - first + len(found)] = found
    ratio = Fraction(rate_hz, own_hz)
    if ratio != 1:
        piece = resample_poly(piece, ratio.numerator, ratio.denominator).astype(np.float32)
    skip = round(start_s * rate_hz - first * rate_hz / own_hz)
    kept = np.zeros(count, np.float32)
    kept[: len(piece) - skip] = piece[skip : skip + count]
    return kept


def read_sound(stored: Stored) -> tuple[Samples, int]:
    """All of it, mono, -1..1, and its rate in Hz."""
    if isinstance(stored, Blob):
        return _decoded(stored)
    try:
        changed_ns = stored.stat().st_mtime_ns
    except OSError as problem:
        raise DataError("file is missing", stored, RESTORE) from problem
    return _decoded_file(stored, changed_ns)


@lru_cache(maxsize=2)  # windows of one clip are asked for one after the other
def _decoded_file(path: Path, changed_ns: int) -> tuple[Samples, int]:
    return _decoded(path)


def _decoded(stored: Stored) -> tuple[Samples, int]:
    return _decoded_wav(stored) if suffix_of(stored) == ".wav" else _decoded_track(stored)


def _decoded_wav(stored: Stored) -> tuple[Samples, int]:
    from scipy.io import wavfile

    content = content_of(stored)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that it does not know
            rate_hz, samples = wavfile.read(BytesIO(content))
    except WAV_PROBLEMS as problem:
        raise DataError("sound cannot be read", stored, RESTORE) from problem
    if not 1 <= rate_hz <= FASTEST_HZ or not samples.size:
        raise DataError("sound is empty, or of no rate that is", stored, RESTORE)
    if samples.dtype == np.uint8:
        scaled = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        scaled = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    else:
        scaled = np.nan_to_num(samples.astype(np.float32))
    return np.asarray(scaled.reshape(len(scaled), -1).mean(axis=1), np.float32), int(rate_hz)


def _decoded_track(stored: Stored) -> tuple[Samples, int]:
    import av

    try:
        with av.open(BytesIO(content_of(stored)), "r") as container:
            rate_hz = int(container.streams.audio[0].rate)
            to_mono = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
            blocks = [
                block.to_ndarray().ravel()
                for frame in container.decode(audio=0)
                for block in to_mono.resample(frame)
            ]
    except (av.FFmpegError, IndexError, ValueError, ZeroDivisionError, MemoryError) as problem:
        raise DataError("video has no sound that can be read", stored, RESTORE) from problem
    return np.concatenate(blocks or [np.zeros(0, np.float32)]).astype(np.float32), rate_hz
