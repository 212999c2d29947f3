"""What `aam-edge predict` leaves: maps, overlays, a table of targets."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, TextIO

import cv2
import numpy as np

from aam_edge.errors import SinkError
from aam_edge.messages import Attention, Image, Map

COLUMNS = ["file", "frame", "time_s", "prompt", "rank", "x", "y", "sigma_px", "score", "entropy"]
JPEG_QUALITY = 92
WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One map and what it is of."""

    file: str
    """As the user named it."""
    stem: PurePath
    """Relative path that its results begin with."""
    frame: int
    """0 for a photo."""
    time_s: float
    """Since the first frame."""
    image: Image
    attention: Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What is wanted."""

    out: Path
    maps: str = "npy"
    """npy (the density, float32), png (16 bit, scaled to its peak), both or none."""
    overlays: bool = False
    csv: Path | None = None
    json: bool = False
    """One object a map on standard output."""


class Writer:
    """Writes predictions; each is complete on disk when `write` returns. Raises SinkError.

    Args:
        outputs: what is wanted.
        said: where records go, instead of standard output.
    """

    def __init__(self, outputs: Outputs, said: TextIO | None = None) -> None:
        self._outputs, self._said = outputs, said
        self._table: TextIO | None = None
        if outputs.csv is not None:
            self._table = _open_table(outputs.csv)

    def write(self, prediction: Prediction) -> None:
        """Writes all that is wanted of one map."""
        wanted, attention, stem = self._outputs, prediction.attention, prediction.stem
        files: dict[str, str] = {}
        if wanted.maps in ("npy", "both"):
            files["map"] = self._save(stem, ".npy", npy_bytes(attention.density))
        if wanted.maps in ("png", "both"):
            files["map_png"] = self._save(stem, ".map.png", png_bytes(attention.density))
        if wanted.overlays:
            overlay = jpeg_bytes(draw_targets(attention.heatmap(prediction.image), attention))
            files["overlay"] = self._save(stem, ".overlay.jpg", overlay)
        if self._table is not None:
            self._add_rows(self._table, prediction)
        if wanted.json:
            print(json.dumps(as_record(prediction) | files), file=self._said, flush=True)

    def _save(self, stem: PurePath, suffix: str, content: bytes) -> str:
        path = self._outputs.out / stem.with_name(stem.name + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as problem:
            raise refused(path, problem) from problem
        return str(path)

    def _add_rows(self, table: TextIO, prediction: Prediction) -> None:
        try:
            csv.writer(table, lineterminator="\n").writerows(as_rows(prediction))
            table.flush()
        except OSError as problem:
            raise refused(Path(table.name), problem) from problem

    def close(self) -> None:
        """Twice is fine."""
        if self._table is not None:
            self._table.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def _open_table(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # File names need not be valid Unicode; they come out as they went in.
        table = path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        csv.writer(table, lineterminator="\n").writerow(COLUMNS)
        table.flush()
    except OSError as problem:
        raise refused(path, problem) from problem
    return table


def refused(path: Path, problem: OSError) -> SinkError:
    """Why a result cannot be written."""
    reason = problem.strerror or "cannot be written"
    return SinkError(
        "result cannot be written", f"{path}: {reason}", "check path, rights and space"
    )


def as_rows(prediction: Prediction) -> list[list[Any]]:
    """Rows of COLUMNS, one a target, best first; a map without targets has one of rank 0."""
    attention = prediction.attention
    what = [prediction.file, prediction.frame, f"{prediction.time_s:.6f}", attention.prompt]
    entropy = f"{attention.entropy:.4f}"
    if not attention.targets:
        return [[*what, 0, "", "", "", "", entropy]]
    return [
        [*what, rank, f"{t.x:.2f}", f"{t.y:.2f}", f"{t.sigma_px:.2f}", f"{t.score:.5f}", entropy]
        for rank, t in enumerate(attention.targets, start=1)
    ]


def as_record(prediction: Prediction) -> dict[str, Any]:
    """The same for JSON."""
    attention = prediction.attention
    return {
        "file": prediction.file,
        "frame": prediction.frame,
        "time_s": round(prediction.time_s, 6),
        "prompt": attention.prompt,
        "image": list(attention.image),
        "entropy": attention.entropy,
        "uncertainty": attention.uncertainty,
        "targets": [asdict(target) for target in attention.targets],
        "gaze": None if attention.gaze is None else asdict(attention.gaze),
        "model": attention.model,
        "weights": attention.weights,
    }


def npy_bytes(density: Map) -> bytes:
    """A numpy file of the density, float32."""
    file = io.BytesIO()
    np.save(file, np.asarray(density, np.float32))
    return file.getvalue()


def png_bytes(density: Map) -> bytes:
    """A grey 16 bit PNG, 65535 at the peak."""
    return _encoded(".png", np.rint(density * (65535 / density.max())).astype(np.uint16))


def jpeg_bytes(image: Image) -> bytes:
    """A JPEG of a BGR picture."""
    return _encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)


def _encoded(kind: str, image: Any, *settings: int) -> bytes:
    is_done, content = cv2.imencode(kind, image, settings)
    assert is_done
    return content.tobytes()


def draw_targets(image: Image, attention: Attention) -> Image:
    """Rings of 2 sigma around the targets, the best one drawn thicker. Draws into the picture."""
    width, height = attention.image
    line = max(1, round(min(width, height) / 240))
    for rank, target in enumerate(attention.targets):
        # A quarter of a pixel is what cv2 draws between pixels with shift=2.
        centre = round(4 * target.x), round(4 * target.y)
        thickness = 2 * line if rank == 0 else line
        radius = round(8 * target.sigma_px)
        cv2.circle(image, centre, radius, WHITE, thickness, cv2.LINE_AA, shift=2)
    return image
