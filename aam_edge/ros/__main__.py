"""`python -m aam_edge.ros [--url ws://robot:9090] node.py ...` runs a node without ROS."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from aam_edge.errors import exit_code_of
from aam_edge.ros.install import install
from aam_edge.ros.transport import DEFAULT_URL


def main() -> None:
    """Runs the script as `__main__`, with the arguments behind it."""
    parser = argparse.ArgumentParser(prog="python -m aam_edge.ros", description=__doc__)
    parser.add_argument("--url", default=DEFAULT_URL, help="where rosbridge is (%(default)s)")
    parser.add_argument("script", type=Path, help="a node written for rclpy")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its own")
    options = parser.parse_args()
    install(options.url)
    sys.argv = [str(options.script), *options.arguments]
    sys.path[0] = str(options.script.parent)
    runpy.run_path(str(options.script), run_name="__main__")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
