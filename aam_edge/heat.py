"""Whether the machine holds its own clock down, and in which power mode it runs, as Linux tells.

Files alone are read; where they are missing, as in a virtual machine, nothing is said.

    thermal zones     temperature against the zone's passive trip, where the kernel begins to slow
    throttle counts   of Intel's processors; they rise while it lasts
    cpufreq           the highest clock that is allowed, against the one at the start: a power mode
                      that was chosen lies below the hardware's own limit from the beginning
    get_throttled     what the firmware of a Raspberry Pi does by itself
    nvpmodel          the power mode of a Jetson
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

ROOT = Path("/")
PERIOD_S = 5.0
HOLD_S = 30.0
"""It is over once nothing was seen for so long: heat swings about its limit."""
CLOSE_S = 0.2

CHIP = re.compile("cpu|gpu|soc|core|pkg|package|tj|acpitz", re.IGNORECASE)
"""Zones of the chip. Others have trips for their own fans: a battery, a radio, a laptop's skin."""
ZONES = "sys/class/thermal/thermal_zone*"
COUNTS = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
CLOCKS = "sys/devices/system/cpu/cpufreq/policy*"
FIRMWARE = "sys/devices/platform/*/*firmware*/get_throttled"
FIRMWARE_BITS = ("under-voltage", "clock capped", "throttled", "soft limit of temperature")


class Heat:
    """Looks at the files below `root`, and remembers what it saw the last time."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._counts = self._throttle_counts()
        self._highest_khz = self._clocks_khz()

    def look(self) -> str:
        """What slows the machine now, or did since the last look; empty if nothing."""
        told = [*self._hot_zones(), *self._lower_clocks(), *self._throttled(), *self._firmware()]
        return "; ".join(told)

    def _hot_zones(self) -> Iterator[str]:
        for name, degrees, limit in zones(self._root):
            if limit is not None and degrees >= limit:
                yield f"{name} {degrees:.0f} °C, slowed from {limit:.0f} °C on"

    def _lower_clocks(self) -> Iterator[str]:
        now_khz = self._clocks_khz()
        for policy, khz in now_khz.items():
            highest = self._highest_khz[policy] = max(khz, self._highest_khz.get(policy, 0))
            if khz < highest:
                yield f"{policy} at most {khz / 1e6:.2f} GHz, was {highest / 1e6:.2f}"
                return  # one says it for all

    def _throttled(self) -> Iterator[str]:
        before, self._counts = self._counts, self._throttle_counts()
        if any(count > before.get(path, count) for path, count in self._counts.items()):
            yield "processor throttled"

    def _firmware(self) -> Iterator[str]:
        for path in self._root.glob(FIRMWARE):
            bits = _number(path, base=16) or 0
            told = [words for n, words in enumerate(FIRMWARE_BITS) if bits >> n & 1]
            if told:
                yield f"firmware: {', '.join(told)}"

    def _throttle_counts(self) -> dict[Path, int]:
        counts = {path: _number(path) for path in self._root.glob(COUNTS)}
        return {path: count for path, count in counts.items() if count is not None}

    def _clocks_khz(self) -> dict[str, int]:
        paths = sorted(self._root.glob(CLOCKS))
        clocks = {path.name: _number(path / "scaling_max_freq") for path in paths}
        return {name: khz for name, khz in clocks.items() if khz is not None}


class Throttling:
    """One episode after the other: each is said in the log when it begins and when it ends."""

    def __init__(self) -> None:
        self.trouble = ""
        """For health; empty while nothing slows the machine."""
        self._begun_ns = self._seen_ns = 0

    def see(self, found: str, now_ns: int) -> None:
        """Takes what a look has found."""
        if found:
            if not self.trouble:
                self._begun_ns = now_ns
                logger.warning("machine is throttled: %s", found)
            self.trouble, self._seen_ns = f"machine is throttled: {found}", now_ns
        elif self.trouble and now_ns - self._seen_ns >= HOLD_S * 1e9:
            self.trouble = ""
            seconds = (self._seen_ns - self._begun_ns) / 1e9
            logger.info("machine is no longer throttled, after %.0f s", seconds)


class HeatWatch:
    """Looks each PERIOD_S in a thread of its own: some sensors take their time to answer."""

    def __init__(self, root: Path = ROOT) -> None:
        self._throttling = Throttling()
        self._stop = threading.Event()
        arguments = (root, self._throttling, self._stop)
        self._thread = threading.Thread(target=_watch, args=arguments, name="aam-heat", daemon=True)
        self._thread.start()

    @property
    def troubles(self) -> list[str]:
        """What slows the machine, for health."""
        return [self._throttling.trouble] if self._throttling.trouble else []

    def close(self) -> None:
        """Ends the thread; twice is fine."""
        self._stop.set()
        self._thread.join(CLOSE_S)


def _watch(root: Path, throttling: Throttling, stop: threading.Event) -> None:
    """The thread's body."""
    try:
        heat = Heat(root)
        while not stop.is_set():
            throttling.see(heat.look(), time.monotonic_ns())
            stop.wait(PERIOD_S)
    except Exception:  # the top of a thread
        logger.exception("heat is not looked after any more")


def zones(root: Path = ROOT) -> Iterator[tuple[str, float, float | None]]:
    """The chip's thermal zones: name, degrees, and from where on the kernel slows the chip."""
    for zone in sorted(root.glob(ZONES)):
        name, millidegrees = _text(zone / "type"), _number(zone / "temp")
        if millidegrees is None or not CHIP.search(name):
            continue
        kinds = zone.glob("trip_point_*_type")
        passive = [kind for kind in kinds if _text(kind) == "passive"]
        trips = [_number(kind.with_name(kind.name.replace("_type", "_temp"))) for kind in passive]
        # The highest: of two, the lower one only wakes the governor. 0 and below: not in use.
        limit = max((trip for trip in trips if trip is not None and trip > 0), default=None)
        yield name, millidegrees / 1e3, None if limit is None else limit / 1e3


def power_mode(root: Path = ROOT) -> str:
    """Governor, clock that is allowed, and a Jetson's mode; empty where nobody says."""
    policies = sorted(root.glob(CLOCKS))
    governors = sorted({_text(path / "scaling_governor") for path in policies} - {""})
    told = [f"governor {', '.join(governors)}"] if governors else []
    limits = {(_number(p / "scaling_max_freq"), _number(p / "cpuinfo_max_freq")) for p in policies}
    for allowed, built in sorted((a, b) for a, b in limits if a is not None and b is not None):
        told.append(f"at most {allowed / 1e6:.2f} of {built / 1e6:.2f} GHz")
    mode = re.match(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if mode is not None:
        line = re.compile(rf"^< *POWER_MODEL +ID={mode[1]} +NAME=(\S+)", re.MULTILINE)
        name = line.search(_text(root / "etc/nvpmodel.conf"))
        told.append(f"nvpmodel {mode[1]}" + (f" ({name[1]})" if name else ""))
    return ", ".join(told)


def _text(path: Path) -> str:
    """What is in a file, empty where it cannot be read: some sensors refuse now and then."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None
