"""A stream's state as bytes: to keep, move to another machine, and go on bit by bit.

msgpack; an array is {dtype, shape, data}. What comes back is checked wholly before it touches a
stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aam_edge import wire
from aam_edge.engine.buffers import Shape, initial_state
from aam_edge.engine.size import LARGEST_SIDE, SMALLEST_SIDE, STRIDE
from aam_edge.errors import UsageError
from aam_edge.prompts import checked_prompt

FORMAT = 2
MOST_PROMPTS, MOST_CAMERAS = 16, 64
MOST_REMEMBERED = 10_000
"""Targets and looks of one prompt; they fade within seconds."""
LARGEST_STATE = 1e6
"""Beyond it are no numbers of a network's state, and its sums would overflow."""
LARGEST_RELEASED_SIDE = 4096
LARGEST_COUNT, LARGEST_NUMBER = 2**62, 1e9


def pack_snapshot(state: dict[str, Any]) -> bytes:
    """What `Stream.state` gave, as bytes."""
    sessions = {
        camera: {name: _packed(value) for name, value in session.items()}
        for camera, session in state["sessions"].items()
    }
    return wire.pack({"format": FORMAT} | state | {"sessions": sessions})


def unpack_snapshot(packed: object) -> dict[str, Any]:
    """Bytes to what `Stream.restore` takes; ValueError says what is wrong with them."""
    if not isinstance(packed, bytes):
        raise ValueError("bytes are expected")
    state = wire.unpack(packed)
    if state.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} is expected, got {str(state.get('format'))[:20]}")
    try:
        if len(state["sessions"]) > MOST_CAMERAS:
            raise ValueError(f"more than {MOST_CAMERAS} cameras")
        state["sessions"] = {str(c): _session(s) for c, s in state["sessions"].items()}
        state["asked"] = dict(state.get("asked", {}))
        for asked in (state, *state["asked"].values()):
            _check_asked(asked)
        for camera, session in state["sessions"].items():
            asked = state["asked"].get(camera, state)
            if session["prompts"] != tuple(asked["prompts"]):
                raise ValueError(f"camera {camera} has other prompts")
        _count(state["next_id"])
        for view in state["readout"]:
            _check_view(view)
    except (KeyError, TypeError, AttributeError, OverflowError, UsageError) as problem:
        raise ValueError(f"a part is missing or of the wrong kind: {problem!r}") from problem
    return state


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}
    return value


def _check_asked(asked: dict[str, Any]) -> None:
    prompts, ids = list(asked["prompts"]), list(asked["prompt_ids"])
    if not 1 <= len(prompts) == len(ids) <= MOST_PROMPTS:
        raise ValueError("prompts and their ids do not fit")
    for prompt_id in ids:
        _count(prompt_id)
    if any(checked_prompt(prompt) != prompt for prompt in asked["prompts"]):
        raise ValueError("prompts cannot be asked")


def _check_view(view: dict[str, Any]) -> None:
    """What is remembered of one camera and prompt (`Readout.state`), value by value."""
    if not isinstance(view["camera"], str):
        raise TypeError("camera is no name")
    _count(view["prompt_index"]), _count(view.get("steps", 0))
    if view["prompt_id"] is not None:
        _count(view["prompt_id"])
    tracker = view["tracker"]
    _count(tracker["next_id"]), _stamp(tracker["now_ns"])
    for track in _few(tracker["tracks"]):
        if track.keys() != TRACK:
            raise KeyError("fields of a target")
        _count(track["id"]), _stamp(track["seen_ns"])
        for name in ("x", "y", "vx", "vy", "width_px"):
            _number(track[name])
    for chooser in (view["gaze"], view.get("closer")):
        if isinstance(chooser, dict):
            _check_chooser(chooser)


def _check_chooser(chooser: dict[str, Any]) -> None:
    """What one looks at and has looked at (`GazeChooser.state`)."""
    looks = _few(chooser["looks"])
    for look in looks:
        if look.keys() != LOOK:
            raise KeyError("fields of a look")
        for name in ("x", "y", "strength"):
            _number(look[name])
        if look["target_id"] is not None:
            _count(look["target_id"])
    if chooser["at"] is not None and _count(chooser["at"]) >= len(looks):
        raise ValueError("looks at what is not there")
    _number(chooser["held_s"])
    if chooser["last_ns"] is not None:
        _stamp(chooser["last_ns"])


TRACK = {"id", "x", "y", "width_px", "seen_ns", "vx", "vy"}
LOOK = {"x", "y", "strength", "target_id"}


def _few(items: Any) -> list[Any]:
    if not isinstance(items, list) or len(items) > MOST_REMEMBERED:
        raise ValueError("more is remembered than can be")
    return items


def _count(value: Any) -> int:
    """A whole number from 0 on."""
    if type(value) is not int or not 0 <= value <= LARGEST_COUNT:
        raise ValueError(f"{str(value)[:20]} is no count")
    return value


def _stamp(value: Any) -> int:
    """Nanoseconds, before 1970 too: cameras without a clock exist."""
    if type(value) is not int or abs(value) > LARGEST_COUNT:
        raise ValueError(f"{str(value)[:20]} is no time")
    return value


def _number(value: Any) -> None:
    if type(value) not in (int, float) or not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"{str(value)[:20]} is no number of a picture")


def _session(packed: dict[str, Any]) -> dict[str, Any]:
    """One camera's state, every array of the shape that size and prompts ask for."""
    if any(name.startswith("ring_") for name in packed):
        return _released_session(packed)
    prompts = tuple(str(prompt) for prompt in packed["prompts"])
    last_ns = None if packed["last_ns"] is None else _stamp(packed["last_ns"])
    session: dict[str, Any] = {"prompts": prompts, "last_ns": last_ns, "size": None}
    if packed["size"] is None:
        return session
    height, width = (int(side) for side in packed["size"])
    if any(s % STRIDE or not SMALLEST_SIDE <= s <= LARGEST_SIDE for s in (height, width)):
        raise ValueError(f"size {height}x{width} is none of the network's")
    session["size"] = height, width
    for name, like in initial_state(Shape(len(prompts), height, width)).items():
        array = np.frombuffer(packed[name]["data"], np.float32)
        if array.size != like.size or not (np.abs(array) <= LARGEST_STATE).all():
            raise ValueError(f"{name} has another size or is not finite")
        session[name] = array.reshape(like.shape)
    presence = [float(chance) for chance in packed.get("presence", ())]
    if any(not 0 <= chance <= 1 for chance in presence):
        raise ValueError("presence is no probability")
    session["presence"] = presence if len(presence) == len(prompts) else []
    return session


def _released_session(packed: dict[str, Any]) -> dict[str, Any]:
    """The same of the public network, which looks at the shapes itself."""
    last_ns = None if packed["last_ns"] is None else _stamp(packed["last_ns"])
    height, width = (_count(side) for side in packed["size"])
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST_RELEASED_SIDE:
        raise ValueError(f"size {height}x{width} is none of the network's")
    session: dict[str, Any] = {"last_ns": last_ns, "size": (height, width)}
    session["prompts"] = tuple(str(prompt) for prompt in packed["prompts"])
    for name, saved in packed.items():
        if isinstance(saved, dict):
            dtype = {"<f4": np.float32, "<i8": np.int64}[saved["dtype"]]
            array = np.frombuffer(saved["data"], dtype).reshape(saved["shape"])
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
            session[name] = array
    return session
