"""A machine that gets hot, as a folder tree like Linux's own: it is said, and when it is over."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from aam_edge.cli.bench import as_text, machine
from aam_edge.cli.findings import find_machine
from aam_edge.config import load_config
from aam_edge.heat import HOLD_S, Heat, Throttling, power_mode, zones
from aam_edge.runtime import Runtime
from tests.recordings import QUIET
from tests.test_runtime import Witness

CPU = "sys/devices/system/cpu"
ZONE = "sys/class/thermal/thermal_zone1"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
BOARD: dict[str, str | int] = {
    "sys/class/thermal/thermal_zone0/type": "battery",
    "sys/class/thermal/thermal_zone0/temp": 99_000,
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": 45_000,
    f"{ZONE}/type": "cpu-thermal",
    f"{ZONE}/temp": 52_400,
    f"{ZONE}/trip_point_0_type": "passive",
    f"{ZONE}/trip_point_0_temp": 70_000,
    f"{ZONE}/trip_point_1_type": "passive",
    f"{ZONE}/trip_point_1_temp": 85_000,
    f"{ZONE}/trip_point_2_type": "critical",
    f"{ZONE}/trip_point_2_temp": 50_000,
    "sys/class/thermal/thermal_zone2/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone2/temp": "",  # a sensor that is switched off
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": 7,
    f"{CPU}/cpu1/thermal_throttle/package_throttle_count": 9,
    f"{CPU}/cpufreq/policy0/scaling_governor": "schedutil",
    f"{CPU}/cpufreq/policy0/scaling_max_freq": 1_510_000,
    f"{CPU}/cpufreq/policy0/cpuinfo_max_freq": 2_201_000,
    f"{CPU}/cpufreq/policy4/scaling_governor": "schedutil",
    f"{CPU}/cpufreq/policy4/scaling_max_freq": 1_510_000,
    f"{CPU}/cpufreq/policy4/cpuinfo_max_freq": 2_201_000,
    FIRMWARE: "50000",  # what was, not what is
    "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet",
    "etc/nvpmodel.conf": "# modes\n< POWER_MODEL ID=1 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n",
}


def write(root: Path, files: dict[str, str | int]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, BOARD)
    return tmp_path


def test_board_that_is_cool_in_a_lower_power_mode_is_not_throttled(root: Path) -> None:
    heat = Heat(root)
    assert [heat.look(), heat.look()] == ["", ""]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({f"{ZONE}/temp": 85_000}, "cpu-thermal 85 °C, slowed from 85 °C on"),
        ({f"{CPU}/cpu1/thermal_throttle/package_throttle_count": 10}, "processor throttled"),
        (
            {f"{CPU}/cpufreq/policy4/scaling_max_freq": 1_190_400},
            "policy4 at most 1.19 GHz, was 1.51",
        ),
        ({FIRMWARE: "50005"}, "firmware: under-voltage, throttled"),
    ],
)
def test_each_sign_of_throttling_is_told(
    files: dict[str, str | int], words: str, root: Path
) -> None:
    heat = Heat(root)
    write(root, files)
    assert heat.look() == words
    write(root, {name: BOARD[name] for name in files})
    # Counters that went back are those of a processor that came back.
    assert heat.look() == ""


def test_counters_that_stand_still_are_of_an_older_time(root: Path) -> None:
    heat = Heat(root)
    write(root, {f"{CPU}/cpu0/thermal_throttle/core_throttle_count": 8})
    assert heat.look() == "processor throttled"
    assert heat.look() == ""


def test_start_on_a_throttled_machine_is_told_once_its_clock_has_risen(root: Path) -> None:
    clock = f"{CPU}/cpufreq/policy0/scaling_max_freq"
    write(root, {clock: 800_000})
    heat = Heat(root)
    assert heat.look() == ""  # a power mode, for all that is known
    write(root, {clock: 1_510_000})
    assert heat.look() == ""
    write(root, {clock: 800_000})
    assert heat.look() == "policy0 at most 0.80 GHz, was 1.51"


def test_nothing_is_said_where_the_system_tells_nothing(tmp_path: Path) -> None:
    assert Heat(tmp_path).look() == ""
    assert list(zones(tmp_path)) == []
    assert power_mode(tmp_path) == ""
    assert not {"power", "heat"} & {finding.name for finding in find_machine(tmp_path)}
    assert "power" not in machine(tmp_path)


def test_files_with_nonsense_are_no_heat(root: Path) -> None:
    write(root, dict.fromkeys(BOARD, "?\x00"))
    assert Heat(root).look() == ""
    assert list(zones(root)) == []


def test_episode_is_said_once_although_heat_swings_about_its_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    throttling, second_ns = Throttling(), 10**9
    for second in range(0, 60, 5):
        throttling.see("hot" if second % 10 else "", second * second_ns)
        assert throttling.trouble == ("machine is throttled: hot" if second >= 5 else "")
    for second in range(60, 60 + int(HOLD_S), 5):
        throttling.see("", second * second_ns)
    assert throttling.trouble == ""
    assert [record.getMessage() for record in caplog.records] == [
        "machine is throttled: hot",
        "machine is no longer throttled, after 50 s",
    ]


def test_health_says_that_the_machine_is_throttled(root: Path) -> None:
    write(root, {f"{ZONE}/temp": 91_300})
    settings = {"source.cameras": ("synthetic",), "source.pace": "real", "duration_s": 1.5}
    witness = Witness()
    Runtime(load_config(options=QUIET | settings), [witness], machine=root).run(Event())
    told = "machine is throttled: cpu-thermal 91 °C, slowed from 85 °C on"
    assert told in witness.health[-1].warnings


def test_doctor_and_bench_tell_the_power_mode_and_doctor_the_heat(root: Path) -> None:
    mode = "governor schedutil, at most 1.51 of 2.20 GHz, nvpmodel 2 (15W)"
    findings = {finding.name: finding for finding in find_machine(root)}
    assert findings["power"].words == mode
    assert (findings["heat"].words, findings["heat"].is_fault) == ("cpu-thermal 52 °C", False)
    at = machine(root)
    assert at["power"] == mode
    lines = as_text({"machine": at, "model": "nano", "engines": [], "rivals": []}).splitlines()
    assert lines[1] == mode
    write(root, {f"{ZONE}/temp": 91_300})
    (heat,) = (finding for finding in find_machine(root) if finding.name == "heat")
    assert (heat.words, heat.is_fault) == ("cpu-thermal 91 °C, slowed from 85 °C on", True)
