"""What setup.cfg asks for, and the files that follow from it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINNED = {"torch", "torch-tensorrt"}
"""Not among the oldest: tools/test pins torch, and torch-tensorrt needs a GPU."""


def asked() -> list[str]:
    """Every requirement, of the base and of all extras."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    texts = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    return [line for line in lines if line]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version: str) -> tuple[int, ...]:
    """1.0 and 1.0.0 are the same version."""
    found = [int(part) for part in version.split(".")]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def lower_bounds() -> dict[str, set[tuple[int, ...]]]:
    bounds: dict[str, set[tuple[int, ...]]] = {}
    for line in asked():
        found = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[\w+\])?>=([0-9.]+)(?:,<[0-9.]+)?", line)
        assert found, f"no lower bound: {line}"
        bounds.setdefault(plain(found[1]), set()).add(numbers(found[2]))
    return bounds


def test_package_has_one_lower_bound_in_all_extras() -> None:
    several = {name for name, bounds in lower_bounds().items() if len(bounds) > 1}
    assert several <= PINNED


def test_oldest_constraints_are_the_lower_bounds() -> None:
    lines = (ROOT / "tests" / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {plain(name): {numbers(version)} for name, version in pins.items()}
    assert pinned == {n: b for n, b in lower_bounds().items() if n not in PINNED}


def test_test_extra_holds_what_other_extras_bring() -> None:
    """Else the oldest versions of some are never run; rerun is left out for its 170 MB."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    tested = settings["options.extras_require"]["test"] + settings["options"]["install_requires"]
    missing = {line for line in asked() if line not in tested.splitlines()}
    assert {re.split(r"[>=\[]", line)[0] for line in missing} <= PINNED | {"rerun-sdk"}
