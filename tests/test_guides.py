"""What the guides tell people to type is understood, and what they show is whole."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from aam_edge.cli.main import build_parser
from aam_edge.cli.stream import config_of

GUIDES = sorted((Path(__file__).resolve().parents[1] / "docs" / "guides").glob("*.md"))
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^ *(aam-edge [^#\n]*)", re.MULTILINE)


def blocks(guide: Path, language: str) -> list[str]:
    found = FENCE.findall(guide.read_text().replace("\\\n", " "))
    return [body for name, body in found if name == language]


COMMANDS = [
    pytest.param(line.strip(), id=f"{guide.stem}: {line.strip()}")
    for guide in GUIDES
    for block in blocks(guide, "")
    for line in COMMAND.findall(block)
]


def test_there_are_guides_with_commands() -> None:
    assert {guide.stem for guide in GUIDES} >= {
        *("boot", "calibrate", "cameras", "record", "ros", "view"),
    }
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_guides_are_understood(command: str) -> None:
    options = build_parser().parse_args(shlex.split(command)[1:])
    if options.command == "stream":
        config_of(options)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_python_of_the_guides_compiles(guide: Path) -> None:
    for code in blocks(guide, "python"):
        compile(code, guide.name, "exec")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_links_of_the_guides_lead_somewhere(guide: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", guide.read_text())
    assert [link for link in links if not (guide.parent / link).exists()] == []
