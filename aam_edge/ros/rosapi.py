"""Questions to the bridge about the ROS behind it, asked from any thread but the bridge's own."""

from __future__ import annotations

import threading

from aam_edge.ros.bridge import Bridge
from aam_edge.ros.session import Tree
from aam_edge.ros_definitions import full_name

ASK_S = 3.0


def ask(bridge: Bridge, service: str, arguments: Tree, timeout_s: float = ASK_S) -> Tree:
    """The answer of a service.

    Raises:
        RuntimeError: there is none, with the reason.
    """
    is_there = threading.Event()
    found: list[tuple[Tree | None, str]] = []

    def answered(values: Tree | None, why: str) -> None:
        found.append((values, why))
        is_there.set()

    call_id = bridge.call(service, arguments, answered)
    if call_id is None:
        raise RuntimeError(bridge.state())
    if not is_there.wait(timeout_s):
        bridge.forget(call_id)
        raise RuntimeError(f"{service}: no answer within {timeout_s:g} s")
    values, why = found[0]
    if values is None:
        raise RuntimeError(f"{service}: {why}")
    return values


def topics(bridge: Bridge) -> dict[str, str]:
    """All topics with the full names of their types; RuntimeError if rosapi does not say."""
    values = ask(bridge, "/rosapi/topics", {})
    pairs = zip(values["topics"], values["types"], strict=False)
    return {topic: full_name(kind) if kind else "" for topic, kind in pairs}
