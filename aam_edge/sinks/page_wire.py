"""What passes between the page's server and a browser over /ws, both directions.

Server to browser, binary: one picture with the map of the prompt that this browser has chosen.

    4 bytes      n, length of the header, unsigned, little-endian
    n bytes      header, JSON: camera, cameras, frame_id, image [W, H] of the source picture,
                 jpeg_bytes, prompts [{index, prompt}], map [h, w] or null, attention or null
    jpeg_bytes   the picture as JPEG, scaled down to `page.width`
    h w bytes    the map, row-major, one unsigned byte c a cell: density = peak (c / 255)^2

The root gives the dark end of the map, where most cells are, its share of the 255 steps. Targets
and gaze are in pixels of the source picture, as everywhere.

Where there are several cameras, twice a second, binary: small pictures of those that this browser
does not look at, each with its first map drawn over it.

    4 bytes      n
    n bytes      header, JSON: {"others": [{camera, jpeg_bytes}, ...]}
    jpeg_bytes   of each, one behind the other

Server to browser, text, JSON: {"type": "health", ...} once a second, and one
{"type": "answer", "id": ..., "ok": true | false, "error": ...} to each message but `seen`. Where
`gaze.crops` asks for them, {"type": "crops", "camera": ..., "frame_id": ..., "crops": [{target_id,
prompt_index, prompt, score, box, jpeg}]}, jpeg in base64.

Browser to server, text, JSON, at most MESSAGE_BYTES:

    {"cmd": "seen", "others": false}                  what came was drawn, the next may come
    {"cmd": "look", "camera": "0", "index": 1}        what this browser wants to see
    {"cmd": "set_prompt", "prompt": ..., "index": 0}  these four go to the loop, like those of the
    {"cmd": "reset" | "pause" | "resume"}             control socket, where they may name a camera;
                                                      any message may carry an id
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge.commands import Answer, Command
from aam_edge.crops import Crops, to_jpeg
from aam_edge.errors import UsageError
from aam_edge.messages import Attention, Frame, Health, Map
from aam_edge.prompts import checked_prompt

MESSAGE_BYTES = 4096
PROMPT_CHARACTERS = 500
"""Fewer than elsewhere: every message in JSON must fit, escapes and all."""
TO_LOOP = ("set_prompt", "reset", "pause", "resume")
TO_SERVER = ("seen", "look")
SMALL_WIDTH = 200
"""Pixels along the longer side of the pictures of the other cameras."""
CROP_FIELDS = ("target_id", "prompt_index", "prompt", "score", "box")


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The newest picture of a camera, with its maps."""

    frame: Frame
    attentions: tuple[Attention, ...]

    def attention(self, index: int) -> Attention | None:
        """The map of a prompt, or of the first one if that prompt is not there."""
        chosen = [a for a in self.attentions if a.prompt_index == index]
        return next(iter(chosen or self.attentions), None)


class JpegEncoder:
    """Pictures to JPEG, once each however many browsers look."""

    def __init__(self, width: int, quality: int) -> None:
        self._width, self._quality = width, quality
        self._last: dict[str, tuple[Shown, bytes]] = {}
        self.encoded = 0
        """Pictures encoded since the start; stands still while nobody looks."""

    def encode(self, shown: Shown) -> bytes:
        """JPEG with its longest side at most `width` pixels."""
        known = self._last.get(shown.frame.camera)
        if known is not None and known[0] is shown:
            return known[1]
        image = shown.frame.image
        scale = self._width / max(image.shape[:2])
        if scale < 1:
            size = [max(1, round(side * scale)) for side in shown.frame.size]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        is_done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        assert is_done, "any uint8 picture has a JPEG"
        self.encoded += 1
        self._last[shown.frame.camera] = shown, data.tobytes()
        return data.tobytes()


def picture_message(shown: Shown, jpeg: bytes, index: int, cameras: Sequence[str]) -> bytes:
    """The binary message of a picture and the map of prompt `index`."""
    attention = shown.attention(index)
    header = {
        "camera": shown.frame.camera,
        "cameras": list(cameras),
        "frame_id": shown.frame.frame_id,
        "image": list(shown.frame.size),
        "jpeg_bytes": len(jpeg),
        "prompts": [{"index": a.prompt_index, "prompt": a.prompt} for a in shown.attentions],
        "map": None if attention is None else list(attention.density.shape),
        "attention": None if attention is None else _numbers_of(attention),
    }
    text = _to_json(header).encode()
    cells = b"" if attention is None else _to_cells(attention.density)
    return b"".join((len(text).to_bytes(4, "little"), text, jpeg, cells))


