"""Leaves the asking out of a prompt: what is asked for stays, how it is asked for goes.

    "Can you show me the cup, please?"   ->  "cup"
    "where is my red mug"                ->  "red mug"
    "count the people"                   ->  "count people"

All wordings of a request shall look at the same place, so they get the same vector. Marks and
articles go wherever they stand, words of asking only at the start, polite ends only at the end:
"trash can" and "stop sign" are things. The last word always stays: "find the can" is "can", "where
to look" is "look". A verb that is a task (count, read, free viewing) is no word of asking.
The lists are English, as the table is; text in other languages stays as it is.
"""

from __future__ import annotations

from itertools import pairwise

from aam_edge.engine.word_pieces import is_mark, words


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ARTICLES = _set(
    "the a an my your our his her their its this that these those some any all every each"
)
"""Left out before any other word."""
ASKING = _set(
    "please hey hi hello kindly just now "
    "search searching find finding locate locating show showing see seeing seen detect "
    "where is are was were am be been there here "
    "i we you me it anyone anybody someone somebody "
    "could would should shall will may might do does did have has cannot "
    "know tell try trying let mind "
    "for at to on out"
)
"""Left out at the start of a prompt."""
DOUBTFUL = _set(
    "can look looking point pointing spot watch watching focus need want like help go gaze stare "
    "lost leave left put pay attention seek track us"
)
"""Ask before another word of asking or an article ("can you", "point at", "spot the"), else are
things ("can opener", "spot light")."""
ENDS = _set(
    "please thanks thank now here there anywhere somewhere around is are be at located for me you "
    "to go gone"
)
"""Left out at the end of a prompt."""
PICTURES = _set("picture image photo photograph scene view frame video")
"""In one of them is where everything is looked for."""
TAILS = _set("s m d t ll re ve")
"""What follows an apostrophe in what's, I'm, I'd, can't, I'll, they're, I've."""


def content(prompt: str) -> str:
    """What a prompt is about, in small letters without accents.

    Empty only where no word is in the prompt; a prompt of marks alone stays.
    """
    cleaned = words(prompt)
    kept = _without_marks(cleaned)
    if not kept:
        return " ".join(cleaned)
    kept = kept[_asking(kept) :]
    kept = [word for word in kept[:-1] if word not in ARTICLES] + kept[-1:]
    return " ".join(_without_end(kept))


def _without_marks(cleaned: list[str]) -> list[str]:
    """The words, without marks and what follows an apostrophe."""
    before = ["", *cleaned]
    return [
        word
        for last, word in zip(before, cleaned, strict=False)
        if not is_mark(word) and not (last in ("'", "\u2019") and word in TAILS)
    ]


def _asking(kept: list[str]) -> int:
    """Words at the start that only ask; the last word is none of them."""
    for n, (word, after) in enumerate(pairwise(kept)):
        goes_on = after in ASKING or after in ARTICLES or after in DOUBTFUL
        if not (word in ASKING or word in ARTICLES or (word in DOUBTFUL and goes_on)):
            return n
    return len(kept) - 1


def _without_end(kept: list[str]) -> list[str]:
    end = len(kept)
    while end > 1:
        if end > 2 and kept[end - 2] == "in" and kept[end - 1] in PICTURES:
            end -= 2
        elif kept[end - 1] in ENDS:
            end -= 1
        else:
            break
    return kept[:end]
