"""What `aam-edge doctor` finds out about the machine: versions, devices, ports.

Nothing here may stop the doctor: each look returns findings, a fault among them, and raises
nothing. What may be broken (OpenCV, PortAudio) is imported only where it is looked at.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import site
import socket
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aam_edge.config import Config
from aam_edge.errors import SourceError
from aam_edge.heat import ROOT, Heat, power_mode, zones

BASE_LIBRARIES = (
    "numpy",
    "onnxruntime",
    "pyzmq",
    "msgpack",
    "PyYAML",
    "av",
    "aiohttp",
    "sounddevice",
    "rich",
)
EXTRA_LIBRARIES = {
    "openvino": "openvino",
    "roslibpy": "ros",
    "torch": "torch",
    "safetensors": "torch",
    "foxglove-sdk": "foxglove",
    "rerun-sdk": "rerun",
}
"""Library to the extra that brings it."""
SHARED_FOLDERS = ("launch", "configs", "calibration")
OPENCV_PACKAGES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    part: str
    name: str
    words: str
    is_fault: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    """The same for machines, where the words are not enough."""

    def as_map(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def version_of(package: str) -> str | None:
    """The installed version, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_libraries() -> Iterator[Finding]:
    """Versions of what the package needs and of what it can use."""
    for name in BASE_LIBRARIES:
        version = version_of(name)
        words = version or "is missing: pip install --force-reinstall aam-edge"
        yield Finding("library", name, words, is_fault=version is None)
    yield find_opencv()
    for name, extra in EXTRA_LIBRARIES.items():
        yield Finding("library", name, version_of(name) or f"none: pip install aam-edge[{extra}]")


def find_opencv() -> Finding:
    """OpenCV, and whether two of its packages have torn each other apart.

    All its packages share the folder cv2/, and taking one away leaves `import cv2` an empty module.
    """
    installed = {name: version for name in OPENCV_PACKAGES if (version := version_of(name))}
    words = ", ".join(f"{name} {version}" for name, version in installed.items()) or "none"
    mend = f"pip uninstall -y {' '.join(installed)}; pip install opencv-python"
    try:
        has_capture = hasattr(importlib.import_module("cv2"), "VideoCapture")
    except ImportError as problem:
        if ".so" in str(problem):
            mend = "sudo apt-get install libgl1 libglib2.0-0"
        return Finding("library", "OpenCV", f"{words}, broken ({problem}): {mend}", is_fault=True)
    if not has_capture:
        return Finding("library", "OpenCV", f"{words}, cv2 is empty: {mend}", is_fault=True)
    if len(installed) > 1:
        return Finding("library", "OpenCV", f"{words}, two share one folder: {mend}", is_fault=True)
    return Finding("library", "OpenCV", words)


def find_machine(root: Path = ROOT) -> Iterator[Finding]:
    """System, processor, its power mode and heat, memory, graphics, display."""
    yield Finding("machine", "Python", f"{platform.python_version()} ({platform.machine()})")
    yield Finding("machine", "system", f"{_system_name()}, kernel {platform.release()}")
    board = _first_line(Path("/proc/device-tree/model"))
    if board:
        yield Finding("machine", "board", board.rstrip("\0"))
    cores = usable_cores()
    words = f"{processor_name()}, {cores} cores"
    yield Finding("machine", "processor", words, data={"cores": cores})
    if mode := power_mode(root):
        yield Finding("machine", "power", mode)
    heat = [f"{name} {degrees:.0f} °C" for name, degrees, _ in zones(root)]
    if heat:
        slowed = Heat(root).look()
        yield Finding("machine", "heat", slowed or ", ".join(heat), is_fault=bool(slowed))
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    words = f"{memory_bytes / 2**30:.1f} GiB"
    yield Finding("machine", "memory", words, data={"memory_bytes": memory_bytes})
    driver = _first_line(Path("/proc/driver/nvidia/version"))
    yield Finding("machine", "graphics", driver or "no NVIDIA driver")
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    yield Finding("machine", "display", display or "none; the live page needs none")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def find_cameras(nodes: Iterable[Path]) -> Iterator[Finding]:
    """Which camera nodes give a picture, and in which mode; a webcam's second node gives none."""
    nodes = sorted(nodes)
    if not nodes:
        yield Finding("camera", "none", "no /dev/video*: plug one in, or take --camera demo")
    for node in nodes:
        model = _first_line(Path("/sys/class/video4linux") / node.name / "name") or "unnamed"
        try:
            words, opens = f"{model}: {_mode_of(node)}", True
        except (ImportError, SourceError) as problem:
            words, opens = f"{model}: {problem}", False
        yield Finding("camera", str(node), words, data={"opens": opens})


