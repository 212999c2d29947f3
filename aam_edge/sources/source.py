"""What every source looks like to its thread."""

from __future__ import annotations

from typing import Protocol

from aam_edge.messages import Frame, Sound


class Source(Protocol):
    """Pictures, and sound where there is any, of one camera.

    One thread opens, reads and closes. `interrupt` alone may come from another: it wakes a `read`
    that waits for its time, as far as the library below allows.
    """

    camera: str
    """Its name in topics and messages."""
    is_live: bool
    """Live sources are opened again when they are lost; files end."""

    def open(self) -> None:
        """Raises SourceError. May be called again after `close`; frame_id goes on."""

    def read(self) -> Frame | Sound:
        """The next thing in order of capture; raises Ended at the end, SourceError when lost."""

    def interrupt(self) -> None:
        """Makes a waiting `read`, and every later one, raise Ended soon."""

    def close(self) -> None:
        """Twice is fine."""
