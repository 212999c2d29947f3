"""What fits into which message type: the types of a rosbridge stand-in, and its checks."""

from __future__ import annotations

import base64
import time
from typing import Any

from tests.ros_types import ROS_1, ROS_2, Fields

Tree = dict[str, Any]
INTEGERS = {
    f"{sign}int{bits}": (0 if sign else -(1 << bits - 1), (1 << bits - (not sign)) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


class Refused(Exception):
    """What a bridge writes into its log and tells nobody."""


class RosTypes:
    """The types that a bridge of this personality knows."""

    def __init__(self, ros: int, without: tuple[str, ...]):
        self.ros = ros
        self.types = {
            name: dict(fields)
            for name, fields in (ROS_1 if ros == 1 else ROS_2).items()
            if not name.startswith(without or ("-",))
        }

    def _short(self, kind: str) -> str:
        package, *middle, name = kind.split("/")
        if middle and (self.ros == 1 or middle not in (["msg"], ["srv"])):
            raise Refused(f"{kind} is not a valid type string")
        return f"{package}/{name}"

    def _long(self, short: str) -> str:
        return short if self.ros == 1 else short.replace("/", "/msg/")

    def _now(self) -> Tree:
        names = ("secs", "nsecs") if self.ros == 1 else ("sec", "nanosec")
        return dict(zip(names, divmod(time.time_ns(), 1_000_000_000), strict=True))

    def _fit(self, tree: Any, kind: str, where: str) -> Tree:
        """The message as a node gets it, with every field; Refused as by the real one."""
        if not isinstance(tree, dict):
            raise Refused(f"{where} is no message")
        fields: Fields = self.types[kind]
        for name in tree:
            if name not in fields:
                raise Refused(f"Message type {kind} does not have a field {name} ({where})")
        if kind == "std_msgs/Header" and "stamp" not in tree:
            tree = {**tree, "stamp": self._now()}
        return {
            name: self._fit_value(tree.get(name), inner, f"{where}.{name}")
            for name, inner in fields.items()
        }

    def _fit_value(self, value: Any, kind: str, where: str) -> Any:
        element, is_row, length = kind.rstrip("]").partition("[")
        if is_row:
            return self._fit_row(value, element, length, where)
        if kind == "time":
            return self._fit_time(value)
        if kind in self.types:
            return self._fit(value or {}, kind, where)
        if value is None:
            return {"string": "", "bool": False, "float64": 0.0, "float32": 0.0}.get(kind, 0)
        if kind in INTEGERS:
            low, high = INTEGERS[kind]
            fits = type(value) is int and low <= value <= high
        else:
            fits = isinstance(value, {"string": str, "bool": bool}.get(kind, float | int))
        if not fits:
            raise Refused(f"FieldTypeMismatch: {where} is {value!r}, and should be {kind}")
        return value

    def _fit_row(self, value: Any, element: str, length: str, where: str) -> Any:
        if element == "uint8" and isinstance(value, str):
            return base64.b64decode(value)
        if value is None:
            return [0.0] * int(length or 0)
        if not isinstance(value, list) or (length and len(value) != int(length)):
            raise Refused(f"FieldTypeMismatch: {where} should be {element}[{length}]")
        return [self._fit_value(item, element, where) for item in value]

    def _fit_time(self, value: Any) -> Tree:
        """A stamp under the wrong names is no error: it becomes now."""
        if value is None:
            return {"sec": 0, "nanosec": 0}
        for names in [("secs", "nsecs")] + [("sec", "nanosec")] * (self.ros == 2):
            if set(value) == set(names):
                return {"sec": value[names[0]], "nanosec": value[names[1]]}
        now = self._now()
        return dict(zip(("sec", "nanosec"), now.values(), strict=True))
