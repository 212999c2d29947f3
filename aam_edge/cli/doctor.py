"""`aam-edge doctor`: what any bug report needs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aam_edge import __version__
from aam_edge.cli.findings import (
    Finding,
    find_cameras,
    find_files,
    find_keys,
    find_libraries,
    find_machine,
    find_microphones,
    find_ports,
)
from aam_edge.config import Config
from aam_edge.errors import ModelError

MEASURED_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "example:\n  aam-edge doctor > report.txt"
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Looks at everything, prints it, and fails only if no engine works."""
    findings = list(examine(Config()))
    if options.json:
        print(json.dumps({"version": __version__, "findings": [f.as_map() for f in findings]}))
    elif sys.stdout.isatty():
        print_table(findings)
    else:
        print("\n".join(lines(findings)))
    engines = [f for f in findings if f.part == "engine" and "rate_hz" in f.data]
    if not engines:
        raise ModelError("no engine works", Config().model.name, "see the faults above")
    return 0


def examine(config: Config, measured_s: float = MEASURED_S) -> Iterator[Finding]:
    """All findings, in the order of the report."""
    yield Finding("library", "aam-edge", f"{__version__} in {Path(__file__).parent.parent}")
    libraries = list(find_libraries())
    yield from libraries
    yield from find_machine()
    yield from find_cameras(Path("/dev").glob("video*"))
    yield from find_microphones()
    yield from find_files()
    yield from find_ports(config)
    yield from find_keys()
    try:
        # Here, because they need OpenCV and ONNX Runtime, which may be what is broken.
        from aam_edge.cli.engines import find_engines, find_texts, find_weights
    except (ImportError, AttributeError) as problem:
        yield Finding("engine", "all", f"cannot be imported: {problem}", is_fault=True)
        return
    yield from find_weights()
    yield from find_texts()
    yield from find_engines(config.model.name, measured_s)


def lines(findings: Sequence[Finding]) -> list[str]:
    """Plain text, a line each; faults begin with an exclamation mark."""
    wide = max(len(finding.name) for finding in findings)
    return [
        f"{'!' if f.is_fault else ' '} {f.part:<10}  {f.name:<{wide}}  {f.words}" for f in findings
    ]


def print_table(findings: Sequence[Finding]) -> None:
    """For a terminal: parts apart, faults in red."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    part = ""
    for finding in findings:
        if part and finding.part != part:
            table.add_section()
        style = "bold red" if finding.is_fault else None
        shown = "" if finding.part == part else finding.part
        table.add_row(shown, finding.name, finding.words, style=style)
        part = finding.part
    Console(markup=False, highlight=False).print(table)
