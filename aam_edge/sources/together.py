"""Several sources at once for programs: whoever has a frame is given out, nobody is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from aam_edge.config import SourceConfig
from aam_edge.messages import Frame
from aam_edge.sources.catalog import camera_name, make_source, unique_names
from aam_edge.sources.feed import Feed, start_all
from aam_edge.sources.mailbox import Ended, Mailbox, take_ready

WAIT_S = 0.5


class OpenSources:
    """Open sources, iterated over for lists of frames, at most one of each camera.

    A camera that is lost is opened again meanwhile; the end comes with the last of all.
    """

    def __init__(self, specs: tuple[str, ...], config: SourceConfig):
        changed = threading.Condition()
        is_every = config.pace == "every"
        names = unique_names([camera_name(spec) for spec in specs])
        self._boxes = [Mailbox[Frame](1, wait=is_every, changed=changed) for _ in specs]
        self._feeds = [
            Feed(make_source(spec, config, name, endless_demo=False), box, None, config)
            for spec, name, box in zip(specs, names, self._boxes, strict=True)
        ]
        self.cameras = names
        try:
            start_all(self._feeds)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[list[Frame]]:
        try:
            while True:
                if frames := take_ready(self._boxes, WAIT_S):
                    yield frames
        except Ended:
            for feed in self._feeds:
                if feed.failure is not None:
                    raise feed.failure from None
        finally:
            self.close()

    def __enter__(self) -> OpenSources:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all; twice is fine."""
        for feed in self._feeds:
            feed.stop()


def open_sources(
    *specs: str, pace: str = "real", mic: str = "none", **settings: Any
) -> OpenSources:
    """Opens several sources for `for frames in ...`, each list for `Stream.step_together`.

    Args:
        specs: as after --camera, one or more.
        pace: `real` time with drops, or every frame of files.
        mic: none, as only frames are given out.
        **settings: other fields of SourceConfig, such as size, fps or loop.

    Raises:
        SourceError: one of them cannot be opened, or the last one was lost for good.
    """
    config = SourceConfig(pace=pace, mic=mic, **settings)  # type: ignore[arg-type]
    return OpenSources(specs, config)
