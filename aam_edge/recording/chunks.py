"""What lies in a chunk, taken out within bounds: a file of a few bytes can claim to be endless.

mcap, which reads with lz4 and zstandard, believes what a chunk says of its size, or does not look.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import IO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.records import Chunk, McapRecord
from mcap.stream_reader import breakup_chunk

LARGEST_CHUNK_BYTES = 128 << 20
"""Ours have a megabyte, or one message. Those of others hold some raw pictures at most."""
DAMAGED = (
    *(McapError, ValueError, RuntimeError, KeyError, IndexError, OSError),
    *(EOFError, OverflowError, MemoryError, struct.error, zstandard.ZstdError),
)
"""What mcap, lz4 and zstandard raise for bytes that are not what they should be."""


def read_chunk_record(file: IO[bytes]) -> Chunk:
    """The chunk that begins here, as it lies in the file; raises one of DAMAGED."""
    chunk: Chunk = Chunk.read(ReadDataStream(file))
    return chunk


def records_of(chunk: Chunk) -> list[McapRecord]:
    """Its schemas, channels and messages; raises one of DAMAGED."""
    size = chunk.uncompressed_size
    if size > LARGEST_CHUNK_BYTES:
        raise ValueError(f"a chunk of {size >> 20} MB")
    content = _unpacked(chunk, size) if chunk.compression else chunk.data
    if len(content) != size:
        raise ValueError("a chunk is not as large as it says")
    return list(breakup_chunk(replace(chunk, compression="", data=content), validate_crc=True))


def _unpacked(chunk: Chunk, size: int) -> bytes:
    """At most one byte more than it should be. What a frame claims itself is not believed."""
    if chunk.compression == "lz4":
        with lz4.frame.LZ4FrameDecompressor() as frame:
            return bytes(frame.decompress(chunk.data, max_length=size + 1))
    if chunk.compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(chunk.data) as reader:
            return reader.read(size + 1)
    raise ValueError(f"a chunk is compressed as {chunk.compression[:20]}")
