"""`aam-edge` as a user meets it: a process, its sockets, its signals, its exit codes."""

from __future__ import annotations

import itertools
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq

import aam_edge
from aam_edge.cli.main import main
from aam_edge.messages import Health
from tests.program import Program, free_endpoint, listening, run

STARTED = "first map"


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with Program("--camera", "synthetic", "--engine", "onnx") as running:
        running.wait_for(STARTED)
        yield running


def test_plain_subscriber_reads_maps_as_the_contract_says(program: Program) -> None:
    with listening(program.pub, b"attention/synthetic/0\0") as subscriber:
        messages = [msgpack.unpackb(subscriber.recv().split(b"\0", 1)[1]) for _ in range(10)]
    first = messages[0]
    wired = first["map"]
    density = np.frombuffer(wired["data"], wired["dtype"]).reshape(wired["shape"]) * wired["scale"]
    assert density.shape == (56, 72)
    assert density.sum(dtype=np.float64) == pytest.approx(1, abs=1e-3)
    assert first["schema"] == 1
    assert (first["camera"], first["prompt"], first["model"]) == (
        "synthetic",
        "free viewing",
        "nano",
    )
    assert first["image"] == [640, 480]
    assert len(first["weights"]) == 12
    assert 0 < first["publish_ns"] - first["capture_ns"] < 2e9
    assert 0 < first["entropy"] < np.log2(48 * 64)
    assert 1 <= len(first["targets"]) <= 8
    assert set(first["targets"][0]) == {"id", "x", "y", "sigma_px", "score", "yaw", "pitch"}
    # None while it still looks where a target was.
    assert first["gaze"]["target_id"] in [None, *(target["id"] for target in first["targets"])]
    sequence = [message["seq"] for message in messages]
    assert sequence == list(range(sequence[0], sequence[0] + 10))
    stamps = [message["capture_ns"] for message in messages]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))


def test_conflated_subscriber_gets_whole_messages(program: Program) -> None:
    maps = aam_edge.subscribe(program.pub, camera="synthetic", timeout_s=10)
    attention = next(maps)
    maps.close()  # type: ignore[attr-defined]
    assert attention.density.sum() == pytest.approx(1, abs=1e-3)


def test_health_comes_each_second(program: Program) -> None:
    with listening(program.pub, b"health\0") as subscriber:
        health = Health.from_bytes(subscriber.recv().split(b"\0", 1)[1])
        later = Health.from_bytes(subscriber.recv().split(b"\0", 1)[1])
    assert 0.8 < later.uptime_s - health.uptime_s < 1.6
    assert health.source_state == {"synthetic": "live"}
    assert health.engine == "onnx f32"
    assert later.rate_hz > 1
    assert set(later.stages_ms) == {"network", "readout", "publish"}
    assert 0 < later.latency_ms["p50"] <= later.latency_ms["p99"]


def test_prompt_changes_in_the_running_stream_and_is_said(program: Program) -> None:
    with listening(program.pub, b"attention/") as subscriber:
        before = msgpack.unpackb(subscriber.recv().split(b"\0", 1)[1])
        answer = program.ask({"cmd": "set_prompt", "prompt": "search for cup"})
        assert answer["ok"]
        for _ in range(60):
            after = msgpack.unpackb(subscriber.recv().split(b"\0", 1)[1])
            if after["prompt"] == "search for cup":
                break
    assert after["prompt"] == "search for cup"
    assert after["prompt_id"] != before["prompt_id"]
    assert program.ask({"cmd": "status"})["prompts"] == ["search for cup"]


def test_pause_stops_the_maps_and_resume_brings_them_back(program: Program) -> None:
    assert program.ask({"cmd": "pause"}) == {"ok": True, "paused": True}
    with listening(program.pub, b"attention/") as subscriber:
        assert not subscriber.poll(500)
        assert program.ask({"cmd": "resume"})["ok"]
        assert subscriber.poll(5000)


def test_snapshot_can_be_restored(program: Program) -> None:
    snapshot = program.ask({"cmd": "snapshot"})["snapshot"]
    assert program.ask({"cmd": "restore", "snapshot": snapshot})["ok"]
    refused = program.ask({"cmd": "restore", "snapshot": snapshot[:100]})
    assert not refused["ok"]
    assert "not a snapshot" in refused["error"]


@pytest.mark.parametrize(
    "message", [b"", b"\xc1", b"\x93\x01\x02\x03", msgpack.packb({"cmd": "fly"}),
    msgpack.packb({"cmd": ["x"]}),
     msgpack.packb({"cmd": "set_prompt"}), msgpack.packb({"cmd": "set_prompt", "prompt": "  "}),
     msgpack.packb({"cmd": "set_prompt", "prompt": "x", "index": 7}),
     msgpack.packb({"cmd": "set_prompt", "prompt": "x" * 10_001}),
     msgpack.packb({"cmd": "restore", "snapshot": {"a": 1}}),
     msgpack.packb({1: 2})],
)  # fmt: skip
def test_malformed_command_is_answered_and_changes_nothing(
    program: Program, message: bytes
) -> None:
    before = program.ask({"cmd": "status"})["prompts"]
    answer = msgpack.unpackb(program.ask_bytes(message))
    assert answer["ok"] is False
    assert answer["error"]
    assert program.ask({"cmd": "status"})["prompts"] == before


