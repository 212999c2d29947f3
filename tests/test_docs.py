"""What the pages link to is there, and the commands that they show are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from aam_edge.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("aam_edge/**/*.md")])
BLOCK = re.compile(r"```.*?```", re.DOTALL)
COMMAND = re.compile(r"^(aam-edge .*?)(?: +#.*| {3,}.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not is_there(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_are_understood(page: Path) -> None:
    shown = "".join(BLOCK.findall(page.read_text())).replace("\\\n", " ")
    for command in COMMAND.findall(shown):
        build_parser().parse_args(shlex.split(command.partition(" | ")[0].partition(" &")[0])[1:])


def links(page: Path) -> list[str]:
    """Those within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text()))
    return [link for link in found if "://" not in link]


def is_there(page: Path, link: str) -> bool:
    """Whether the file and the heading in it exist."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
