"""The figures in a model card: what stands between two marks."""

from __future__ import annotations

from pathlib import Path

from aam_edge.errors import DataError

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def put_figures(card: Path, text: str) -> None:
    """Puts a text between the marks of a card; DataError where there are none."""
    try:
        before, begin, rest = card.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise DataError("card has no place for figures", card, f"write {BEGIN} and {END} in it")
        card.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    except OSError as problem:
        raise DataError("card cannot be written", card, "check the path") from problem
