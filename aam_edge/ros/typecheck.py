"""Finds out what a bridge silently refused.

A bridge on ROS 2 answers nothing when it does not know a type, when a topic has another type, or
when a field has another name: all that is published then is lost. What it did take is listed by
`/rosapi/topics` and `/rosapi/services`, and `/rosapi/message_details` tells the fields. Details are
asked only of types that are listed: old versions of rosapi die of being asked for unknown ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from aam_edge.ros.dialect import Dialect, encode
from aam_edge.ros.messages import message
from aam_edge.ros.session import Answered, Tree
from aam_edge.ros_definitions import DEFINITIONS, dependencies, full_name, short_name

logger = logging.getLogger(__name__)

LOOK_S = 0.5
LOOKS = 6
"""A topic that is not there after so many looks was refused; news take their time in ROS 2."""


class Asked(Protocol):
    """What the check needs of a bridge."""

    troubles: dict[str, str]

    @property
    def registered(self) -> list[Tree]:
        """What was sent to be advertised, subscribed to and served."""

    @property
    def dialect(self) -> Dialect | None:
        """Which ROS it is."""

    @property
    def has_rosapi(self) -> bool:
        """Whether it answers questions about itself."""

    def call(self, service: str, arguments: Tree, answered: Answered) -> str | None:
        """Asks it."""

    def after(self, seconds: float, action: Any) -> None:
        """Runs something later."""


class TypeCheck:
    """Compares what was registered with what is there, anew after each change."""

    def __init__(self, bridge: Asked) -> None:
        self._bridge = bridge
        self._run = 0

    def start(self) -> None:
        """Looks soon, and again until all is found or the time is up."""
        if self._bridge.has_rosapi:
            self._run += 1
            self._bridge.after(LOOK_S, partial(self._look, self._run, 1))

    def _look(self, run: int, number: int) -> None:
        if run == self._run:
            answered = partial(self._compare_topics, run, number)
            self._bridge.call("/rosapi/topics", {}, answered)

    def _compare_topics(self, run: int, number: int, values: Tree | None, problem: str) -> None:
        if run != self._run or values is None:
            return
        listed = dict(zip(values.get("topics", ()), values.get("types", ()), strict=False))
        found = unfit_topics(self._bridge.registered, listed)
        if found and number < LOOKS:
            self._bridge.after(LOOK_S, partial(self._look, run, number + 1))
            return
        for name, words in found.items():
            self._tell(name, words)
        types = {r["type"]: r["topic"] for r in self._bridge.registered if "topic" in r}
        for kind, topic in types.items():
            if topic not in found and full_name(kind) in DEFINITIONS:
                answered = partial(self._compare_fields, run, topic, full_name(kind))
                self._bridge.call("/rosapi/message_details", {"type": kind}, answered)
        self._bridge.call("/rosapi/services", {}, partial(self._compare_services, run))

    def _compare_fields(
        self, run: int, topic: str, kind: str, values: Tree | None, problem: str
    ) -> None:
        dialect = self._bridge.dialect
        if run != self._run or values is None or dialect is None:
            return
        names = unknown_fields(kind, values.get("typedefs", ()), dialect)
        if names:
            words = f"{short_name(kind)} has other fields there (no {', '.join(names)})"
            self._tell(topic, f"the ROS bridge does not take {topic}: {words}")

    def _compare_services(self, run: int, values: Tree | None, problem: str) -> None:
        if run != self._run or values is None:
            return
        offered = {r["service"]: r["type"] for r in self._bridge.registered if "service" in r}
        for name in offered.keys() - set(values.get("services", ())):
            self._tell(name, f"the ROS bridge does not offer the service {name} ({offered[name]})")

    def _tell(self, name: str, words: str) -> None:
        if self._bridge.troubles.get(name) != words:
            self._bridge.troubles[name] = words
            logger.warning("%s", words)


def unfit_topics(registered: Iterable[Tree], listed: Mapping[str, str]) -> dict[str, str]:
    """Topic to what is wrong with it; `listed` is topic to type, as rosapi says it."""
    found = {}
    for registration in registered:
        if "topic" not in registration:
            continue
        topic, kind = registration["topic"], registration["type"]
        there = short_name(listed.get(topic) or kind)
        if topic not in listed:
            package = kind.partition("/")[0]
            todo = f"install {package} where the bridge runs"
            found[topic] = f"the ROS bridge does not take {topic} ({kind}): {todo}"
        elif there != kind:
            found[topic] = f"{topic} has another type in ROS ({there}, not {kind}): rename one"
    return found


def unknown_fields(kind: str, typedefs: Iterable[Any], dialect: Dialect) -> list[str]:
    """Fields that we send and that the bridge's definitions do not have.

    Args:
        kind: full name of a message that we speak.
        typedefs: rosapi's, of this type and those inside, each {type, fieldnames, ...}.
        dialect: how we send.
    """
    there = {
        full_name(definition["type"]): {name.strip("_") for name in definition["fieldnames"]}
        for definition in typedefs
    }
    unknown = []
    for name in [kind, *dependencies(kind)]:
        if name in there and "/Time" not in name and "/Duration" not in name:
            sent = encode(message(name)(), dialect)
            unknown += [f"{short_name(name)}.{field}" for field in sent if field not in there[name]]
    return unknown
