"""What starts aam-edge at boot or from ROS, as far as it can be run without either."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aam_edge.cli.findings import find_files
from aam_edge.cli.main import build_parser
from aam_edge.cli.stream import config_of
from aam_edge.config import Config
from tests.program import Program
from tests.rosbridge import RosBridge

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
ODD_PROMPT = 'search for "mum\'s cup" $HOME; `id`'


def config_from(words: list[str]) -> Config:
    """The settings that aam-edge takes from these words."""
    options = build_parser([]).parse_args(words)
    assert isinstance(options, argparse.Namespace)
    return config_of(options)


@dataclass
class Argument:
    """launch.actions.DeclareLaunchArgument, and the value that is given for it."""

    name: str
    default_value: str
    description: str


@dataclass
class Configuration:
    """launch.substitutions.LaunchConfiguration."""

    name: str


@dataclass
class Process:
    """launch.actions.ExecuteProcess."""

    cmd: list[Any]
    name: str
    output: str
    respawn: bool = False
    respawn_delay: float = 0.0


@dataclass
class Include:
    """launch.actions.IncludeLaunchDescription."""

    source: Any
    condition: Any


@dataclass
class Any1:
    """Whatever takes one thing and holds it."""

    held: Any = field(default=None)


def ros2_modules() -> dict[str, types.ModuleType]:
    """Stand-ins for what the file imports, no more."""
    names: dict[str, dict[str, Any]] = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": Argument,
            "ExecuteProcess": Process,
            "IncludeLaunchDescription": Include,
        },
        "launch.conditions": {"IfCondition": Any1},
        "launch.launch_description_sources": {"AnyLaunchDescriptionSource": Any1},
        "launch.substitutions": {
            "LaunchConfiguration": Configuration,
            "PathJoinSubstitution": Any1,
        },
        "launch_ros": {},
        "launch_ros.substitutions": {"FindPackageShare": Any1},
    }
    modules = {name: types.ModuleType(name) for name in names}
    for name, content in names.items():
        vars(modules[name]).update(content)
    return modules


def ros2_entities(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    for name, module in ros2_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    content: dict[str, Any] = {}
    file = LAUNCH / "aam_edge.launch.py"
    exec(compile(file.read_text(), str(file), "exec"), content)
    return list(content["generate_launch_description"]())


def ros2_command(entities: list[Any], given: dict[str, str]) -> list[str]:
    values = {e.name: e.default_value for e in entities if isinstance(e, Argument)}
    assert given.keys() <= values.keys()
    (process,) = (e for e in entities if isinstance(e, Process))
    values |= given
    return [values[w.name] if isinstance(w, Configuration) else w for w in process.cmd]


def ros1_command(given: dict[str, str]) -> list[str]:
    """What roslaunch would run: the prefix, split as it splits, before the node's own words."""
    root = ElementTree.parse(LAUNCH / "aam_edge.launch").getroot()
    values = {arg.attrib["name"]: arg.attrib["default"] for arg in root.iter("arg")}
    assert given.keys() <= values.keys()
    values |= given
    (node,) = root.iter("node")

    def substituted(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"$(arg {name})", value)
        assert "$(arg" not in text
        return text

    environment = {e.attrib["name"]: substituted(e.attrib["value"]) for e in node.iter("env")}
    prefix = shlex.split(substituted(node.attrib["launch-prefix"]))
    words = [*prefix, "/opt/ros/lib/rosbridge_websocket", "__name:=aam_edge", "__log:=/tmp/x"]
    done = subprocess.run(
        words, env=os.environ | environment, capture_output=True, check=True, timeout=10
    )
    return done.stdout.decode().split("\0")[:-1]


@pytest.fixture
def echo(tmp_path: Path) -> str:
    """A program that prints the words it was given."""
    program = tmp_path / "echo"
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_ros_2_file_starts_the_program_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    entities = ros2_entities(monkeypatch)
    program, *words = ros2_command(entities, {})
    assert program == "aam-edge"
    config = config_from(words)
    assert config.ros.url == "ws://127.0.0.1:9090"
    assert (config.page.listen, config.zmq.pub, config.zmq.control) == ("none",) * 3
    given = {"camera": "ros:/head/image_raw", "prompt": ODD_PROMPT, "namespace": "/robot/head"}
    config = config_from(ros2_command(entities, given)[1:])
    assert config.source.cameras == ("ros:/head/image_raw",)
    assert (config.ros.namespace, config.prompts) == ("/robot/head", (ODD_PROMPT,))


