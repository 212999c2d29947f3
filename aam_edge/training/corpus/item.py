"""What training reads, whichever data set it comes from: a photo or clip and where people looked.

An item names files; nothing is read before it is asked for. Frames are numbered from 0 in time, so
that frame n of a video at `fps` is shown from n / fps seconds on. Points are fractions of width and
height. A file that cannot be read is a DataError that names it (`skipped.Skipped` counts those).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Image
from aam_edge.training.corpus.sound import samples_between
from aam_edge.training.corpus.stored import (
    Blob,
    Stored,
    VideoFrame,
    read_fixation_map,
    read_grey,
    read_image,
)
from aam_edge.training.data import human_density
from aam_edge.training.metrics import Map, Points, to_grid

Kind = Literal["image", "video", "audio-visual"]
NO_POINTS: Points = np.zeros((0, 2))


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Something that is in the picture and could be searched for."""

    name: str
    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 as fractions of the picture; None: somewhere."""
    is_crowd: bool = False
    """The box holds many, not told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One frame, or the whole of a photo, and where people looked on it."""

    stimulus: Stored | VideoFrame
    saliency_map: Stored | None = None
    """The published density, drawn as a grey picture."""
    fixations: Stored | Points | None = None
    """A picture or .mat with fixated pixels, or points; None where only a map is published."""
    number: int = 0
    """Of the frame in its video, from 0."""
    observers: NDArray[np.integer[Any]] | None = None
    """Who looked, a number a point of `fixations`; None where it is not known. Not packed."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A photo (one moment) or a clip (one a frame, in time)."""

    gaze_set: str
    """Name of the data set, as in `layouts`."""
    name: str
    """Of the photo or video within it."""
    split: str
    kind: Kind
    prompt: str
    """What people were asked to do."""
    moments: tuple[Moment, ...]
    condition: str = "None"
    """Key of the public model's table of condition texts; "None" is its general one."""
    fps: float | None = None
    """Frames a second; None for photos and where it is not known."""
    sigma: float | None = None
    """Blur that makes points a density, fraction of the width; None where maps are published."""
    sound: Stored | None = None
    """WAV, or a video with a sound track."""
    sound_start_s: float = 0.0
    """Time of the sound's first sample, counted from frame 0."""
    things: tuple[Thing, ...] = ()
    size: tuple[int, int] | None = None
    """Width and height in pixels of what people saw; None where it is the file's. Not packed."""

    def __len__(self) -> int:
        return len(self.moments)

    def __str__(self) -> str:
        return f"{self.gaze_set}/{self.split}/{self.name}"

    @property
    def stimulus(self) -> str:
        """Name of the photo or video, whatever was asked of people."""
        return self.name.removesuffix(f", {self.prompt}")

    def image(self, index: int = 0) -> Image:
        """(H, W, 3), BGR."""
        return read_image(self.moments[index].stimulus)

    def points(self, index: int = 0) -> Points:
        """Fixations, or the gazes under way in a frame; none where only a map is published."""
        fixations = self.moments[index].fixations
        if fixations is None:
            return NO_POINTS
        return fixations if isinstance(fixations, np.ndarray) else read_fixation_map(fixations)

    def density(self, shape: tuple[int, int], index: int = 0) -> Map | None:
        """The human density on a grid (h, w), sum 1; None where nobody looked.

        It is the published map, or one Gaussian a point where `sigma` is given and no map.
        """
        saliency_map = self.moments[index].saliency_map
        if saliency_map is not None:
            drawn = read_grey(saliency_map)
            return to_grid(drawn.astype(np.float32), shape) if drawn.any() else None
        points = self.points(index)
        if self.sigma is None or not len(points):
            return None
        return human_density(points, shape, self.sigma)

    def samples(
        self, index: int = 0, window_s: float = 1.0, rate_hz: int = 16_000
    ) -> NDArray[np.float32] | None:
        """Sound that was heard before the frame came up, mono, -1..1; None for silent items.

        `window_s * rate_hz` samples; zeros before the beginning.
        """
        if self.sound is None or self.fps is None:
            return None
        end_s = self.moments[index].number / self.fps - self.sound_start_s
        return samples_between(self.sound, end_s - window_s, window_s, rate_hz)

    def clip(self, start: int, count: int, stride: int = 1) -> Item:
        """The same item with some of its frames: `count` from index `start`, every `stride`-th."""
        return replace(self, moments=self.moments[start : start + count * stride : stride])

    def with_moments(self, moments: Sequence[Moment]) -> Item:
        """The same item with other frames."""
        return replace(self, moments=tuple(moments))


__all__ = ["NO_POINTS", "Blob", "Item", "Kind", "Moment", "Stored", "Thing", "VideoFrame"]
