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
MOST_PROMPTS = 16


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
        state["sessions"] = {str(c): _session(s) for c, s in state["sessions"].items()}
        state["asked"] = dict(state.get("asked", {}))
        for asked in (state, *state["asked"].values()):
            _check_asked(asked)
        for camera, session in state["sessions"].items():
            asked = state["asked"].get(camera, state)
            if session["prompts"] != tuple(asked["prompts"]):
                raise ValueError(f"camera {camera} has other prompts")
        _ = int(state["next_id"]), list(state["readout"])
    except (KeyError, TypeError, AttributeError, UsageError) as problem:
        raise ValueError(f"a part is missing or of the wrong kind: {problem!r}") from problem
    return state


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}
    return value


def _check_asked(asked: dict[str, Any]) -> None:
    if not len(asked["prompts"]) == len(asked["prompt_ids"]) <= MOST_PROMPTS:
        raise ValueError("prompts and their ids do not fit")
    if any(checked_prompt(prompt) != prompt for prompt in asked["prompts"]):
        raise ValueError("prompts cannot be asked")


def _session(packed: dict[str, Any]) -> dict[str, Any]:
    """One camera's state, every array of the shape that size and prompts ask for."""
    if any(name.startswith("ring_") for name in packed):
        return _released_session(packed)
    prompts = tuple(str(prompt) for prompt in packed["prompts"])
    session: dict[str, Any] = {"prompts": prompts, "last_ns": packed["last_ns"], "size": None}
    if packed["size"] is None:
        return session
    height, width = (int(side) for side in packed["size"])
    if any(s % STRIDE or not SMALLEST_SIDE <= s <= LARGEST_SIDE for s in (height, width)):
        raise ValueError(f"size {height}x{width} is none of the network's")
    session["size"] = height, width
    for name, like in initial_state(Shape(len(prompts), height, width)).items():
        array = np.frombuffer(packed[name]["data"], np.float32)
        if array.size != like.size or not np.isfinite(array).all():
            raise ValueError(f"{name} has another size or is not finite")
        session[name] = array.reshape(like.shape)
    presence = [float(chance) for chance in packed.get("presence", ())]
    session["presence"] = presence if len(presence) == len(prompts) else []
    return session


def _released_session(packed: dict[str, Any]) -> dict[str, Any]:
    """The same of the public network, which looks at the shapes itself."""
    session = {"last_ns": packed["last_ns"], "size": tuple(packed["size"])}
    session["prompts"] = tuple(str(prompt) for prompt in packed["prompts"])
    for name, saved in packed.items():
        if isinstance(saved, dict):
            dtype = {"<f4": np.float32, "<i8": np.int64}[saved["dtype"]]
            array = np.frombuffer(saved["data"], dtype).reshape(saved["shape"])
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
            session[name] = array
    return session
