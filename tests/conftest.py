"""What several tests need: the shared data where it is there, and a moving scene."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import Phase, settings

from aam_edge.messages import Frame, Image

# CI draws the same examples each time; everywhere else each run looks at new ones. No deadline:
# a busy machine is no defect. tools/mutate runs the tests hundreds of times: few examples, and a
# failure need not be made small.
settings.register_profile("ci", derandomize=True, deadline=None)
without_shrinking = [phase for phase in Phase if phase is not Phase.shrink]
settings.register_profile(
    "few", derandomize=True, deadline=None, max_examples=15, phases=without_shrinking
)
settings.register_profile("here", deadline=None)
settings.load_profile(os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "here"))

# Processes that pytest spreads its tests over ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"
FRAME_NS = 33_333_333
START_NS = 1_800_000_000_000_000_000


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Failures are told at once: pytest names them at its end, which not every run sees."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:  # not in the processes that tests are dealt out to
        config.pluginmanager.register(_TellAtOnce(terminal))


class _TellAtOnce:
    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            last = report.longreprtext.strip().splitlines()[-12:]
            told = "\n".join(f"    {line}" for line in last)
            self._terminal.write_line(
                f"\n{report.nodeid} failed in {report.when} after {report.duration:.1f} s\n{told}"
            )


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Commands that run inside a test set up the log; the next test shall not write into theirs."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos and gaze that developers have beside the project."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the developers' shared/ folder beside the project")
    return SHARED


def scene(frame_id: int, width: int = 640, height: int = 480) -> Image:
    """A disc that crosses a textured wall, 6 pixels a frame."""
    wall = np.random.default_rng(7).integers(60, 120, (height // 8, width // 8, 3), np.uint8)
    image = cv2.resize(wall, (width, height), interpolation=cv2.INTER_CUBIC)
    centre = (60 + 6 * frame_id) % width, height // 2
    cv2.circle(image, centre, height // 10, (40, 60, 240), -1)
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="session")
def moving_frame() -> Callable[[int], Frame]:
    """Frames of `scene`, 30 a second."""

    def frame(frame_id: int) -> Frame:
        return Frame(scene(frame_id), START_NS + frame_id * FRAME_NS, "test", frame_id)

    return frame


def frame_of(camera: str, k: int, size: tuple[int, int] = (640, 480)) -> Frame:
    """Frame k of one of the cameras a, b, c ..., each of which sees the scene at another time."""
    shift = 3 * "abcdef".index(camera)
    return Frame(scene(k + shift, *size), START_NS + k * FRAME_NS, camera, k)
