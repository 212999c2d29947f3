"""A line of the log that strangers cause: said seldom, so that it does not fill the disk."""

from __future__ import annotations

import logging
import time

SAY_S = 10.0


class Seldom:
    """Says something at most each SAY_S seconds, with how often it was. For one thread."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said_s = -SAY_S
        self._times = 0

    def warn(self, what: str) -> None:
        """It happened again; `what` is shown as repr, as a stranger has written it."""
        self._times += 1
        now_s = time.monotonic()
        if now_s >= self._said_s + SAY_S:
            self._logger.warning("refused: %.200r (%d since the last such line)", what, self._times)
            self._said_s, self._times = now_s, 0
