"""Text to the numbers that CLIP's text tower reads: byte-pair encoding (R. Sennrich et al., 2016).

The user's merges file defines everything. A word is written as bytes, each byte as one printable
character, the last one marked with `</w>`; then the pair of neighbours that stands earliest in the
file is joined, again and again, until none stands there. Numbers of the pieces:

    0 .. 255      a byte inside a word, printable ones first
    256 .. 511    the same at the end of a word
    512 .. n - 3  what the merges make, in their order
    n - 2, n - 1  start and end of the text; n = 514 + merges, 49,408 for the public file

Files are OpenAI's `bpe_simple_vocab_16e6.txt.gz` or a Hugging Face `merges.txt`: a heading,
then a pair a line. Words are split as CLIP splits them; marks such as `<|endoftext|>` in a prompt
are text. Mojibake is not mended, which CLIP's own code leaves to another library.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

Pair = tuple[str, str]

PUBLIC_MERGES = 48_894
"""Pairs of CLIP's vocabulary; OpenAI's file goes on with more, which are not read."""
END = "</w>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class ClipTokens:
    """Splits English text; made of the pairs of a merges file."""

    def __init__(self, merges: Sequence[Pair]):
        self._characters = byte_characters()
        letters = list(self._characters.values())
        pieces = letters + [letter + END for letter in letters]
        pieces += ["".join(pair) for pair in merges]
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.start, self.end = len(pieces), len(pieces) + 1
        self._word = lru_cache(4096)(self._join)

    @property
    def size(self) -> int:
        """Rows that the tower's table of tokens must have."""
        return self.end + 1

    def encode(self, text: str) -> list[int]:
        """The numbers of a text with its start and end, as many as it takes."""
        return [self.start, *self._inner(text), self.end]

    def _inner(self, text: str) -> Iterator[int]:
        for word in words(text):
            yield from self._word(word)

    def _join(self, word: str) -> list[int]:
        *front, last = (self._characters[byte] for byte in word.encode())
        parts = [*front, last + END]
        while len(parts) > 1:
            # Ranks never tie: a pair stands once in the file.
            pair = min(pairwise(parts), key=lambda p: self._ranks.get(p, len(self._ranks)))
            if pair not in self._ranks:
                break
            parts = joined(parts, pair)
        return [self._ids[part] for part in parts]


def joined(parts: Sequence[str], pair: Pair) -> list[str]:
    """The parts with each occurrence of the pair made one, from left to right."""
    made: list[str] = []
    at = 0
    while at < len(parts):
        is_pair = tuple(parts[at : at + 2]) == pair
        made.append("".join(pair) if is_pair else parts[at])
        at += 2 if is_pair else 1
    return made


def words(text: str) -> Iterator[str]:
    """Words, single digits, runs of other marks, and the short ends of contractions."""
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text))).lower()
    at = 0
    while at < len(text):
        end = at + 1
        contraction = next((c for c in CONTRACTIONS if text.startswith(c, at)), "")
        kind = _kind(text[at])
        if contraction:
            end = at + len(contraction)
        elif kind != "N":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[at:end]
        at = end


def _kind(char: str) -> str:
    """L for a letter, N for any kind of number, a blank, or - for what is neither."""
    # Python calls four separators of data blank, Unicode and CLIP do not.
    if char.isspace() and not "\x1c" <= char <= "\x1f":
        return " "
    category = unicodedata.category(char)[0]
    return category if category in "LN" else "-"


def byte_characters() -> dict[int, str]:
    """A printable character for each byte, in the order of the vocabulary.

    Bytes that Latin-1 prints stand for themselves and come first; the others follow as the
    characters from 256 on.
    """
    printed = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {b: chr(256 + n) for n, b in enumerate(others)}


def parse_merges(content: str) -> list[Pair]:
    """The pairs of a merges file, at most as many as CLIP reads.

    Raises:
        ValueError: a line that is no pair, with its number.
    """
    pairs: list[Pair] = []
    # The heading is a line of its own, with or without "#version".
    for number, line in enumerate(content.split("\n")[1 : PUBLIC_MERGES + 1], start=2):
        halves = line.split()
        if len(halves) == 2:
            pairs.append((halves[0], halves[1]))
        elif halves:
            raise ValueError(f"line {number} is no pair: {line[:40]!r}")
    return pairs
