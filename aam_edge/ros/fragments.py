"""Messages that a bridge has cut into pieces: `{"op": "fragment", id, num, total, data}`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MOST_MESSAGES = 4
MOST_CHARACTERS = 64 << 20


class Fragments:
    """Collects pieces in any order; few messages at once, so that lost pieces cost little."""

    def __init__(self) -> None:
        self._parts: OrderedDict[str, dict[int, str]] = OrderedDict()
        self.dropped = 0
        """Messages that were given up because pieces were missing or wrong."""

    def add(self, part: Any) -> bytes | None:
        """Takes a piece; the whole message once it is there."""
        name, number, total, data = (part.get(key) for key in ("id", "num", "total", "data"))
        if not (isinstance(number, int) and isinstance(total, int) and isinstance(data, str)):
            self.dropped += 1
            return None
        parts = self._parts.setdefault(str(name), {})
        parts[number] = data
        if sum(map(len, parts.values())) > MOST_CHARACTERS or not 0 <= number < total:
            del self._parts[str(name)]
            self.dropped += 1
            return None
        if len(parts) < total or any(n not in parts for n in range(total)):
            while len(self._parts) > MOST_MESSAGES:
                self._parts.popitem(last=False)
                self.dropped += 1
            return None
        del self._parts[str(name)]
        return "".join(parts[n] for n in range(total)).encode()
