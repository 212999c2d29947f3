"""The real command with stand-ins for what cannot be broken on demand: camera, clock, disk, GPU.

Each line on stdin turns a dial, such as `unplug`, `size 320x240` or `disk EROFS`; the answer is
`done` on stdout. All else is the program as it is.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from aam_edge.cli.main import main
from aam_edge.config import parse_size
from aam_edge.sources.faulty import FaultyDevice

CAMERA = FaultyDevice(fps=30)


class Gate:
    """Lets calls through, or holds them."""

    def __init__(self) -> None:
        self._is_free = threading.Event()
        self._is_free.set()
        self.stick, self.free = self._is_free.clear, self._is_free.set

    def before(self, owner: type, name: str) -> None:
        """Puts itself before a method."""
        behind = getattr(owner, name)

        def held(*arguments: Any, **settings: Any) -> Any:
            self._is_free.wait()
            return behind(*arguments, **settings)

        setattr(owner, name, held)


class Clock:
    """The wall clock, which somebody sets."""

    def __init__(self) -> None:
        self._true_ns, self.offset_ns = time.time_ns, 0

    def __call__(self) -> int:
        return self._true_ns() + self.offset_ns


class Disk:
    """Writes of the recording, which fail while there is trouble."""

    def __init__(self) -> None:
        self.trouble = 0

    def before(self, owner: type) -> None:
        """Puts itself before `write`."""
        behind = owner.write  # type: ignore[attr-defined]

        def write(file: Any, data: bytes) -> int:
            if self.trouble:
                raise OSError(self.trouble, os.strerror(self.trouble))
            return int(behind(file, data))

        owner.write = write  # type: ignore[attr-defined]


def obey(dials: dict[str, Callable[..., object]]) -> None:
    """Turns dials until stdin ends."""
    for line in sys.stdin:
        name, *values = line.split()
        dials[name](*values)
        sys.stdout.write("done\n")
        sys.stdout.flush()


def rig() -> dict[str, Callable[..., object]]:
    """Puts the stand-ins in; gives the dials."""
    from aam_edge.model_api import Stream
    from aam_edge.recording.writer import WholeFile
    from aam_edge.sinks.page import PageSink
    from aam_edge.sources import catalog

    setattr(catalog, "V4l2Device", lambda path: CAMERA)  # noqa: B010, the name is not exported
    network, page, clock, disk = Gate(), Gate(), Clock(), Disk()
    network.before(Stream, "step_together")
    page.before(PageSink, "offer")
    time.time_ns = clock
    disk.before(WholeFile)

    def set_clock(seconds: str) -> None:
        clock.offset_ns = int(seconds) * 1_000_000_000

    def set_disk(name: str) -> None:
        disk.trouble = 0 if name == "ok" else int(getattr(errno, name))

    return {
        "unplug": CAMERA.unplug,
        "plug_in": CAMERA.plug_in,
        "stall": CAMERA.stall,
        "resume": CAMERA.resume,
        "size": lambda size: CAMERA.allow(parse_size(size)),
        "stamps": lambda seconds: CAMERA.jump_clock(int(seconds) * 1_000_000_000),
        "stick": lambda what: {"network": network, "page": page}[what].stick(),
        "free": lambda what: {"network": network, "page": page}[what].free(),
        "clock": set_clock,
        "disk": set_disk,
    }


def run(arguments: Sequence[str]) -> int:
    """The command, with somebody at the dials."""
    threading.Thread(target=obey, args=(rig(),), daemon=True).start()
    sys.argv[1:] = arguments
    return main()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