def test_subscriber_that_stops_reading_does_not_slow_the_loop(program: Program) -> None:
    with listening(program.pub, b"attention/") as sleeper:
        sleeper.setsockopt(zmq.RCVHWM, 1)
        with listening(program.pub, b"attention/") as reader:
            sequence = [msgpack.unpackb(reader.recv().split(b"\0", 1)[1])["seq"] for _ in range(60)]
    assert sequence == list(range(sequence[0], sequence[0] + 60))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_stream_within_a_second(number: int) -> None:
    with Program("--camera", "demo", "--engine", "onnx", page="127.0.0.1:0") as running:
        running.wait_for(STARTED)
        assert running.stop(number) < 1.5  # the interpreter's own end included
        assert running.process.returncode == 0


def test_signal_while_a_source_does_not_open_ends_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        with Program("--camera", address) as running:
            running.wait_for("taking commands")
            assert running.stop() < 3
            assert running.process.returncode == 0


def test_file_at_every_pace_gives_each_frame_and_ends(tmp_path: Path) -> None:
    with Program("--camera", "demo", "--pace", "every", "--frames", "20") as running:
        running.process.wait(30)
    assert running.process.returncode == 0


def test_two_cameras_are_published_apart() -> None:
    with Program("--camera", "synthetic", "--camera", "demo", "--engine", "onnx") as running:
        running.wait_for(STARTED)
        with listening(running.pub, b"attention/") as subscriber:
            topics = {subscriber.recv().split(b"\0", 1)[0] for _ in range(40)}
    assert topics == {b"attention/synthetic/0", b"attention/demo/0"}


def test_sound_of_the_demo_reaches_the_message() -> None:
    with Program("--camera", "demo", "--engine", "onnx") as running:
        running.wait_for(STARTED)
        with listening(running.pub, b"attention/") as subscriber:
            messages = [msgpack.unpackb(subscriber.recv().split(b"\0", 1)[1]) for _ in range(30)]
    levels = [message["sound"]["level_db"] for message in messages if message["sound"]]
    assert levels
    assert -100 < max(levels) < 0


ERRORS = [
    (("--camera", "/no/such.mp4"), 3, "no such camera or file (/no/such.mp4)"),
    (("--camera", "/dev/video77"), 3, "/dev/video77"),
    (("--model", "giga"), 4, "unknown model (giga)"),
    (("--engine", "warp"), 2, "unknown engine (warp)"),
    (("--set", "zmq.hmw=3"), 2, "did you mean zmq.hwm?"),
    (("--set", "zmq.hwm=0"), 2, "give at least 1"),
    (("--size", "big"), 2, "size is wrong (big)"),
    (("--prompt", " "), 2, "prompt is empty"),
    (("--pace", "slow"), 2, "invalid choice: 'slow'"),
    (("--nosuch",), 2, "unknown option (--nosuch)"),
    (("--pub", "tcp://0.0.0.0:5999"), 5, "address can be reached from other machines"),
    (("--pub", "hello"), 2, "endpoint is wrong (hello)"),
    (("--config", "/no/such.yaml"), 2, "settings file cannot be read (/no/such.yaml)"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), ERRORS)
def test_mistake_is_one_line_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/none")  # whoever runs the tests may have keys
    defaults = {"--camera": "synthetic", "--pub": "none", "--control": "none", "--page": "none"}
    asked = [part for pair in defaults.items() if pair[0] not in arguments for part in pair]
    done = run("--quiet", *arguments, *asked, "--frames", "1")
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("aam-edge: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = run(
            "--camera", "synthetic", "--page", "none", "--control", "none", "--pub", endpoint
        )
    assert done.returncode == 5
    assert f"port is in use ({endpoint})" in done.stderr


@pytest.mark.parametrize("mistake", ["--model", "--calibration"])
def test_wrong_model_or_calibration_is_said_before_anything_opens(
    mistake: str, tmp_path: Path
) -> None:
    recorded = tmp_path / "out.mcap"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        where = ("--pub", endpoint, "--control", "none", "--page", "127.0.0.1:0")
        done = run("--camera", "demo", *where, "--record", str(recorded), mistake, "nowhere")
    assert "nowhere" in done.stderr
    assert "port is in use" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not recorded.exists()


def test_bench_refuses_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "giga"]) == 4
    assert "unknown model (giga)" in capsys.readouterr().err


def test_settings_file_is_read_and_options_win(tmp_path: Path) -> None:
    endpoint = free_endpoint()
    settings = tmp_path / "robot.yaml"
    settings.write_text(
        f"frames: 100000\nzmq: {{pub: '{endpoint}', control: none}}\n"
        "page: {listen: none}\nsource: {cameras: [synthetic]}\n"
    )
    done = run("--config", str(settings), "--frames", "3")
    assert done.returncode == 0
    assert f"publishing on {endpoint}" in done.stderr


COMMANDS = ("", "predict", "prompt", "keys", "bench", "doctor", "completion")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert "example" in done.stdout
    assert "aam-edge" in done.stdout


def test_all_settings_can_be_listed() -> None:
    done = run("--set", "help")
    assert done.returncode == 0
    assert "zmq.hwm (2)\n    messages kept for a slow subscriber" in done.stdout
