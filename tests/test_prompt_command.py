"""`aam-edge prompt` against a real control socket."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from aam_edge.cli import prompt
from aam_edge.config import ZmqConfig
from aam_edge.errors import SinkError, UsageError


class Controlled:
    """A REP socket that notes what it is told and says what it was given to say."""

    def __init__(self, answer: bytes) -> None:
        self.heard: list[Any] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.RCVTIMEO, 5000)
        self._socket.setsockopt(zmq.LINGER, 1000)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._answer_once, args=(answer,), name="controlled")
        self._thread.start()

    def _answer_once(self, answer: bytes) -> None:
        self.heard.append(msgpack.unpackb(self._socket.recv()))
        self._socket.send(answer)

    def close(self) -> None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._socket.close()
        self._context.term()


def command(*words: str) -> int:
    parser = argparse.ArgumentParser("aam-edge prompt")
    prompt.add_arguments(parser)
    return prompt.run(parser.parse_args(words))


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> Iterator[Controlled]:
    answer = getattr(request, "param", {"ok": True, "prompt_id": 4})
    controlled = Controlled(answer if isinstance(answer, bytes) else msgpack.packb(answer))
    yield controlled
    controlled.close()


def test_stream_is_told_and_its_answer_is_printed(
    stream: Controlled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("search for cup", "--control", stream.endpoint) == 0
    assert stream.heard == [{"cmd": "set_prompt", "prompt": "search for cup", "index": 0}]
    assert capsys.readouterr().out == 'prompt 0 is now "search for cup"\n'


def test_second_prompt_is_meant_with_index_and_json_is_the_whole_answer(
    stream: Controlled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("search for dog", "--index", "1", "--json", "--control", stream.endpoint) == 0
    assert stream.heard[0]["index"] == 1
    assert json.loads(capsys.readouterr().out) == {"ok": True, "prompt_id": 4}


@pytest.mark.parametrize("stream", [{"ok": False, "error": "there is no prompt 7"}], indirect=True)
def test_refusal_is_said_in_the_streams_words(stream: Controlled) -> None:
    with pytest.raises(UsageError) as refused:
        command("cup", "--index", "7", "--control", stream.endpoint)
    assert str(refused.value) == "prompt is refused (cup): there is no prompt 7"


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400", b"\xc1", msgpack.packb([1])], indirect=True)
def test_another_service_is_not_taken_for_a_stream(stream: Controlled) -> None:
    with pytest.raises(SinkError, match="something else answers"):
        command("cup", "--control", stream.endpoint)


def test_nobody_there_is_said_within_the_timeout() -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as placeholder:
        port = placeholder.bind_to_random_port("tcp://127.0.0.1")
    endpoint = f"tcp://127.0.0.1:{port}"
    began = time.monotonic()
    with pytest.raises(SinkError) as missing:
        command("cup", "--control", endpoint)
    assert time.monotonic() - began < prompt.TIMEOUT_MS / 1000 + 2
    assert str(missing.value) == (
        f"no stream answers ({endpoint}): start aam-edge or give its --control"
    )
    assert missing.value.exit_code == 5


@pytest.mark.parametrize("endpoint", ["127.0.0.1:5561", "tcp://127.0.0.1", "none", ""])
def test_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="endpoint is wrong"):
        command("cup", "--control", endpoint)


def test_default_is_the_control_socket_of_a_stream_with_default_settings() -> None:
    parser = argparse.ArgumentParser()
    prompt.add_arguments(parser)
    assert parser.parse_args(["cup"]).control == ZmqConfig().control
    assert "examples:" in parser.format_help()
