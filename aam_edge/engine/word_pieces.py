"""Splits text into word pieces as BERT's uncased tokenizer does, with the standard library alone.

    "My Café mug!"  ->  my café mug !  ->  my cafe mug !  ->  my cafe mug !
    "settee"        ->  settee         ->  settee         ->  set ##tee

Characters are cleaned one by one (control characters go, accents go, letters become small,
punctuation marks and Chinese characters stand alone), words end at spaces, and each word is cut
greedily into the longest pieces that the vocabulary has; `##` marks a piece inside a word.

The rules are those of BERT (arXiv 1810.04805). Where its two well-known implementations differ, the
one that the sentence model is served with is followed: accents go before letters become small,
and characters become small without regard to their neighbours (a final sigma is a sigma).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Container, Iterator
from functools import lru_cache

UNKNOWN = "[UNK]"
"""Stands for a whole word that the vocabulary cannot spell."""
MAX_WORD = 100
"""Characters; a longer word is unknown."""

# First and last character of each block that BERT calls Chinese.
CHINESE = (
    ("\u3400", "\u4dbf"),
    ("\u4e00", "\u9fff"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0002a6df"),
    ("\U0002a700", "\U0002b73f"),
    ("\U0002b740", "\U0002b81f"),
    ("\U0002b920", "\U0002ceaf"),
    ("\U0002f800", "\U0002fa1f"),
)
# Control, format, private use, surrogate. Not Cn: what is not assigned yet depends on the Python.
DROPPED = ("Cc", "Cf", "Co", "Cs")


class WordPieces:
    """The splitter of one vocabulary."""

    def __init__(self, vocabulary: Container[str], longest: int):
        """Takes the pieces, and the characters of the longest one with its `##`."""
        self._vocabulary = vocabulary
        self._longest = longest

    def split(self, text: str) -> Iterator[str]:
        """The pieces of any text in order; a word that cannot be spelled gives one `[UNK]`."""
        for word in words(text):
            yield from self._pieces(word)

    def _pieces(self, word: str) -> list[str]:
        if len(word) > MAX_WORD:
            return [UNKNOWN]
        pieces: list[str] = []
        rest = word
        while rest:
            mark = "##" if pieces else ""
            length = self._longest_start(mark, rest)
            if not length:
                return [UNKNOWN]
            pieces.append(mark + rest[:length])
            rest = rest[length:]
        return pieces

    def _longest_start(self, mark: str, rest: str) -> int:
        """Characters of the longest start of `rest` that is a piece, 0 if none is."""
        for length in range(min(len(rest), self._longest - len(mark)), 0, -1):
            if mark + rest[:length] in self._vocabulary:
                return length
        return 0


def words(text: str) -> list[str]:
    """Cleaned words, punctuation marks and Chinese characters, in order."""
    return "".join(map(_cleaned, text)).split()


# A prompt has few different characters; a book in Chinese would still fit.
@lru_cache(maxsize=8192)
def _cleaned(char: str) -> str:
    """What a character leaves: nothing, a space, letters, or a mark between spaces."""
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if category in DROPPED or char == "\N{REPLACEMENT CHARACTER}":
        return ""
    if category.startswith("Z"):
        return " "
    parts = unicodedata.normalize("NFD", char)
    kept = "".join(_small(part) for part in parts if unicodedata.category(part) != "Mn")
    return f" {kept} " if _is_chinese(char) else kept


def _small(char: str) -> str:
    return f" {char} " if is_mark(char) else char.lower()


def is_mark(word: str) -> bool:
    """Punctuation, and all of ASCII that is neither letter nor digit ($, +, ~), one character."""
    if len(word) != 1:
        return False
    return word in string.punctuation or unicodedata.category(word).startswith("P")


def _is_chinese(char: str) -> bool:
    return any(first <= char <= last for first, last in CHINESE)
