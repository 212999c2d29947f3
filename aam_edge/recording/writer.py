"""One MCAP file while it is written: ROS 2 messages, lz4, whole on the disk up to its last chunk.

The file is unbuffered and what a write left half done is cut off, so that at any moment it is a
row of whole records: a plain streaming reader reads all of them. Only the index at the end is
missing until `close`.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

from mcap.opcode import Opcode
from mcap.writer import CompressionType, Writer

import aam_edge
from aam_edge.recording.cdr import codec
from aam_edge.ros_definitions import full_definition

CHUNK_BYTES = 1 << 20
NEVER = 1 << 62
CHUNK_S = 0.4
"""Longest life of a chunk that is only in memory. A chunk and its queue are what kill -9 takes."""
SYNC_S = 1.0
"""Between two requests that the system put all on the disk: what a power cut takes."""


class WholeFile:
    """A file that never ends in half a record; what `mcap.writer` writes to."""

    def __init__(self, path: Path):
        self._file = io.FileIO(path, "xb")
        self._end = 0
        self.chunks = 0
        """That lie in it whole; `mcap.writer` gives each in a write of its own."""

    def write(self, data: bytes) -> int:
        """Writes all or nothing; raises OSError."""
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.seek(self._end)
            self._file.truncate()
            raise
        self._end += len(data)
        self.chunks += data[:1] == bytes([Opcode.CHUNK])
        return len(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._end

    def flush(self) -> None:
        """Nothing is held back."""

    def sync(self) -> None:
        """Asks the system to put it on the disk."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Twice is fine."""
        self._file.close()


class RecordingFile:
    """Messages of any type that `ros_definitions` knows; used by one thread. Raises OSError."""

    def __init__(self, path: Path):
        self.path = path
        self._file = WholeFile(path)
        self._writer = Writer(
            self._file,  # type: ignore[arg-type]  # write, tell and flush are all it uses
            chunk_size=NEVER,  # `tick` ends chunks, between two steps
            compression=CompressionType.LZ4,
        )
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self._is_closed = False
        self._waiting_bytes = 0
        self._flushed_s = self._synced_s = time.monotonic()
        try:
            self._writer.start("ros2", f"aam-edge {aam_edge.__version__}")
        except OSError:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    @property
    def size_bytes(self) -> int:
        """What lies in the file, the chunk in memory not counted."""
        return self._file.tell()

    @property
    def chunks(self) -> int:
        """Written so far: what was added since the last one is in memory alone."""
        return self._file.chunks

    def attach(self, name: str, media_type: str, data: bytes, time_ns: int) -> None:
        """Puts a whole file in, after all that was written before."""
        self._writer.flush()
        self._writer.add_attachment(time_ns, time_ns, name, media_type, data)

    def write(self, topic: str, kind: str, message: dict[str, Any], time_ns: int) -> None:
        """Adds a message; a topic keeps the type of its first one."""
        channel = self._channel(topic, kind)
        number = self._counts[channel] = self._counts.get(channel, -1) + 1
        data = codec(kind).encode(message)
        self._waiting_bytes += len(data)
        self._writer.add_message(channel, time_ns, data, time_ns, number)

    def tick(self) -> None:
        """Ends a chunk that is old or large enough; to be called between two steps, often.

        So no chunk ends within a step, and what a killed process leaves are whole steps.
        """
        now_s = time.monotonic()
        if now_s - self._flushed_s >= CHUNK_S or self._waiting_bytes >= CHUNK_BYTES:
            self._flushed_s, self._waiting_bytes = now_s, 0
            self._writer.flush()
        if now_s - self._synced_s >= SYNC_S:
            self._synced_s = now_s
            self._file.sync()

    def close(self) -> None:
        """Writes the index and closes; twice is fine. Closes also where the index has no room."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._writer.finish()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Closes without index, after a failed write."""
        self._is_closed = True
        self._file.close()

    def _channel(self, topic: str, kind: str) -> int:
        if topic not in self._channels:
            if kind not in self._schemas:
                text = full_definition(kind).encode()
                self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", text)
            schema = self._schemas[kind]
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        return self._channels[topic]
