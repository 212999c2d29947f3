"""`aam-edge prompt`: tells a running stream what to look for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import zmq

from aam_edge import wire
from aam_edge.config import ZmqConfig
from aam_edge.errors import SinkError, UsageError
from aam_edge.handshake import Handshake
from aam_edge.keys import ClientKey
from aam_edge.prompts import checked_prompt, shortened

TIMEOUT_MS = 2000
EPILOG = """\
examples:
  aam-edge prompt "search for cup"
  aam-edge prompt "search for cup" --control tcp://robot:5561 --key laptop.key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("text", metavar="TEXT", help='what to look for, such as "search for cup"')
    parser.add_argument(
        "--control",
        metavar="ENDPOINT",
        default=ZmqConfig().control,
        help="control socket of the stream (%(default)s)",
    )
    parser.add_argument(
        "--index", metavar="N", type=int, default=0, help="which of several prompts (%(default)s)"
    )
    parser.add_argument(
        "--key", metavar="FILE", type=Path, help="made by aam-edge keys new, where keys are asked"
    )
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON")


def run(options: argparse.Namespace) -> int:
    """Sends the prompt and prints the answer."""
    prompt = checked_prompt(options.text)
    command = {"cmd": "set_prompt", "prompt": prompt, "index": options.index}
    answer = ask(options.control, command, options.key)
    if options.json:
        print(json.dumps(answer))
    if not answer.get("ok"):
        raise UsageError("prompt is refused", shortened(prompt), str(answer.get("error")))
    if not options.json:
        print(f'prompt {options.index} is now "{prompt}"')
        for warning in answer.get("warnings", ()):
            print(f"aam-edge: {warning}", file=sys.stderr)
    return 0


def ask(endpoint: str, command: dict[str, Any], key: Path | None = None) -> dict[str, Any]:
    """A stream's answer to one command; SinkError if nobody answers in time."""
    known = None if key is None else ClientKey.read(key)
    with zmq.Context() as context, context.socket(zmq.REQ) as socket, Handshake(socket) as shake:
        socket.setsockopt(zmq.LINGER, 0)
        if known is not None:
            known.put_on(socket)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as problem:
            raise UsageError(
                "endpoint is wrong", endpoint, "write it as tcp://127.0.0.1:5561"
            ) from problem
        return exchange(socket, shake, endpoint, command)


def exchange(
    socket: zmq.Socket[bytes], shake: Handshake, endpoint: str, command: dict[str, Any]
) -> dict[str, Any]:
    """The answer on a REQ socket that is connected; SinkError if none comes in time."""
    # Sending may wait too: whom the stream hangs up on, ZeroMQ has nobody to send to.
    socket.setsockopt(zmq.SNDTIMEO, TIMEOUT_MS)
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
    try:
        socket.send(wire.pack(command))
        return wire.unpack(socket.recv())
    except zmq.Again as problem:
        if shake.has_failed():
            todo = "give --key FILE that aam-edge keys new made there, and is allowed there"
            raise SinkError("stream hangs up", endpoint, todo) from problem
        raise SinkError(
            "no stream answers", endpoint, "start aam-edge or give its --control"
        ) from problem
    except ValueError as problem:
        raise SinkError(
            "something else answers", endpoint, "give the --control of aam-edge"
        ) from problem
