"""Recordings, opened: what is in them, and their items in the order of writing from any time on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aam_edge.errors import DataError
from aam_edge.recording import topics
from aam_edge.recording.cdr import Codec
from aam_edge.recording.chunks import DAMAGED
from aam_edge.recording.index import MAGIC, Block, Index, read_attachment, read_chunk, read_index
from aam_edge.ros_definitions import full_name
from aam_edge.strict_yaml import LARGEST_BYTES, parse_yaml

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """A message, or an attachment."""

    topic: str
    """Empty for an attachment."""
    name: str
    """Type of the message, or name of the attachment."""
    log_ns: int
    data: bytes
    """As it lies in the file: CDR, or the attachment itself."""


class Recording:
    """An open recording. Used by one thread.

    Raises DataError, with one line that says what is wrong, where it is no recording that can be
    read at all.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = _open(path)
        self._codecs: dict[str, Codec] = {}
        self.damaged = 0
        """Chunks left out since it was opened, because they could not be read."""
        try:
            self.index = self._checked_index()
        except BaseException:
            self._file.close()
            raise

    def _checked_index(self) -> Index:
        try:
            index = read_index(self._file)
        except DAMAGED as problem:
            raise DataError("recording is cut off", self.path, "nothing of it is left") from problem
        encodings = {channel.message_encoding for channel in index.channels.values()}
        if index.profile == "ros1" or "ros1" in encodings:
            todo = "convert it to ROS 2, with rosbags-convert for instance"
            raise DataError("recording is of ROS 1", self.path, todo)
        if not index.counts:
            todo = "nothing of it is left" if not index.is_whole else "record it again"
            raise DataError("recording holds no messages", self.path, todo)
        return index

    @property
    def types(self) -> dict[str, str]:
        """Topic to full name of its type."""
        schemas = self.index.schemas
        return {
            channel.topic: full_name(schemas[channel.schema_id].name)
            for channel in self.index.channels.values()
            if channel.schema_id in schemas
        }

    @property
    def run(self) -> dict[str, Any]:
        """The settings, versions and weights that it was made with; empty where it has none.

        Raises DataError where it is of a later format.
        """
        for block in self.index.blocks:
            if block.attachment == topics.RUN:
                run = self._read_run(block)
                schema = run.get("schema", topics.SCHEMA)
                if isinstance(schema, int) and schema > topics.SCHEMA:
                    values = f"{self.path}: schema {schema}, known {topics.SCHEMA}"
                    raise DataError("recording is of a newer aam-edge", values, "update aam-edge")
                return run
        return {}

    def _read_run(self, block: Block) -> dict[str, Any]:
        try:
            data = read_attachment(self._file, block).data
            if len(data) > LARGEST_BYTES:
                raise ValueError("it is too large")
            content = parse_yaml(data.decode(), strict=False)
        except DAMAGED as problem:
            logger.warning("%s: %s cannot be read: %s", self.path, topics.RUN, problem)
            return {}
        return content if isinstance(content, dict) else {}

    def state_before(self, time_ns: int) -> int:
        """Log time of the last recorded state of the network up to a time; the start if none."""
        times = [b.start_ns for b in self.index.blocks if b.attachment == topics.STATE]
        return max((t for t in times if t <= time_ns), default=self.index.start_ns)

    def items(
        self, from_ns: int = 0, to_ns: int | None = None, wanted: Collection[str] | None = None
    ) -> Iterator[Item]:
        """Messages and attachments in the order in which they were written.

        Args:
            from_ns, to_ns: log times, the first included, the last not. Found by the index.
            wanted: topics; None for all, and then the attachments too.
        """
        names = {i: c.topic for i, c in self.index.channels.items()}
        kinds = self.types
        for block in self.index.blocks:
            if block.end_ns < from_ns or (to_ns is not None and block.start_ns >= to_ns):
                continue
            if block.attachment is not None:
                if wanted is None:
                    data = read_attachment(self._file, block).data
                    yield Item("", block.attachment, block.start_ns, data)
                continue
            for message in self._messages(block):
                topic = names.get(message.channel_id, "")
                is_in_time = from_ns <= message.log_time
                is_in_time &= to_ns is None or message.log_time < to_ns
                if topic and is_in_time and (wanted is None or topic in wanted):
                    yield Item(topic, kinds.get(topic, ""), message.log_time, message.data)

    def _messages(self, block: Block) -> list[Any]:
        try:
            return read_chunk(self._file, block)
        except DAMAGED as problem:
            self.damaged += 1
            logger.warning("%s: a chunk is left out: %s", self.path, problem)
            return []

    def decode(self, item: Item) -> dict[str, Any]:
        """A message as a dict; ValueError where it is not what its schema says."""
        if item.topic not in self._codecs:
            self._codecs[item.topic] = self._make_codec(item.topic)
        return self._codecs[item.topic].decode(item.data)

    def _make_codec(self, topic: str) -> Codec:
        channel = next(c for c in self.index.channels.values() if c.topic == topic)
        schema = self.index.schemas.get(channel.schema_id)
        if schema is None:
            raise DataError("topic has no schema", topic, "record it with ROS 2")
        if channel.message_encoding != "cdr" or schema.encoding != "ros2msg":
            form = f"{topic}: {channel.message_encoding}, {schema.encoding}"
            raise DataError("topic is in no form that is read", form, "record it with ROS 2")
        return Codec(schema.name, schema.data.decode())

    def close(self) -> None:
        """Twice is fine."""
        self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def _open(path: Path) -> IO[bytes]:
    """The file, looked at by its first bytes; raises DataError."""
    try:
        file = path.open("rb")
        magic = file.read(16)
    except OSError as problem:
        why = f"{path}: {problem.strerror}"
        raise DataError("recording cannot be read", why, "check the path") from problem
    if magic.startswith(MAGIC):
        return file
    file.close()
    if not magic:
        raise DataError("recording is empty", path, "record it again")
    if magic.startswith(b"#ROSBAG"):
        todo = "convert it to ROS 2, with rosbags-convert for instance"
        raise DataError("recording is of ROS 1", path, todo)
    if magic.startswith(b"SQLite format 3"):
        todo = "convert it with ros2 bag convert"
        raise DataError("recording is SQLite, not MCAP", path, todo)
    if magic.startswith(MAGIC[:5]):
        version = f"{path}: version {magic[5:6].decode('ascii', 'replace')}, known 0"
        raise DataError("recording is of a newer MCAP", version, "update aam-edge")
    raise DataError("file is no recording", path, "give an MCAP file made with --record")
