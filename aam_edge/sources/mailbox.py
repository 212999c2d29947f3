"""Between a source's thread and the loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Ended(Exception):
    """Nothing more will come through this door."""


class Mailbox(Generic[T]):
    """A slot between a source and the loop.

    With room for one, the newest item wins and a lost one is counted; that is for cameras and files
    at real pace. With `wait=True` a full box makes the source wait, so that every frame is seen.
    """

    def __init__(
        self, room: int = 1, *, wait: bool = False, changed: threading.Condition | None = None
    ) -> None:
        """`changed` is shared by boxes that are emptied together, see `take_ready`."""
        self._items: deque[T] = deque()
        self._room, self._wait = room, wait
        self._ended = False
        self._changed = changed or threading.Condition()
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Adds the item; False if the box has ended and it was refused."""
        with self._changed:
            if self._wait:
                self._changed.wait_for(lambda: len(self._items) < self._room or self._ended)
            if self._ended:
                return False
            if len(self._items) >= self._room:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> T | None:
        """Returns the next item, None if none came in time; raises Ended after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._ended:
                raise Ended
            return None

    @property
    def keeps_next(self) -> bool:
        """Whether the next item looks like being taken: none waits that it would compete with."""
        return self._wait or not self._items

    def end(self) -> None:
        """No item will follow; what is inside can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def take_ready(boxes: Sequence[Mailbox[T]], timeout_s: float) -> list[T]:
    """The next item of each box that has one; the boxes share their `changed`.

    Waits only until one has one. Empty if none came in time; raises Ended after the last item of
    all.
    """
    changed = boxes[0]._changed
    assert all(box._changed is changed for box in boxes), "boxes must share one condition"

    def is_settled() -> bool:
        return any(box._items for box in boxes) or all(box._ended for box in boxes)

    with changed:
        changed.wait_for(is_settled, timeout_s)
        items = [item for box in boxes if box._items and (item := box.take(0)) is not None]
        if not items and all(box._ended for box in boxes):
            raise Ended
        return items
