"""`--ros-args`: other names of node, namespace and topics, parameters, level of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aam_edge.ros.rclpy.exceptions import NotCovered

START, END = "--ros-args", "--"
VALUED = {
    "-r": "remap",
    "--remap": "remap",
    "-p": "param",
    "--param": "param",
    "--params-file": "file",
    "--log-level": "level",
}
QUIET = ("--enable-stdout-logs", "--disable-rosout-logs", "--disable-external-lib-logs")
"""Asks for what is so in any case."""


@dataclass
class Arguments:
    """What a command line asks of all nodes of a context."""

    remaps: list[tuple[str, str, str]] = field(default_factory=list)
    """Node (empty: all), name, new name."""
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)
    """Node (empty: all), name, value."""
    log_level: str = ""

    def node_name(self, name: str) -> str:
        """The name of a node, unless another is asked for."""
        return self._first("__node", name) or self._first("__name", name) or name

    def namespace(self, node: str, namespace: str) -> str:
        """The same for its namespace."""
        return self._first("__ns", node) or namespace

    def _first(self, key: str, node: str) -> str:
        found = (new for of, name, new in self.remaps if name == key and of in ("", node))
        return next(found, "")

    def parameters_of(self, node: str, full_name: str) -> dict[str, Any]:
        """Values by name; later ones win."""
        mine = ("", "/**", node, full_name)
        return {name: value for of, name, value in self.parameters if of in mine}


def parse(args: Sequence[str]) -> Arguments:
    """What stands between `--ros-args` and `--`, or the end.

    Raises:
        ValueError: it is not understood.
        NotCovered: it is understood and not covered.
    """
    parsed, words = Arguments(), ros_words(args)
    for word in words:
        kind = VALUED.get(word)
        if word in QUIET:
            continue
        if kind is None:
            raise NotCovered(f"argument {word}")
        value = next(words, None)
        if value is None:
            raise ValueError(f"{word} needs a value")
        if kind == "level":
            parsed.log_level = value
        elif kind == "file":
            parsed.parameters += read_parameters(Path(value))
        else:
            node, name, new = split_rule(value)
            if kind == "remap":
                parsed.remaps.append((node, name, new))
            else:
                parsed.parameters.append((node, name, yaml.safe_load(new)))
    return parsed


def ros_words(args: Sequence[str]) -> Iterator[str]:
    """The words that are for ROS."""
    is_ros = False
    for word in args:
        if word == START:
            is_ros = True
        elif word == END:
            is_ros = False
        elif is_ros:
            yield word


def without_ros(args: Sequence[str]) -> list[str]:
    """The words that are not."""
    rest, is_ros = [], False
    for word in args:
        if word == START:
            is_ros = True
        elif is_ros and word == END:
            is_ros = False
        elif not is_ros:
            rest.append(word)
    return rest


def split_rule(rule: str) -> tuple[str, str, str]:
    """`node:name:=new` to its three parts; node may be missing."""
    left, is_rule, new = rule.partition(":=")
    if not is_rule:
        raise ValueError(f"not a rule name:=value: {rule}")
    node, has_node, name = left.partition(":")
    return (node, name, new) if has_node else ("", left, new)


def read_parameters(file: Path) -> list[tuple[str, str, Any]]:
    """A ROS 2 parameter file: node, name and value of each parameter."""
    content = yaml.safe_load(file.read_text()) or {}
    found = []
    for node, body in content.items():
        for name, value in flatten(body.get("ros__parameters", {})):
            found.append((node.lstrip("/") if node.count("/") == 1 else node, name, value))
    return [("/**" if "**" in node else node, name, value) for node, name, value in found]


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested names with dots between."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