def others_message(others: Sequence[Shown]) -> bytes:
    """The binary message of small pictures with their maps."""
    jpegs = [small_jpeg(shown) for shown in others]
    named = [
        {"camera": shown.frame.camera, "jpeg_bytes": len(jpeg)}
        for shown, jpeg in zip(others, jpegs, strict=True)
    ]
    text = _to_json({"others": named}).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, *jpegs))


def small_jpeg(shown: Shown) -> bytes:
    """The picture with the map of its first prompt, SMALL_WIDTH pixels along its longer side."""
    size = [max(1, round(s * SMALL_WIDTH / max(shown.frame.size))) for s in shown.frame.size]
    image = np.asarray(cv2.resize(shown.frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if shown.attentions:
        image = shown.attentions[0].heatmap(image)
    is_done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])
    assert is_done, "any uint8 picture has a JPEG"
    return bytes(data)


def health_message(health: Health) -> str:
    """The text message of a health report."""
    return _to_json({"type": "health"} | asdict(health))


def crops_message(crops: Crops) -> str:
    """The text message of a camera's crops."""
    shown = [
        {name: getattr(crop, name) for name in CROP_FIELDS}
        | {"jpeg": b64encode(crop.data if crop.form == "jpeg" else to_jpeg(crop.image())).decode()}
        for crop in crops.crops
    ]
    what = {"type": "crops", "camera": crops.camera, "frame_id": crops.frame_id}
    return _to_json(what | {"crops": shown})


def answer_message(answer: Answer, request: Any) -> str:
    """The text message that answers a request; its id, where it has a simple one, comes back."""
    given = request.get("id") if isinstance(request, dict) else None
    returned = given if isinstance(given, int | str) else None
    return _to_json({**answer, "type": "answer", "id": returned})


def parse_request(text: str) -> Any:
    """Any JSON value; ValueError if it is none."""
    try:
        return json.loads(text)
    except RecursionError as problem:
        raise ValueError("nested too deep") from problem


def check_request(request: Any) -> Command:
    """The command in a request, stripped to what we know; ValueError says what is wrong."""
    name = request.get("cmd") if isinstance(request, dict) else None
    if name not in TO_LOOP + TO_SERVER:
        raise ValueError(f"cmd must be one of {', '.join(TO_LOOP + TO_SERVER)}")
    if name == "seen":
        return {"cmd": name, "others": request.get("others") is True}
    camera = request.get("camera")
    if camera is not None and not isinstance(camera, str):
        raise ValueError("camera must be a name")
    whose = {} if camera is None else {"camera": camera}
    if name not in ("set_prompt", "look"):
        return {"cmd": name} | whose
    index = request.get("index", 0)
    if type(index) is not int or index < 0:
        raise ValueError("index must be 0 or more")
    if name == "look":
        return {"cmd": name, "camera": camera, "index": index}
    try:
        prompt = checked_prompt(request.get("prompt"), PROMPT_CHARACTERS)
    except UsageError as problem:
        raise ValueError(str(problem)) from problem
    return {"cmd": name, "prompt": prompt, "index": index} | whose


def _numbers_of(attention: Attention) -> dict[str, Any]:
    names = ("prompt", "prompt_index", "entropy", "presence", "uncertainty", "cut", "gap", "model")
    numbers = {name: getattr(attention, name) for name in names}
    numbers["targets"] = [asdict(target) for target in attention.targets]
    numbers["gaze"] = None if attention.gaze is None else asdict(attention.gaze)
    return numbers


def _to_cells(density: Map) -> bytes:
    relative = density / max(float(density.max()), float(np.finfo(np.float32).tiny))
    cells: NDArray[np.uint8] = np.rint(255 * np.sqrt(relative)).astype(np.uint8)
    return cells.tobytes()


def _to_json(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON does not know and browsers refuse."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
