"""What a recording holds and where: from its own index, or by reading it through.

A whole file has its index at the end. A killed one has none; it is read once, record by record, and
what is whole of it counts. A record is a byte that says which, its length, uint64, and so much.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Attachment, Channel, Chunk, Message, Schema

from aam_edge.recording.chunks import DAMAGED, read_chunk_record, records_of

MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A chunk or an attachment."""

    offset: int
    """Of the record, from the file's start."""
    start_ns: int
    end_ns: int
    attachment: str | None = None
    """Its name; None for a chunk."""


@dataclass(slots=True)
class Index:
    """Everything but the messages."""

    profile: str
    is_whole: bool = False
    """Whether the file was closed as it should be."""
    channels: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    """In the order of the file."""
    counts: dict[str, int] = field(default_factory=dict)
    """Messages by topic."""
    damaged: int = 0
    """Chunks that cannot be read; only known where the file was read through."""
    lost_bytes: int = 0
    """Behind the last whole record."""

    @property
    def start_ns(self) -> int:
        """Log time of the first message; 0 where there is none."""
        return min((block.start_ns for block in self.blocks if not block.attachment), default=0)

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return max((block.end_ns for block in self.blocks if not block.attachment), default=0)


def read_index(file: IO[bytes]) -> Index:
    """The index of an MCAP file; raises one of DAMAGED where not even its head can be read."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(0)
    head = SeekingReader(file, record_size_limit=size).get_header()
    index = Index(head.profile)
    if not _is_from_summary(file, size, index):
        index = Index(head.profile)
        _scan(file, size, index)
    return index


def _is_from_summary(file: IO[bytes], size: int, index: Index) -> bool:
    file.seek(0)
    try:
        summary = SeekingReader(file, record_size_limit=size).get_summary()
    except DAMAGED:
        return False
    statistics = None if summary is None else summary.statistics
    if summary is None or statistics is None:
        return False
    if statistics.message_count and not summary.chunk_indexes:
        return False  # without chunks there is nothing to seek by
    index.channels, index.schemas, index.is_whole = summary.channels, summary.schemas, True
    index.blocks = [
        Block(c.chunk_start_offset, c.message_start_time, c.message_end_time)
        for c in summary.chunk_indexes
    ]
    index.blocks += [
        Block(a.offset, a.log_time, a.log_time, a.name) for a in summary.attachment_indexes
    ]
    index.blocks.sort(key=lambda block: block.offset)
    for channel, count in statistics.channel_message_counts.items():
        if channel in index.channels:
            _count(index, index.channels[channel].topic, count)
    return True


def _scan(file: IO[bytes], size: int, index: Index) -> None:
    offset = len(MAGIC)
    while offset + 9 <= size:
        file.seek(offset)
        opcode, length = struct.unpack("<BQ", file.read(9))
        end = offset + 9 + length
        if opcode == Opcode.FOOTER:
            index.is_whole = True
            offset = size
            break
        if end > size or not opcode:
            break
        try:
            _add(file, opcode, offset, index)
        except DAMAGED:
            index.damaged += 1
        offset = end
    index.lost_bytes = size - offset


def _add(file: IO[bytes], opcode: int, offset: int, index: Index) -> None:
    if opcode == Opcode.CHUNK:
        chunk = read_chunk_record(file)
        _add_chunk(chunk, index)
        index.blocks.append(Block(offset, chunk.message_start_time, chunk.message_end_time))
    elif opcode == Opcode.ATTACHMENT:
        attachment = Attachment.read(ReadDataStream(file))
        time_ns = attachment.log_time
        index.blocks.append(Block(offset, time_ns, time_ns, attachment.name))
    elif opcode == Opcode.MESSAGE:
        raise ValueError("messages outside of chunks are not read")


def _add_chunk(chunk: Chunk, index: Index) -> None:
    for record in records_of(chunk):
        if isinstance(record, Schema):
            index.schemas[record.id] = record
        elif isinstance(record, Channel):
            index.channels[record.id] = record
        elif isinstance(record, Message):
            _count(index, index.channels[record.channel_id].topic, 1)


def _count(index: Index, topic: str, count: int) -> None:
    index.counts[topic] = index.counts.get(topic, 0) + count


def read_chunk(file: IO[bytes], block: Block) -> list[Message]:
    """The messages of a chunk in their order; raises one of DAMAGED."""
    file.seek(block.offset + 9)
    records = records_of(read_chunk_record(file))
    return [record for record in records if isinstance(record, Message)]


def read_attachment(file: IO[bytes], block: Block) -> Attachment:
    """An attachment; raises one of DAMAGED."""
    file.seek(block.offset + 9)
    attachment: Attachment = Attachment.read(ReadDataStream(file))
    return attachment
