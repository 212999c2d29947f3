"""Odd prompts at every door: refused in one line, mended, or taken and said to be unknown."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge import wire
from aam_edge.config import load_config
from aam_edge.engine.package import packaged_folder
from aam_edge.errors import UsageError
from aam_edge.messages import Image
from aam_edge.model_api import Model, load
from aam_edge.prompts import LONGEST, checked_prompt
from aam_edge.sinks.page_wire import check_request
from tests.program import Program, run

REFUSED = [
    *(("", "prompt is empty"), (" \t\n", "prompt is empty"), ("\x00\x07", "prompt is empty")),
    *(("\u200b\ufeff", "prompt is empty"), ("\u200d", "prompt is empty")),
    *(("caf\udce9", "prompt is not UTF-8"), ("\ud800", "prompt is not UTF-8")),
    ("x" * (LONGEST + 1), "prompt is too long"),
]
MENDED = [
    *(("  search \t for\ncup\r\n", "search for cup"), ("\x1b[31mcup\x1b[0m", "[31mcup [0m")),
    *(("cup\x00\x07", "cup"), ("\u202ecup", "cup"), ("c\u200bup", "cup"), ("cup\x85", "cup")),
]
TAKEN = [
    *(
        "cup",
        "x" * LONGEST,
        "红色的杯子",
        "красная чашка",
        "فنجان",
        "😀",
        "👨\u200d👩\u200d👧 at home",
    ),
    *(
        "\u0645\u06cc\u200c\u062e",
        "!",
        "search for \u2603",
        "[MASK]",
        '"; drop',
        "{}",
        "%s",
        "café",
        "\ufffd",
    ),
]


@pytest.mark.parametrize(("prompt", "said"), REFUSED)
def test_prompt_that_cannot_be_asked_is_refused_in_one_line(prompt: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        checked_prompt(prompt)
    line = str(refused.value)
    assert len(line) < 200
    assert line.isprintable()


@pytest.mark.parametrize("given", [None, 7, b"cup", ["cup"], {"prompt": "cup"}])
def test_what_is_no_text_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="prompt must be text"):
        checked_prompt(given)


@pytest.mark.parametrize(("prompt", "asked"), MENDED)
def test_invisible_characters_are_mended(prompt: str, asked: str) -> None:
    assert checked_prompt(prompt) == asked


@pytest.mark.parametrize("prompt", TAKEN)
def test_everything_else_is_taken_as_it_is(prompt: str) -> None:
    assert checked_prompt(prompt) == prompt


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=60))
def test_what_is_taken_can_be_sent_printed_and_asked_again(prompt: str) -> None:
    try:
        asked = checked_prompt(prompt)
    except UsageError:
        return
    assert asked.encode()
    assert not any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in asked)
    assert checked_prompt(asked) == asked


# The doors.


@pytest.mark.parametrize(("prompt", "said"), REFUSED)
def test_settings_refuse(prompt: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(options={"prompts": ["cup", prompt]})


def test_settings_mend() -> None:
    assert load_config(options={"prompts": [" red\ncup "]}).prompts == ("red cup",)


@pytest.mark.parametrize("command", [[], ["predict", "demo"], ["prompt"]])
@pytest.mark.parametrize(("prompt", "said"), [(b"caf\xe9", "not UTF-8"), (b"\x07 ", "is empty")])
def test_commands_refuse_with_exit_code_2(command: list[str], prompt: bytes, said: str) -> None:
    text = prompt.decode(errors="surrogateescape")
    ran = run(*command, *([text] if command == ["prompt"] else ["--prompt", text]))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("aam-edge: prompt ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(("prompt", "said"), REFUSED)
def test_page_refuses(prompt: str, said: str) -> None:
    # As it comes in JSON, which can spell half a character.
    request = json.loads(json.dumps({"cmd": "set_prompt", "prompt": prompt}))
    with pytest.raises(ValueError, match=said):
        check_request(request)


def test_page_mends() -> None:
    request = {"cmd": "set_prompt", "prompt": "\x1bred\ncup"}
    assert check_request(request) == {"cmd": "set_prompt", "prompt": "red cup", "index": 0}


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The packaged network under a manifest that says that it follows prompts."""
    folder = tmp_path_factory.mktemp("following")
    for path in packaged_folder().glob("nano.*"):
        shutil.copy(path, folder)
    manifest = folder / "nano.json"
    facts = json.loads(manifest.read_text()) | {"follows_prompts": True}
    manifest.write_text(json.dumps(facts))
    return str(folder / "nano.safetensors")


