"""How trees of settings are declared, read and refused.

A field's default and its words stand on one line, and `--help` and the docs are made from them.
Unknown keys are refused with the nearest known one, a wrong type with key, value and type.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeVar

from aam_edge.errors import UsageError
from aam_edge.strict_yaml import parse_yaml, read_yaml

T = TypeVar("T")
TYPE_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def setting(default: T, words: str) -> T:
    """A field with its default and its meaning."""
    return field(default=default, metadata={"words": words})


def section(kind: type[T]) -> T:
    """A field that is a tree of its own."""
    return field(default_factory=kind)


def within(key: str, value: float, least: float, most: float) -> None:
    """Refuses a setting outside of its range."""
    if not least <= value <= most:
        todo = f"give {least:g} to {most:g}"
        raise UsageError("setting is out of range", f"{key}={value}", todo)


def at_least(key: str, value: float | None, least: float) -> None:
    """Refuses a setting below its least value, or without end."""
    if value is not None and not least <= value < math.inf:
        raise UsageError("setting is out of range", f"{key}={value}", f"give at least {least:g}")


def within_one(key: str, value: float) -> None:
    """Refuses a part of a whole that is not within 0 and 1."""
    if not 0 <= value <= 1:
        raise UsageError("setting is out of range", f"{key}={value}", "give 0 to 1")


def load_settings(
    kind: type[T],
    file: Path | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> T:
    """Settings from all places, later ones over earlier ones.

    Args:
        kind: the tree, a frozen dataclass of `setting` and `section` fields.
        file: YAML, a map of sections.
        sets: `section.key=value`, the value read as YAML.
        options: dotted key to value; None values are left out.

    Raises:
        UsageError: a key or a value is not known, in one line.
    """
    known = known_settings(kind)
    tree: dict[str, Any] = {}
    if file is not None:
        for key, value in _flatten(read_yaml(file), known).items():
            _check_key(key, str(file), known)
            tree[key] = value
    for text in sets:
        key, is_pair, value = text.partition("=")
        if not is_pair:
            raise UsageError("setting is not understood", text, "write --set section.key=value")
        _check_key(key, "--set", known)
        try:
            tree[key] = parse_yaml(value)
        except ValueError as problem:
            raise UsageError("setting is not YAML", text, "quote the value") from problem
    tree |= {key: value for key, value in (options or {}).items() if value is not None}
    return _build(kind, tree, "")


def known_settings(kind: type[Any]) -> dict[str, tuple[Any, str]]:
    """Every dotted key with its default and its words."""
    return dict(_walk(kind, ""))


def _walk(kind: type[Any], prefix: str) -> Iterable[tuple[str, tuple[Any, str]]]:
    for f in dataclasses.fields(kind):
        if f.default_factory is not dataclasses.MISSING:
            yield from _walk(typing.cast(type[Any], f.default_factory), f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", (f.default, f.metadata["words"])


def _flatten(tree: Mapping[Any, Any], known: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if value is None and any(name.startswith(f"{prefix}{key}.") for name in known):
            continue  # a section whose lines are all commented out
        if isinstance(value, Mapping):
            flat |= _flatten(value, known, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_key(key: str, where: str, known: Mapping[str, Any]) -> None:
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        raise UsageError("unknown setting", f"{key}, {where}", f"did you mean {near[0]}?")


def _build(kind: type[T], flat: Mapping[str, Any], prefix: str) -> T:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]
        key = f"{prefix}{f.name}"
        if f.default_factory is not dataclasses.MISSING:
            values[f.name] = _build(hints[f.name], flat, f"{key}.")
        elif key in flat:
            values[f.name] = _convert(key, flat[key], hints[f.name])
    return kind(**values)


def _convert(key: str, value: Any, hint: Any) -> Any:
    """Checks a value against a field's type; numbers and lists are taken in their near forms."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is Literal:
        for choice in typing.get_args(hint):
            if str(value) == choice:  # 32 is a number to YAML
                return choice
        choices = " or ".join(map(str, typing.get_args(hint)))
        raise UsageError("setting has no such value", f"{key}={value}", f"give {choices}")
    if typing.get_origin(hint) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_convert(key, item, str) for item in items)
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # a whole number of hundreds of digits
            return math.inf if value > 0 else -math.inf
    if type(value) is hint:
        return value
    raise UsageError("setting has the wrong type", f"{key}={value!r}", f"give {TYPE_WORDS[hint]}")
