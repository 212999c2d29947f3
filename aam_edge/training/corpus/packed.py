"""An item as the members of one sample of a shard, and back; both directions side by side.

Members are named by what follows the sample's key:

    s0000.jpg   picture of frame 0, as it was stored (frames of videos: JPEG)
    m0000.png   its map, as it was stored
    points.npy  (n, 3) float64: index of the frame in the sample, x, y
    sound.wav   mono, 16 bit, from a little before the first frame to a little behind the last
    json        the rest, and size and CRC-32 of the other members, so that none is missed
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from io import BytesIO
from typing import Any

import cv2
import numpy as np

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment, Thing
from aam_edge.training.corpus.sound import read_sound
from aam_edge.training.corpus.stored import (
    Blob,
    Stored,
    VideoFrame,
    content_of,
    read_image,
    suffix_of,
)
from aam_edge.training.metrics import Points
from aam_edge.training.tables import BROKEN

Members = dict[str, bytes]
SOUND_AROUND_S = 2.0
"""Kept before the first and behind the last frame: windows reach back 1 s, the public model's 1 s
ahead."""
JPEG_QUALITY = 95
PACK_AGAIN = "pack the set again"
_NUMBERS = ("fps", "sigma")
_PLAIN = ("gaze_set", "name", "split", "kind", "prompt", "condition", "fps", "sigma")


def pack(item: Item) -> Members:
    """All members."""
    members: Members = {}
    frames = []
    for index, moment in enumerate(item.moments):
        suffix, content = _picture(moment.stimulus)
        stimulus, saliency_map = f"s{index:04d}{suffix}", None
        members[stimulus] = content
        if moment.saliency_map is not None:
            saliency_map = f"m{index:04d}{suffix_of(moment.saliency_map)}"
            members[saliency_map] = content_of(moment.saliency_map)
        frames.append(
            {
                "number": moment.number,
                "stimulus": stimulus,
                "map": saliency_map,
                "has_points": moment.fixations is not None,
            }
        )
    members["points.npy"] = _packed_points(item)
    facts: dict[str, Any] = {name: getattr(item, name) for name in _PLAIN}
    facts |= {"frames": frames, "things": [asdict(thing) for thing in item.things]}
    if item.sound is not None and item.fps:
        first_s, last_s = (item.moments[i].number / item.fps for i in (0, -1))
        start_s, members["sound.wav"] = _sound(item, first_s, last_s)
        facts["sound_start_s"] = start_s
    facts["members"] = {name: [len(c), zlib.crc32(c)] for name, c in members.items()}
    return members | {"json": json.dumps(facts).encode()}


def unpack(members: Members, where: str) -> Item:
    """The item; DataError where a member is missing or damaged. `where` names the sample."""
    try:
        facts = json.loads(members["json"])
        _check(facts["members"], members, where)
        _check_facts(facts)
        blobs = {name: Blob(f"{where}.{name}", content) for name, content in members.items()}
        points = np.load(BytesIO(members["points.npy"]), allow_pickle=False)
        return Item(
            moments=tuple(
                Moment(
                    blobs[frame["stimulus"]],
                    blobs[frame["map"]] if frame["map"] else None,
                    points[points[:, 0] == index, 1:] if frame["has_points"] else None,
                    frame["number"],
                )
                for index, frame in enumerate(facts["frames"])
            ),
            sound=blobs.get("sound.wav"),
            sound_start_s=facts.get("sound_start_s", 0.0),
            things=tuple(_thing(**thing) for thing in facts["things"]),
            **{name: facts[name] for name in _PLAIN},
        )
    except BROKEN as problem:
        raise DataError("sample of a shard cannot be read", where, PACK_AGAIN) from problem


def _check_facts(facts: dict[str, Any]) -> None:
    """ValueError where facts are not of their kinds."""
    if not facts["frames"]:
        raise ValueError("a sample has a frame at least")
    texts = [facts[name] for name in _PLAIN if name not in _NUMBERS]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a fact is no text")
    numbers = [facts[name] for name in _NUMBERS if facts[name] is not None]
    numbers += [facts.get("sound_start_s", 0.0), *(frame["number"] for frame in facts["frames"])]
    if not all(_is_number(number) for number in numbers):
        raise ValueError("a fact is no number")
    if any(facts[name] is not None and facts[name] <= 0 for name in _NUMBERS):
        raise ValueError("a rate or a blur is above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15


def _check(vouched: dict[str, list[int]], members: Members, where: str) -> None:
    for name, (length, checksum) in vouched.items():
        content = members.get(name)
        if content is None:
            raise DataError("member of a shard is missing", f"{where}.{name}", PACK_AGAIN)
        if len(content) != length or zlib.crc32(content) != checksum:
            raise DataError("member of a shard is damaged", f"{where}.{name}", PACK_AGAIN)


def _thing(name: str, box: list[float] | None, is_crowd: bool) -> Thing:
    return Thing(name, (box[0], box[1], box[2], box[3]) if box else None, is_crowd)


def _picture(stimulus: Stored | VideoFrame) -> tuple[str, bytes]:
    """Ending and content."""
    if not isinstance(stimulus, VideoFrame):
        return suffix_of(stimulus), content_of(stimulus)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return ".jpg", cv2.imencode(".jpg", read_image(stimulus), quality)[1].tobytes()


def _packed_points(item: Item) -> bytes:
    rows: list[Points] = [
        np.insert(item.points(index), 0, index, axis=1) for index in range(len(item))
    ]
    file = BytesIO()
    np.save(file, np.concatenate(rows))
    return file.getvalue()


def _sound(item: Item, first_s: float, last_s: float) -> tuple[float, bytes]:
    """Time of the first sample from frame 0, and a WAV of what lies around the frames."""
    from scipy.io import wavfile

    assert item.sound is not None
    samples, rate_hz = read_sound(item.sound)
    edges_s = (first_s - SOUND_AROUND_S, last_s + SOUND_AROUND_S)
    first, last = (max(0, round((edge_s - item.sound_start_s) * rate_hz)) for edge_s in edges_s)
    file = BytesIO()
    # A zero keeps a sound that has ended before from being an empty file.
    piece = samples[first:last] if first < len(samples) else np.zeros(1, np.float32)
    wavfile.write(file, rate_hz, np.clip(np.rint(piece * 32768), -32768, 32767).astype(np.int16))
    return item.sound_start_s + first / rate_hz, file.getvalue()
