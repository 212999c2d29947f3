"""Whether weights fit into this machine's memory, asked before they are read."""

from __future__ import annotations

from pathlib import Path

from aam_edge.errors import ModelError

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def need_memory(weights: Path, copies: float = 1.2) -> None:
    """Refuses weights that would not fit.

    Args:
        weights: the file, or a folder of files.
        copies: how many times its size is needed while it is read.

    Raises:
        ModelError: there is less.
    """
    files = weights.rglob("*") if weights.is_dir() else [weights]
    need = copies * sum(file.stat().st_size for file in files if file.is_file())
    free = free_bytes()
    if free is not None and need > free:
        value = f"{weights.name}: needs {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise ModelError("too little memory", value, "end other programs, or take a smaller size")


def free_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Memory that this process may still take; None where the system does not tell."""
    known = [_available(meminfo), _left_in_group(cgroup)]
    return min((count for count in known if count is not None), default=None)


def _available(meminfo: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _left_in_group(cgroup: Path) -> int | None:
    """What a container's limit leaves, its file cache taken for free."""
    try:
        limit, used = (int((cgroup / f"memory.{n}").read_text()) for n in ("max", "current"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return limit - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):  # no limit is the word max
        return None
