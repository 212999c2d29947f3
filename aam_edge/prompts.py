"""What may be asked: one rule for every door (options, settings, control socket, page, Python).

refused     no text; nothing to see in it; half a character (bytes that are not UTF-8); too long
mended      control characters, line ends and runs of spaces become one space; invisible marks
            that turn or hide text go
taken       everything else: other scripts and emoji too, though the network may not know them
"""

from __future__ import annotations

import unicodedata

from aam_edge.errors import UsageError

FREE_VIEWING = "free viewing"
"""The prompt that asks for nothing."""
LONGEST = 10_000
"""Characters. Every published message carries its prompt."""
JOINERS = "\u200c\u200d"
"""Invisible, but parts of words in some scripts and of emoji."""
REMEDY = 'say what to look for, such as "free viewing"'


def checked_prompt(given: object, longest: int = LONGEST) -> str:
    """The prompt as it is asked, logged and published; its own result stays as it is.

    Args:
        given: what came in.
        longest: characters that this door takes.

    Raises:
        UsageError: it cannot be asked, in one line.
    """
    if not isinstance(given, str):
        raise UsageError("prompt must be text", shortened(repr(given)), REMEDY)
    if len(given) > longest:
        todo = f"give at most {longest} characters"
        raise UsageError("prompt is too long", f"{len(given)} characters", todo)
    if any(unicodedata.category(char) == "Cs" for char in given):
        raise UsageError("prompt is not UTF-8", shortened(ascii(given)), "type it again")
    prompt = " ".join("".join(map(_mended, given)).split())
    if not prompt.strip(JOINERS + " "):
        raise UsageError("prompt is empty", shortened(ascii(given)), REMEDY)
    return prompt


def shortened(text: str, characters: int = 40) -> str:
    """The start of a text, for a line that tells of it."""
    return text if len(text) <= characters else f"{text[:characters]}..."


def _mended(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cc":
        return " "
    return "" if category == "Cf" and char not in JOINERS else char