def test_ros_2_file_starts_rosbridge_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    (bridge,) = (e for e in ros2_entities(monkeypatch) if isinstance(e, Include))
    package, folder, file = bridge.source.held.held
    assert package.held == "rosbridge_server"
    assert (folder, file) == ("launch", "rosbridge_websocket_launch.xml")
    assert bridge.condition.held == Configuration("start_bridge")


def test_ros_1_file_starts_the_program_with_its_arguments(echo: str) -> None:
    given = {"program": echo, "prompt": ODD_PROMPT, "namespace": "/robot/head"}
    config = config_from(ros1_command(given))
    assert config.prompts == (ODD_PROMPT,)
    assert config.ros.namespace == "/robot/head"
    assert config.ros.url == "ws://127.0.0.1:9090"


def test_both_files_have_the_same_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    root = ElementTree.parse(LAUNCH / "aam_edge.launch").getroot()
    ros1 = {a.attrib["name"]: (a.attrib["default"], a.attrib["doc"]) for a in root.iter("arg")}
    arguments = [e for e in ros2_entities(monkeypatch) if isinstance(e, Argument)]
    assert ros1 == {a.name: (a.default_value, a.description) for a in arguments}


def test_service_passes_words_that_the_program_takes() -> None:
    unit = (LAUNCH / "aam-edge.service").read_text()
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert start.endswith("/bin/aam-edge $AAM_EDGE_OPTIONS")
    lines = (LAUNCH / "aam-edge.env").read_text().splitlines()
    examples = [line.lstrip("# ") for line in lines if "AAM_EDGE_OPTIONS=" in line]
    assert len(examples) == 3
    for line in examples:
        words = line.partition("=")[2].replace("/etc/aam-edge/", f"{ROOT}/configs/").split()
        assert config_from(words) != Config()


def test_service_is_sound_and_hardened(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "aam-edge.service"
    text = (LAUNCH / "aam-edge.service").read_text()
    unit.write_text(text.replace("/opt/aam-edge/bin/aam-edge", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=30
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if "unrecognized option" not in rated.stderr:
        assert rated.returncode == 0, rated.stdout[-200:]


@pytest.mark.parametrize(
    "line",
    [
        *("Type=notify", "WatchdogSec=30", "Restart=on-failure", "RestartPreventExitStatus=2"),
        *("NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=strict", "DynamicUser=yes"),
        *("DeviceAllow=char-video4linux rw", "DeviceAllow=char-alsa rw"),
    ],
)
def test_service_has_what_a_robot_relies_on(line: str) -> None:
    assert line in (LAUNCH / "aam-edge.service").read_text().splitlines()


def test_doctor_says_where_the_files_are() -> None:
    found = {finding.name: finding for finding in find_files()}
    assert found["launch"].words == str(LAUNCH)
    assert found["configs"].words == str(ROOT / "configs")
    assert not any(finding.is_fault for finding in found.values())


def test_stream_started_as_the_ros_2_file_does_speaks_to_ros(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RosBridge() as server:
        given = {"camera": "synthetic", "ros": server.url, "namespace": "/robot"}
        words = ros2_command(ros2_entities(monkeypatch), given)[1:]
        # The program of the tests chooses free addresses of its own.
        kept = [w for w in words if w not in ("--pub", "--control", "--page", "none")]
        with Program(*kept) as program:
            stamp = server.next("/robot/gaze")["header"]["stamp"]
            assert stamp["sec"] > 1_600_000_000
            assert server.call("/robot/reset") == {"success": True, "message": ""}
            server.publish("/robot/prompt", "std_msgs/String", {"data": "search for cup"})
            program.wait_for("prompt 0 is now: search for cup")
            assert program.stop() < 1.5
            assert program.process.returncode == 0
        assert server.log == []


@pytest.mark.slow
def test_wheel_carries_what_doctor_points_to(tmp_path: Path) -> None:
    for name in ("aam_edge", "launch", "configs", "calibration"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-q", "-w", tmp_path, tmp_path], check=True, timeout=55)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    for name in ("launch", "configs", "calibration"):
        inside = {path.name for path in packed if path.parent.match(f"data/share/aam_edge/{name}")}
        assert inside == {path.name for path in (ROOT / name).iterdir() if path.is_file()}
