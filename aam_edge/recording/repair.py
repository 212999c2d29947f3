"""A killed or damaged recording, written anew as a whole one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mcap.writer import CompressionType, Writer

from aam_edge.errors import DataError
from aam_edge.recording.reader import Recording


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was saved."""

    path: Path
    messages: int
    seconds: float
    lost_bytes: int
    """At the end, of a record that was not finished."""
    damaged: int
    """Chunks that could not be read."""


def repair(source: Path, target: Path) -> Repaired:
    """Writes everything that is whole in `source` to `target`, which must not be there yet.

    Raises DataError where nothing can be read or the target cannot be written.
    """
    part = target.with_name(target.name + ".part")
    with Recording(source) as recording:
        try:
            messages = _copy(recording, part, target)
        except OSError as problem:
            part.unlink(missing_ok=True)
            why = f"{target}: {problem.strerror}"
            raise DataError("recording cannot be written", why, "give another --out") from problem
        index = recording.index
        seconds = (index.end_ns - index.start_ns) / 1e9
        damaged = index.damaged + recording.damaged
        return Repaired(target, messages, seconds, index.lost_bytes, damaged)


def _copy(recording: Recording, part: Path, target: Path) -> int:
    if target.exists():
        raise DataError("file is there already", target, "give another --out")
    messages = 0
    index = recording.index
    with part.open("wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start(index.profile, "aam-edge repair")
        schemas = {
            number: writer.register_schema(schema.name, schema.encoding, schema.data)
            for number, schema in index.schemas.items()
        }
        channels = {
            channel.topic: writer.register_channel(
                channel.topic,
                channel.message_encoding,
                schemas.get(channel.schema_id, 0),
                channel.metadata,
            )
            for channel in index.channels.values()
        }
        for item in recording.items():
            if not item.topic:
                writer.flush()
                writer.add_attachment(item.log_ns, item.log_ns, item.name, "", item.data)
                continue
            writer.add_message(channels[item.topic], item.log_ns, item.data, item.log_ns, messages)
            messages += 1
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
    part.rename(target)
    return messages
