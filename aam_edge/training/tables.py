"""Tables of arrays (.npz) from wherever: numbers and words alone, bounded, never pickles."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError

Table = dict[str, NDArray[Any]]
LARGEST_TABLE_BYTES = 4 << 30
"""Unpacked."""
MOST_TIMES = 200
"""That a table may grow by unpacking; numbers that people made shrink to a third at best."""
SMALL_BYTES = 16 << 20
"""A table of zeros may grow so large whatever its file."""
BROKEN = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError),
    *(OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, RecursionError),
    *(RuntimeError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, cv2.error),
)
"""What reading a spoilt table raises, and what is looked up in it."""


def read_arrays(path: Path) -> Table:
    """All arrays of a file by name.

    Raises:
        DataError: not there, damaged, with objects in it, or larger than it can be.
    """
    with telling(path), path.open("rb") as file:
        size = path.stat().st_size
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > min(LARGEST_TABLE_BYTES, max(SMALL_BYTES, MOST_TIMES * size)):
            raise ValueError(f"it would unpack to {unpacked >> 20} MB")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Makes whatever a spoilt set raises the one line that names it."""
    try:
        yield
    except BROKEN as problem:
        why = getattr(problem, "strerror", None) or problem
        raise DataError("gaze set cannot be read", path, f"check it ({why})") from problem
