"""LEDOV's own files: names of videos in .xlsx, gazes over time in `Data.mat`.

`Data` has `VideoFrameRate`, `VideoSize` (width, height) and `fixdata`, a line a fixation: person,
start and duration in ms, x and y in pixels. Lines run through the video once a person.
"""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import DataError
from aam_edge.training.corpus.stored import MAT_PROBLEMS, RESTORE, content_of
from aam_edge.training.metrics import Points


def read_names(table: Path) -> list[str]:
    """The first column of the first sheet."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(BytesIO(content_of(table)), read_only=True, data_only=True)
        rows = book.worksheets[0].iter_rows(min_col=1, max_col=1, values_only=True)
        names = [str(value).strip() for (value,) in rows if value is not None]
        book.close()
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, IndexError) as problem:
        raise DataError("list cannot be read", table, "check that it is an .xlsx") from problem
    return names


def read_gazes(table: Path) -> tuple[float, dict[int, Points]]:
    """Frames a second, and for each frame from 0 the gazes under way, as fractions."""
    data = _read_data(table)
    try:
        fps = float(data["VideoFrameRate"].ravel()[0])
        width, height = (float(n) for n in data["VideoSize"].ravel()[:2])
        lines = np.asarray(data["fixdata"], np.float64)
        lines = lines.T if lines.shape[0] == 5 != lines.shape[1] else lines
        if lines.shape[1] != 5 or not fps > 0 or not min(width, height) > 0:
            raise ValueError
    except (KeyError, ValueError, TypeError, IndexError) as problem:
        raise DataError("gaze table has another form", table, RESTORE) from problem
    return fps, gazes_by_frame(lines, fps, width, height)


def gazes_by_frame(
    lines: NDArray[np.float64], fps: float, width: float, height: float
) -> dict[int, Points]:
    """Each gaze under the frames it lasts, by SPEC 2.4.

    A person's first gazes rest on the mark in the centre that was shown before; they are left out
    until the first one outside of it. Fixations outside the picture are left out.
    """
    around = round(height / 20)
    by_frame: dict[int, list[tuple[float, float]]] = {}
    previous_ms, is_on_mark = math.inf, True
    for _, start_ms, duration_ms, x, y in lines.tolist():
        is_on_mark |= start_ms < previous_ms  # time starts again: the next person
        previous_ms = start_ms
        if not (0 < x < width and 0 < y < height):
            continue
        is_on_mark &= abs(x - width / 2) <= around and abs(y - height / 2) <= around
        if is_on_mark:
            continue
        first = max(1, math.ceil(start_ms * fps / 1000))
        last = math.ceil((start_ms + duration_ms) * fps / 1000)
        for number in range(first, last + 1):
            by_frame.setdefault(number - 1, []).append((x / width, y / height))
    return {number: np.array(points) for number, points in by_frame.items()}


def _read_data(table: Path) -> dict[str, NDArray[Any]]:
    """The fields of `Data`; files of MATLAB 7.3 are HDF5 and need h5py."""
    content = content_of(table)
    try:
        if content[:128].startswith(b"MATLAB 7.3") or content.startswith(b"\x89HDF"):
            return _read_hdf(content)
        from scipy.io import loadmat

        data = loadmat(BytesIO(content), variable_names=["Data"])["Data"][0, 0]
        return {name: np.asarray(data[name]) for name in data.dtype.names or ()}
    except MAT_PROBLEMS as problem:
        raise DataError("MATLAB file cannot be read", table, RESTORE) from problem


def _read_hdf(content: bytes) -> dict[str, NDArray[Any]]:
    import h5py

    with h5py.File(BytesIO(content)) as file:
        return {name: np.asarray(values) for name, values in file["Data"].items()}
