"""Names of nodes, topics and services: checked, expanded, and changed as the command line asks."""

from __future__ import annotations

import re

from aam_edge.ros.rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

NODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOPIC = re.compile(r"(~|(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*)")
NAMESPACE = re.compile(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+")
LETTERS = "letters, digits, _ and / are allowed, and no part may begin with a digit"


def check_node_name(name: str) -> str:
    """The name, if it is one."""
    if not NODE.fullmatch(name):
        raise InvalidNodeNameException(name, "letters, digits and _ are allowed, no digit first")
    return name


def check_namespace(namespace: str) -> str:
    """The namespace with a leading slash and no trailing one, if it is one."""
    full = "/" + namespace.strip("/")
    if not NAMESPACE.fullmatch(full):
        raise InvalidNamespaceException(namespace, LETTERS)
    return full


def expand(name: str, namespace: str, node: str, *, is_service: bool = False) -> str:
    """`out` to `/ns/out`, `~/out` to `/ns/node/out`; `/out` stays."""
    if not TOPIC.fullmatch(name):
        kind = InvalidServiceNameException if is_service else InvalidTopicNameException
        raise kind(name, LETTERS)
    prefix = namespace.rstrip("/")
    if name.startswith("/"):
        return name
    if name.startswith("~"):
        return f"{prefix}/{node}{name[1:]}"
    return f"{prefix}/{name}"
