"""What a stream published, read back from its recording."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from aam_edge.errors import DataError
from aam_edge.messages import Attention, Health
from aam_edge.recording import topics
from aam_edge.recording.reader import Item, Recording

logger = logging.getLogger(__name__)


def published(
    recording: Recording, from_ns: int = 0, to_ns: int | None = None
) -> Iterator[tuple[int, Attention | Health]]:
    """Log time and message, in the order of publishing, maps with all their bits.

    What is broken is left out and said. Raises DataError where nothing was published at all.
    """
    reader = _Reader(recording)
    for item in recording.items(from_ns, to_ns, published_topics(recording)):
        message = reader.read(item)
        if message is not None:
            yield item.log_ns, message


class _Reader:
    """Joins a map's message with its density, which follows it."""

    def __init__(self, recording: Recording):
        self._recording = recording
        self._text = ""

    def read(self, item: Item) -> Attention | Health | None:
        """What is complete with this item; None if nothing is, or it is broken."""
        try:
            message = self._recording.decode(item)
            if item.topic.endswith(f"/{topics.MESSAGE}"):
                self._text = message["data"]
                return None
            if item.topic.endswith(f"/{topics.HEALTH}"):
                return topics.read_health(message["data"])
            return topics.read_attention(self._text, topics.read_array(message))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as problem:
            logger.warning("%s: left out of the recording: %s", item.topic, problem)
            return None


def published_topics(recording: Recording) -> set[str]:
    """Those from which what was published can be read; raises DataError if there are none."""
    kinds = {
        topics.MESSAGE: topics.STRING,
        topics.DENSITY: topics.MULTI_ARRAY,
        topics.HEALTH: topics.STRING,
    }
    types = recording.types
    found = {
        topic
        for topic, kind in types.items()
        for ending, expected in kinds.items()
        if topic.endswith(f"/{ending}") and kind == expected
    }
    if not any(topic.endswith(f"/{topics.DENSITY}") for topic in found):
        shown = ", ".join(sorted(types)[:4]) or "no topics"
        todo = "give one made with aam-edge --record"
        raise DataError("recording has no maps of ours", f"{recording.path}: {shown}", todo)
    return found