@pytest.fixture(scope="module")
def program(following: str) -> Iterator[Program]:
    with Program("--camera", "synthetic", "--model", following, "--engine", "onnx") as running:
        running.wait_for("streaming")
        yield running


@pytest.mark.parametrize(("prompt", "said"), [(p, s) for p, s in REFUSED if "UTF-8" not in s])
def test_control_socket_refuses_and_streams_on(program: Program, prompt: str, said: str) -> None:
    before = program.ask({"cmd": "status"})["prompts"]
    answer = program.ask({"cmd": "set_prompt", "prompt": prompt})
    assert not answer["ok"]
    assert said in answer["error"]
    assert program.ask({"cmd": "status"})["prompts"] == before


def test_control_socket_answers_bytes_that_are_no_text(program: Program) -> None:
    message = wire.pack({"cmd": "set_prompt", "prompt": "cafX"}).replace(b"X", b"\xe9")
    answer = wire.unpack(program.ask_bytes(message))
    assert not answer["ok"]
    assert program.ask({"cmd": "status"})["ok"]


def test_control_socket_says_what_is_unknown_until_it_is_gone(program: Program) -> None:
    answer = program.ask({"cmd": "set_prompt", "prompt": "赤い\nコップ"})
    line = "no word of the prompt is known (赤い コップ): looks freely; ask in English"
    assert answer["prompts"] == ["赤い コップ"]
    assert line in answer["warnings"]
    program.wait_for("no word of the prompt is known")
    assert line in program.ask({"cmd": "status"})["warnings"]
    answer = program.ask({"cmd": "set_prompt", "prompt": "red cup 杯"})
    assert not any("no word" in warning for warning in answer["warnings"])


def test_long_prompt_is_taken_and_said_to_be_read_in_part(program: Program) -> None:
    answer = program.ask({"cmd": "set_prompt", "prompt": "cup " * 2_400})
    assert answer["ok"]
    assert any(w.startswith("prompt is long (cup cup") for w in answer["warnings"])


# From Python.


@pytest.fixture(scope="module")
def model(following: str) -> Iterator[Model]:
    loaded = load(following, engine="onnx")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def picture() -> Image:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.mark.parametrize(("prompt", "said"), REFUSED)
def test_python_refuses_and_keeps_what_it_had(
    model: Model, picture: Image, prompt: str, said: str
) -> None:
    stream = model.stream(["cup"])
    with pytest.raises(UsageError, match=said):
        stream.set_prompts(["dog", prompt])
    assert stream.prompts == ("cup",)
    with pytest.raises(UsageError, match=said):
        model.stream([prompt])
    with pytest.raises(UsageError, match=said):
        model.predict(picture, prompt)
    assert model.predict(picture, "cup").prompt == "cup"


@pytest.mark.parametrize("prompt", TAKEN)
def test_python_takes_any_text_and_the_map_is_a_density(
    model: Model, picture: Image, prompt: str
) -> None:
    attention = model.predict(picture, prompt)
    assert attention.prompt == prompt
    assert attention.density.sum() == pytest.approx(1, abs=1e-3)
    assert np.isfinite(attention.density).all()
    attention.to_bytes()


def test_unknown_prompt_is_said_once_in_the_log(
    model: Model, picture: Image, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream = model.stream(["cup", "杯子"])
        stream.set_prompts(["dog", "杯子"])
        for _ in range(3):
            model.predict(picture, "杯子")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["no word of the prompt is known (杯子): looks freely; ask in English"] * 2
    assert stream.doubts == lines[:1]
    stream.set_prompts(["dog"])
    assert stream.doubts == []


def test_network_that_follows_no_prompts_says_that_alone(
    picture: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for suffix in (".json", ".onnx", ".safetensors"):
        shutil.copy(packaged_folder() / f"nano{suffix}", tmp_path)
    manifest = tmp_path / "nano.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"follows_prompts": False}))
    with caplog.at_level(logging.WARNING):
        assert load(str(manifest), engine="onnx").predict(picture, "杯子").prompt == "杯子"
    assert caplog.records == []
