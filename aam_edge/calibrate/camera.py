"""`calibrate camera`: looks for the board in pictures, wherever they come from."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from aam_edge.calibrate.board import Board
from aam_edge.calibrate.coverage import CoveragePage
from aam_edge.calibrate.gather import Gatherer
from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame
from aam_edge.sources.catalog import OpenSource, camera_name, make_source
from aam_edge.sources.folder import list_pictures
from aam_edge.sources.picture import is_picture, read_picture

logger = logging.getLogger(__name__)

ENOUGH_VIEWS = 25
"""A live camera stops by itself after so many; more change nothing that matters."""
ENOUGH_COVERED = 0.85
"""Of the picture, for the same."""
NamedFrame = tuple[str, Frame]


def is_folder(spec: str) -> bool:
    """Whether a source is photos, each taken on purpose."""
    return Path(spec).is_dir() or is_picture(Path(spec))


def named_frames(spec: str, config: SourceConfig) -> Iterator[NamedFrame]:
    """Every frame of a source with what to call it; photos by the names of their files."""
    if is_folder(spec):
        yield from _photos(Path(spec))
        return
    with OpenSource(make_source(spec, config, endless_demo=False)) as frames:
        for count, frame in enumerate(frames):
            yield f"picture {count}", frame


def _photos(path: Path) -> Iterator[NamedFrame]:
    for count, file in enumerate(list_pictures(path)):
        try:
            image = read_picture(file)
        except SourceError as problem:
            logger.warning("%s; skipped", problem)
            continue
        yield file.name, Frame(image, time.time_ns(), camera_name(str(path)), count)


def gather(
    frames: Iterable[NamedFrame], board: Board, gatherer: Gatherer, page: CoveragePage | None
) -> None:
    """Looks for the board in all frames; Ctrl-C ends it like the last of them.

    Stops by itself where views are chosen and enough of them lie all over the picture.
    """
    try:
        for name, frame in frames:
            view = board.find(frame.image, name)
            if gatherer.offer(frame.size, view):
                covered = gatherer.covered_part()
                logger.info("%s kept: %d, %.0f %% seen", name, len(gatherer.views), 100 * covered)
            if page is not None:
                page.show(frame, gatherer, view)
            if is_enough(gatherer):
                return
    except KeyboardInterrupt:
        logger.info("stopped: going on with %d views", len(gatherer.views))


def is_enough(gatherer: Gatherer) -> bool:
    """Whether a video or camera has shown all that is needed."""
    has_views = len(gatherer.views) >= ENOUGH_VIEWS
    return not gatherer.takes_all and has_views and gatherer.covered_part() >= ENOUGH_COVERED
