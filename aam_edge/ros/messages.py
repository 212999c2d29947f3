"""Message classes made from `ros_definitions`, with the manners of those that rosidl makes.

`message("sensor_msgs/msg/Image")` is a class with a keyword constructor, attributes, `==`, a repr
and `get_fields_and_field_types`. Numbers in a row are held as rclpy holds them: `uint8[]` is an
`array.array("B")`, `float64[9]` a numpy array, `byte` a `bytes` of length 1.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from aam_edge.errors import UsageError
from aam_edge.ros_definitions import DEFINITIONS, INTEGERS, PRIMITIVES, full_name, short_name

TYPECODES = {
    "char": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
"""Element to the letter that `array` and numpy know it by."""
IDL_NAMES = {"float32": "float", "float64": "double", "bool": "boolean", "byte": "octet"}
ONE, ANY = -1, 0
"""Lengths of a field that is one value, and of one that is any number of them."""


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a definition."""

    name: str
    kind: str
    """A primitive, or the full name of a message."""
    length: int = ONE
    default: str = ""

    @property
    def idl_name(self) -> str:
        """As `get_fields_and_field_types` says it."""
        kind = IDL_NAMES.get(self.kind, self.kind)
        kind = kind if kind in PRIMITIVES | set(IDL_NAMES.values()) else short_name(kind)
        if self.length == ONE:
            return kind
        return f"sequence<{kind}>" if self.length == ANY else f"{kind}[{self.length}]"

    def fresh(self) -> Any:
        """Its value in a new message."""
        if self.length == ONE:
            return fresh_value(self.kind, self.default)
        if self.kind in TYPECODES:
            return self.converted(b"" if self.length == ANY else [0] * self.length)
        return [fresh_value(self.kind) for _ in range(self.length)]

    def converted(self, value: Any) -> Any:
        """What is kept of a value that is assigned; only numbers in a row change their form."""
        if self.length == ONE or self.kind not in TYPECODES:
            return value
        letter = TYPECODES[self.kind]
        if self.length == ANY:
            kept = isinstance(value, array.array) and value.typecode == letter
            return value if kept else array.array(letter, value)
        row = np.asarray(value, letter)
        if row.shape != (self.length,):
            raise AssertionError(f"{self.name} has {self.length} numbers, got shape {row.shape}")
        return row


def fresh_value(kind: str, default: str = "") -> Any:
    """One value as a new message holds it."""
    if kind in INTEGERS or kind == "char":
        return int(default or 0)
    if kind.startswith("float"):
        return float(default or 0)
    if kind == "bool":
        return default == "true"
    if kind == "byte":
        return bytes([int(default or 0)])
    return default if kind in PRIMITIVES else message(kind)()


class Message:
    """What all message classes have in common."""

    __slots__: tuple[str, ...] = ()
    NAME = ""
    """Full name, `sensor_msgs/msg/Image`."""
    FIELDS: tuple[Field, ...] = ()

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - {field.name for field in self.FIELDS}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise AssertionError(f"Invalid arguments passed to constructor: {names}")
        for field in self.FIELDS:
            given = field.name in values
            setattr(self, field.name, values[field.name] if given else field.fresh())

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Field to type, in the words of rosidl."""
        return {field.name: field.idl_name for field in cls.FIELDS}

    def __repr__(self) -> str:
        words = ", ".join(f"{f.name}={_shown(getattr(self, f.name))}" for f in self.FIELDS)
        return f"{self.NAME.replace('/', '.')}({words})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self.__class__):
            return False
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in self.FIELDS)
        return all(bool(np.all(a == b)) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def _shown(value: Any) -> str:
    return repr(value.tolist() if isinstance(value, array.array) else value)


@cache
def message(name: str) -> type[Any]:
    """The class of a message; UsageError if it is none that we speak."""
    full = full_name(name)
    if full not in DEFINITIONS or "/msg/" not in full:
        raise not_spoken(full)
    return message(full) if full != name else _make_class(full, full.rpartition("/")[2])


def service(name: str) -> Any:
    """A service: `.Request` and `.Response` are its classes; UsageError if we do not speak it."""
    full = full_name(name, "srv")
    if full not in DEFINITIONS or "/srv/" not in full:
        raise not_spoken(full)
    return _service(full)


def not_spoken(name: str) -> UsageError:
    """A type that is not in `ros_definitions`."""
    todo = "use a standard type, or run the node with the real rclpy"
    return UsageError("the bridge's facade does not know this ROS type", name, todo)


@cache
def _service(full: str) -> Any:
    name, halves = full.rpartition("/")[2], DEFINITIONS[full].split("---\n")
    request, response = (
        _make_class(f"{full}_{half}", f"{name}_{half}", text)
        for half, text in zip(("Request", "Response"), halves, strict=True)
    )
    return type(name, (SimpleNamespace,), {"NAME": full, "Request": request, "Response": response})


def _make_class(full: str, name: str, text: str | None = None) -> type[Any]:
    fields, constants = [], {}
    for line in (DEFINITIONS[full] if text is None else text).splitlines():
        kind, _, rest = line.partition(" ")
        if "=" in rest:
            constant, _, value = rest.partition("=")
            constants[constant.strip()] = fresh_value(kind, value.strip())
        else:
            fields.append(_parse_field(kind, rest))
    package, part, _ = full.split("/")
    body: dict[str, Any] = {
        "__slots__": tuple(f"_{field.name}" for field in fields),
        "__module__": f"{package}.{part}",
        "NAME": full,
        "FIELDS": tuple(fields),
    }
    body |= constants | {field.name: _property_of(field) for field in fields}
    return type(name, (Message,), body)


def _parse_field(kind: str, rest: str) -> Field:
    name, _, default = rest.partition(" ")
    element, is_row, count = kind.rstrip("]").partition("[")
    if element not in PRIMITIVES:
        element = full_name(element)
    return Field(name, element, int(count or ANY) if is_row else ONE, default.strip('"'))


def _property_of(field: Field) -> property:
    slot = f"_{field.name}"

    def keep(self: Message, value: Any) -> None:
        setattr(self, slot, field.converted(value))

    return property(lambda self: getattr(self, slot), keep)


def names_of_package(package: str, part: str) -> Iterator[str]:
    """Names of the messages or services of a package that we speak."""
    prefix = f"{package}/{part}/"
    return (name.removeprefix(prefix) for name in DEFINITIONS if name.startswith(prefix))
