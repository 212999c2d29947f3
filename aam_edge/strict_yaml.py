"""YAML of settings: safe, and strict about what YAML 1.1 guesses."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from aam_edge.errors import UsageError

LARGEST_BYTES = 1 << 20
"""Of a file; settings and calibrations have some kilobytes."""
MOST_NODES = 100_000
"""Of a document, a node that is named again counted again: a few lines can stand for billions."""

DEEPEST = 50


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that is a map; duplicate keys are refused."""
    try:
        text = read_text(file)
    except (OSError, ValueError) as problem:
        raise UsageError("settings file cannot be read", file, "check path and rights") from problem
    try:
        content = parse_yaml(text)
    except ValueError as problem:
        value = f"{file}: {problem}"
        raise UsageError("settings file is not YAML", value, "mend this line") from problem
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError("settings file is not a map", file, "write key: value lines")
    return content


def read_text(file: Path) -> str:
    """A small text file; OSError, or ValueError where it is no text or too large to be one."""
    with file.open("rb") as stream:
        content = stream.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"larger than {LARGEST_BYTES >> 20} MB")
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise ValueError("it is no text") from problem


def parse_yaml(text: str, *, strict: bool = True) -> Any:
    """One document's value; ValueError says in one line what is wrong.

    Args:
        text: the document.
        strict: False for what PyYAML wrote, by its own rules.
    """
    try:
        return yaml.load(text, StrictLoader if strict else BoundedLoader)
    except yaml.YAMLError as problem:
        raise ValueError(" ".join(str(problem).split())) from problem
    except TAG_PROBLEMS as problem:
        raise ValueError("a value is not what its tag says") from problem


TAG_PROBLEMS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What PyYAML raises for `!!int x`, `!!timestamp x` and the like."""


class BoundedLoader(yaml.SafeLoader):
    """Safe YAML 1.1, of bounded depth and size."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self._sizes: dict[int, int] = {}
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Counts what a node stands for, so that a bomb of aliases is refused."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:  # PyYAML's time grows with the square of it
            raise yaml.composer.ComposerError(None, None, "nested too deep", None)
        node = super().compose_node(parent, index)
        assert node is not None, "a value is asked for where one begins"
        self._depth -= 1
        if not is_alias:
            self._sizes[id(node)] = sum((self._sizes[id(part)] for part in _parts(node)), start=1)
        # Of a node that is named within itself the size is not known yet.
        if self._sizes.get(id(node), MOST_NODES + 1) > MOST_NODES:
            words = "holds itself, or too much"
            raise yaml.composer.ComposerError(None, None, words, node.start_mark)
        return node


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """What lies directly in a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class StrictLoader(BoundedLoader):
    """Safe YAML that refuses a key given twice, and takes for numbers what looks like one.

    YAML 1.1 reads 12:30 as 750, 010 as 8 and 1e3 as text.
    """


StrictLoader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if not rule[0].endswith((":int", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
NUMBERS = {
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)"
    r"|\.nan",
}
for _name, _pattern in NUMBERS.items():
    StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^({_pattern})$"), list("-+.0123456789")
    )


def _unique_map(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key in (loader.construct_object(key, deep=True) for key, _ in node.value):
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, "key is no plain value", node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {key}", node.start_mark
            )
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_map)
