"""`aam-edge doctor`: what stands in it, and that it survives what it looks for."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aam_edge import __version__
from aam_edge.cli import doctor
from aam_edge.cli.engines import find_engines, find_weights
from aam_edge.cli.findings import (
    Finding,
    can_bind,
    find_cameras,
    find_keys,
    find_libraries,
    find_machine,
    find_microphones,
    find_ports,
)
from aam_edge.config import load_config
from aam_edge.engine.catalog import choose_engine, is_installed
from aam_edge.keys import KeyFolder, KeyPair

LOOK_AT_OPENCV = "from aam_edge.cli.findings import find_opencv; f = find_opencv(); print(f.words)"


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_report_has_every_part_and_says_which_engine_is_taken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    assert doctor.run(parser.parse_args(["--json"])) == 0
    report = json.loads(capsys.readouterr().out)
    parts = {finding["part"] for finding in report["findings"]}
    inside = {"keys", "weights", "text", "engine"}
    assert parts == {"library", "machine", "camera", "microphone", "files", "port"} | inside
    auto = next(f for f in report["findings"] if f["name"] == "auto")
    assert auto["data"]["engine"] == choose_engine()
    assert report["version"] == __version__


def test_base_engine_runs_and_its_rate_is_measured() -> None:
    engines = by_name(list(find_engines("nano", 0.05)))
    onnx = engines["onnx f32"]
    assert onnx.data["rate_hz"] == pytest.approx(1000 / onnx.data["step_ms"])
    assert 1 < onnx.data["rate_hz"] < 5000
    assert not any(engine.is_fault for engine in engines.values())


@pytest.mark.skipif(not is_installed("openvino"), reason="needs openvino")
def test_each_precision_of_an_engine_is_measured_once() -> None:
    names = [f.name for f in find_engines("nano", 0.05) if f.name.startswith("openvino")]
    assert "openvino f32" in names
    assert len(names) == len(set(names))


def test_unknown_network_is_a_finding_and_no_crash() -> None:
    *_, last = find_engines("mega", 0.05)
    assert last.is_fault
    assert "unknown model" in last.words


def test_packaged_weights_are_whole() -> None:
    nano = by_name(list(find_weights()))["nano"]
    assert not nano.is_fault
    assert "hash right" in nano.words
    assert len(nano.data["weights"]) == 12


def test_imported_weights_are_found_and_damaged_ones_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "aam-edge" / "weights"
    folder.mkdir(parents=True)
    note = {"name": "ears", "kind": "wav2clip", "size": "", "tensors_sha256": "ab" * 32}
    whole = note | {"format": 1, "tensors": 1, "parameters": 1, "licence": "MIT"}
    (folder / "ears.json").write_text(json.dumps(whole))
    (folder / "ears.safetensors").write_bytes(b"")
    (folder / "broken.json").write_text("{")
    found = by_name(list(find_weights()))
    assert "abababababab, imported" in found["ears"].words
    assert not found["ears"].is_fault
    assert found["broken"].is_fault


def test_libraries_are_all_there_and_opencv_is_sound() -> None:
    libraries = by_name(list(find_libraries()))
    assert libraries.keys() >= {"numpy", "OpenCV", "onnxruntime", "torch"}
    assert not any(library.is_fault for library in libraries.values())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("", r"cv2 is empty: pip uninstall -y \S+; pip install opencv-python"),
        ("raise ImportError('libGL.so.1: not found')", r"libGL.so.1: .*: sudo apt-get .* libgl1"),
        ("raise ImportError('no module')", r"broken \(no module\): pip uninstall"),
    ],
)
def test_torn_opencv_is_found_with_the_commands_that_mend_it(
    tmp_path: Path, module: str, words: str
) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(module)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    said = subprocess.run(
        [sys.executable, "-c", LOOK_AT_OPENCV],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.search(words, said.stdout)


def test_machine_is_described() -> None:
    machine = by_name(list(find_machine()))
    assert machine.keys() >= {"Python", "system", "processor", "memory", "display"}
    assert machine["processor"].data["cores"] >= 1
    assert machine["memory"].data["memory_bytes"] > 2**28


def test_node_that_is_no_camera_is_said_and_not_opened(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.write_bytes(b"")
    found = list(find_cameras([node, tmp_path / "video1"]))
    assert [finding.data["opens"] for finding in found] == [False, False]
    assert "device is no camera" in found[0].words


def test_no_camera_and_no_microphone_are_said() -> None:
    (none,) = find_cameras([])
    assert "--camera demo" in none.words
    assert list(find_microphones())


def test_port_in_use_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not can_bind("127.0.0.1", port)
        taken = by_name(list(find_ports(load_config(sets=[f"page.listen=127.0.0.1:{port}"]))))
        assert not taken["page"].data["is_free"]
    assert can_bind("127.0.0.1", port)


def test_keys_are_counted_and_a_fault_in_them_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert "sockets stay on this machine" in next(find_keys()).words
    folder = KeyFolder(tmp_path / "aam-edge" / "keys")
    server = folder.make_server()
    folder.allow("laptop", KeyPair.new().public)
    found = next(find_keys())
    assert (found.is_fault, found.data) == (False, {"clients": 1})
    assert server.public in found.words
    assert server.secret not in found.words
    folder.server_file.chmod(0o644)
    found = next(find_keys())
    assert found.is_fault
    assert "others can read this key" in found.words


def test_plain_report_is_a_line_a_finding_and_marks_faults() -> None:
    plain = doctor.lines([Finding("port", "maps", "free"), Finding("weights", "nano", "x", True)])
    assert plain == ["  port        maps  free", "! weights     nano  x"]


def test_words_that_look_like_markup_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor.print_table([Finding("library", "torch", "none: pip install aam-edge[torch]")])
    assert "aam-edge[torch]" in capsys.readouterr().out
