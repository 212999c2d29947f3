"""Malformed inputs made from valid ones: hypothesis draws what is changed and where.

Random bytes alone end at the first check. These keep most of the form, so that they come far in.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

INTEGERS = (
    *(0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1),
)
"""Where lengths, counts and offsets go wrong."""
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        " ",
        "\n",
        "\0",
        "a\nb\x1b[31m",
        "ä€\U0001f600",
        "\ud800",
        "../../etc",
    ),
    *("x" * 5000, "9" * 400, "1e400", "nan", "-1", [], {}, [[]], [[[[]]]], {"": None}, ["a"] * 300),
    *(-1, 0, 1, 2**31, 2**63 - 1, -(2**63), 1e308, -0.0, 0.5, float("nan"), float("inf")),
    *(2**64 - 1, 10**30),
)
"""Values of every kind that a field might be given."""

Path = tuple[Any, ...]


@st.composite
def bytes_like(draw: DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of the valid inputs with up to six changes; now and then bytes from nowhere."""
    content = bytearray(draw(st.sampled_from(valid)))
    if draw(st.integers(0, 39)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 6))):
        _change(draw, content, valid)
    return bytes(content)


def _change(draw: DrawFn, content: bytearray, valid: Sequence[bytes]) -> None:
    # Heads are short and tell much, so half of the changes are made near the start.
    nearby = draw(st.sampled_from((64, 512, len(content), len(content))))
    at = draw(st.integers(0, max(0, min(nearby, len(content)) - 1)))
    if draw(st.integers(0, 5)) == 0:
        at = max(0, len(content) - 1 - at)  # and some at the end, where indexes lie
    match draw(st.integers(0, 7)):
        case 0:
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        case 1:
            form = draw(st.sampled_from(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")))
            size = struct.calcsize(form)
            value = draw(st.sampled_from(INTEGERS)) % 2 ** (8 * size)
            content[at : at + size] = struct.pack(form, value)
        case 2:
            del content[at:]
        case 3:
            del content[at : at + draw(st.integers(1, 64))]
        case 4:
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        case 5:
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
        case 6:
            other = draw(st.sampled_from(valid))
            content[at:] = other[at:]
        case _:
            if content:
                content[at % len(content)] ^= 1 << draw(st.integers(0, 7))


@st.composite
def tree_like(draw: DrawFn, valid: Sequence[Any], extra: Sequence[Any] = ()) -> Any:
    """One of the valid trees of dicts and lists with up to four strange nodes."""
    tree = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        paths = list(_paths(tree, ()))
        tree = _changed(draw, tree, draw(st.sampled_from(paths)), (*STRANGE, *extra))
    return tree


def _paths(tree: Any, here: Path) -> Any:
    yield here
    keys = tree.keys() if isinstance(tree, dict) else range(min(len(_rows(tree)), 20))
    for key in keys:
        yield from _paths(tree[key], (*here, key))


def _rows(tree: Any) -> Sequence[Any]:
    return tree if isinstance(tree, list) else ()


def _changed(draw: DrawFn, tree: Any, path: Path, strange: Sequence[Any]) -> Any:
    if not path:
        return strange_value(draw, strange) if draw(st.integers(0, 9)) == 0 else tree
    *above, key = path
    parent = tree
    for name in above:
        parent = parent[name]
    match draw(st.integers(0, 5)):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[draw(st.sampled_from(("", "x", "data", "id", "é", key * 2)))] = parent.pop(key)
        case 2 if isinstance(parent, list):
            parent.extend(copy.deepcopy(parent[:100]))
        case 3:
            parent[key] = [parent[key]]
        case _:
            parent[key] = strange_value(draw, strange)
    return tree


def strange_value(draw: DrawFn, strange: Sequence[Any]) -> Any:
    # A copy: the next change may be made inside of it.
    return copy.deepcopy(draw(st.sampled_from(strange)))


def json_like(valid: Sequence[Any], extra: Sequence[Any] = ()) -> SearchStrategy[bytes]:
    """JSON texts of strange trees, and texts that are no JSON any more."""
    texts = [json.dumps(tree).encode() for tree in valid]
    trees = tree_like(valid, extra).map(lambda tree: json.dumps(tree).encode())
    deep = st.sampled_from((b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"-" * 10, b"NaN"))
    return st.one_of(trees, trees, bytes_like(texts), deep)
