"""YAML of settings: safe, and strict about what YAML 1.1 guesses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from aam_edge.errors import UsageError


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that is a map; duplicate keys are refused."""
    try:
        content = yaml.load(file.read_text(), StrictLoader)
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError("settings file cannot be read", file, "check path and rights") from problem
    except yaml.YAMLError as problem:
        where = " ".join(str(problem).split())
        raise UsageError(
            "settings file is not YAML", f"{file}: {where}", "mend this line"
        ) from problem
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError("settings file is not a map", file, "write key: value lines")
    return content


class StrictLoader(yaml.SafeLoader):
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
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {key}", node.start_mark
            )
    return dict(loader.construct_mapping(node, deep=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_map)
