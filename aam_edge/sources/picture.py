"""Any picture to (H, W, 3) BGR uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.errors import SourceError
from aam_edge.messages import Image

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2")
)


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture file."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_picture(path: Path) -> Image:
    """A picture file of any kind as (H, W, 3) BGR uint8, turned upright by its EXIF tag."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        values = f"{path}: {problem.strerror or 'cannot be read'}"
        raise SourceError("picture cannot be read", values, "check path and rights") from problem
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> Image:
    """The same from the file's bytes; `name` is for the error."""
    # These two turn the picture upright by EXIF, drop alpha and keep 16 bit; IMREAD_UNCHANGED would
    # not turn it.
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:
        picture = None
    if picture is None:
        what = "empty" if not content else "damaged, or no picture"
        raise SourceError("picture cannot be decoded", f"{name}: {what}", "give another file")
    return to_bgr8(picture)


def to_bgr8(picture: NDArray[Any]) -> Image:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of 8 or 16 bit or float 0..1 as BGR uint8.

    Alpha is dropped: what lies behind a transparent place is not known, and white or black would
    invent an edge.
    """
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    picture = picture[:, :, :3]
    if picture.dtype == np.uint16:
        # Scaled by the type's range, not by what is in the picture, or a sequence would flicker.
        picture = (picture >> 8).astype(np.uint8)
    elif picture.dtype.kind == "f":
        picture = (np.clip(np.nan_to_num(picture), 0, 1) * 255 + 0.5).astype(np.uint8)
    elif picture.dtype != np.uint8:
        raise SourceError("picture has an unknown type", picture.dtype, "give 8 or 16 bit")
    return np.ascontiguousarray(picture)