def _mode_of(node: Path) -> str:
    """The mode that a camera opens with when nothing is asked; raises SourceError."""
    from aam_edge.sources.camera import Mode
    from aam_edge.sources.v4l2 import V4l2Device

    device = V4l2Device(str(node))
    device.open([])
    try:
        if not device.grab():
            raise SourceError("camera gives no picture", node, "plug it in anew")
        return str(Mode.of(device))
    finally:
        device.release()


def find_microphones() -> Iterator[Finding]:
    """What PortAudio can record from."""
    try:
        sounddevice = importlib.import_module("sounddevice")
        devices = [device for device in sounddevice.query_devices() if device["max_input_channels"]]
    except ImportError as problem:
        yield Finding("microphone", "none", f"{problem}: pip install sounddevice")
        return
    except OSError:  # raised at import
        words = "PortAudio is missing: sudo apt-get install libportaudio2"
        yield Finding("microphone", "none", words, is_fault=True)
        return
    except Exception as problem:  # noqa: BLE001 PortAudioError cannot be named without the library
        yield Finding("microphone", "none", f"PortAudio fails ({problem})", is_fault=True)
        return
    if not devices:
        yield Finding("microphone", "none", "no device to record from; files bring their own sound")
    for device in devices:
        channels, rate_hz = device["max_input_channels"], device["default_samplerate"]
        words = f"{device['name']}: {channels} channels, {rate_hz:g} Hz"
        yield Finding("microphone", str(device["index"]), words)


def find_files() -> Iterator[Finding]:
    """Where the files are that are read by the user and by systemd or ROS, not by us."""
    # Below the environment, where pip has put them, or beside the package in a clone. Beside an
    # installed package a folder `launch` is that of ROS.
    folders = (sysconfig.get_path("data"), site.getuserbase())
    places = [Path(folder, "share", "aam_edge") for folder in folders]
    beside = Path(__file__).parent.parent.parent
    if (beside / "setup.cfg").exists():
        places.insert(0, beside)
    for name in SHARED_FOLDERS:
        found = next((place / name for place in places if any((place / name).glob("*"))), None)
        words = "missing: install aam-edge again" if found is None else str(found)
        yield Finding("files", name, words, is_fault=found is None)


def find_keys() -> Iterator[Finding]:
    """Whether other machines may connect, and how many are allowed to."""
    from aam_edge.errors import UsageError
    from aam_edge.keys import KeyFolder, check_curve, default_folder

    try:
        folder = KeyFolder(default_folder())
        check_curve()
        if not folder.is_there:
            words = f"none in {folder.path}: sockets stay on this machine (aam-edge keys new)"
            yield Finding("keys", "server", words, data={"clients": None})
            return
        public, clients = folder.server().public, folder.clients()
    except UsageError as problem:
        yield Finding("keys", "server", str(problem), is_fault=True)
        return
    words = f"{public} in {folder.path}, clients allowed: {len(clients)}"
    yield Finding("keys", "server", words, data={"clients": len(clients)})


def find_ports(config: Config) -> Iterator[Finding]:
    """Whether the default addresses can be opened."""
    endpoints = {
        "maps": config.zmq.pub.removeprefix("tcp://"),
        "control": config.zmq.control.removeprefix("tcp://"),
        "page": config.page.listen,
    }
    for name, address in endpoints.items():
        host, _, port = address.rpartition(":")
        is_free = can_bind(host, int(port))
        words = "free" if is_free else "taken, by a running aam-edge or another program"
        yield Finding("port", name, f"{address}: {words}", data={"is_free": is_free})


def can_bind(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: an address of a connection just closed is no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True
