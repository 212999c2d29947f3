"""What could not be read: named, counted, left out; never silent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aam_edge.errors import DataError

logger = logging.getLogger(__name__)

MOST_LINES = 20
"""In the log; the rest is counted."""
MOST_NAMES = 10_000
"""Kept; a corpus with a disk gone has millions."""


@dataclass(slots=True)
class Skipped:
    """The report of a reading; readers add to it, callers look at it in the end."""

    reasons: Counter[str] = field(default_factory=Counter)
    """How many files, frames or samples, by what was wrong."""
    names: list[tuple[str, str]] = field(default_factory=list)
    """The first of them: name and what was wrong."""

    @property
    def count(self) -> int:
        """All that was left out."""
        return sum(self.reasons.values())

    def add(self, name: object, reason: str, count: int = 1) -> None:
        """Notes what is left out; `count` where one line stands for several."""
        self.reasons[reason] += count
        if len(self.names) < MOST_NAMES:
            self.names.append((str(name), reason))
        if len(self.names) <= MOST_LINES:
            logger.warning("skipped: %s: %s", name, reason)
        if len(self.names) == MOST_LINES:
            logger.warning("skipped: more is counted, not named here")

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Notes a DataError that is raised inside, and goes on behind."""
        try:
            yield
        except DataError as problem:
            self.add(problem.value, problem.what)

    def __str__(self) -> str:
        parts = [f"{reason}: {count}" for reason, count in self.reasons.most_common()]
        return f"{self.count} skipped ({'; '.join(parts)})" if parts else "none skipped"
