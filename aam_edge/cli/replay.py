"""`aam-edge replay`: a recording published again, run through the network again, or made whole."""

from __future__ import annotations

import argparse
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from aam_edge.errors import UsageError

if TYPE_CHECKING:
    from aam_edge.recording.reader import Recording
    from aam_edge.sinks.zmq import ZmqPublisher

logger = logging.getLogger(__name__)

WAITING_MESSAGES = 100
"""Kept for a subscriber that is slow: who looks at a recording wants all of it."""
EPILOG = """\
examples:
  aam-edge replay out.mcap                              maps and health over ZeroMQ, as recorded
  aam-edge replay out.mcap --rate 0.5 --from 10 --to 20 --loop
  aam-edge replay out.mcap --model nano                 run it again: are the maps the same?
  aam-edge replay out.mcap --prompt "search for cup" --plot cup.png
  aam-edge replay out.mcap --repair                     out-repaired.mcap, with an index

Messages leave with the stamps and numbers that they had; a subscriber sees no difference.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        type=Path,
        help="recording (.mcap); FILE#CAMERA to compare one of several",
    )
    add("--from", metavar="S", type=float, default=0.0, dest="start_s", help="seconds in (0)")
    add("--to", metavar="S", type=float, default=None, dest="end_s", help="seconds in (the end)")
    play = parser.add_argument_group("publish again")
    play.add_argument("--rate", metavar="X", type=float, default=1.0, help="times as fast (1)")
    play.add_argument("--loop", action="store_true", help="start again at the end")
    play.add_argument("--pub", metavar="ENDPOINT", help="where (tcp://127.0.0.1:5560)")
    keys = "folder of keys that subscribers must show (as --set net.keys of a stream)"
    play.add_argument("--keys", metavar="DIR", help=keys)
    wait = "before the first message, so that subscribers find us (0.5)"
    play.add_argument("--wait", metavar="S", type=float, default=0.5, help=wait)
    again = parser.add_argument_group("run again and compare")
    again.add_argument("--model", metavar="NAME|FILE", help="network (as recorded)")
    again.add_argument("--engine", metavar="NAME", help="engine (as recorded)")
    prompt = "what to look for (as recorded; repeatable)"
    again.add_argument("--prompt", metavar="TEXT", action="append", dest="prompts", help=prompt)
    again.add_argument("--plot", metavar="FILE", type=Path, help="PNG that shows the differences")
    again.add_argument("--json", action="store_true", help="print the table as JSON")
    mend = parser.add_argument_group("make whole")
    mend.add_argument("--repair", action="store_true", help="write what a killed one still holds")
    mend.add_argument("--out", metavar="FILE", type=Path, help="where to (NAME-repaired.mcap)")


def run(options: argparse.Namespace) -> int:
    """Does what is asked; DataError where the file cannot be read."""
    _check(options)
    if options.repair:
        return _repair(options)
    if options.model or options.engine or options.prompts or options.plot:
        from aam_edge.cli.replay_again import run_again

        return run_again(options)
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    previous = {n: signal.signal(n, ask_to_stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _publish(options, stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _check(options: argparse.Namespace) -> None:
    end_s = math.inf if options.end_s is None else options.end_s
    if not 0 <= options.start_s < end_s:
        value = f"--from {options.start_s:g} --to {options.end_s}"
        raise UsageError("times are wrong", value, "give --from below --to")
    if not 0.01 <= options.rate <= 1000:
        raise UsageError("rate is out of range", options.rate, "give 0.01 to 1000")
    if not 0 <= options.wait <= 60:
        raise UsageError("wait is out of range", options.wait, "give 0 to 60 seconds")


def _repair(options: argparse.Namespace) -> int:
    from aam_edge.recording.repair import repair

    path = options.file
    target = options.out or path.with_name(f"{path.stem}-repaired{path.suffix}")
    done = repair(path, target)
    damage = f", unreadable chunks left out: {done.damaged}" if done.damaged else ""
    tail = f", bytes of an unfinished record left out: {done.lost_bytes}" if done.lost_bytes else ""
    print(f"{done.path}: messages: {done.messages}, {done.seconds:.1f} s{damage}{tail}")
    return 0


def _publish(options: argparse.Namespace, stop: threading.Event) -> int:
    from aam_edge.config import NetConfig, ZmqConfig
    from aam_edge.recording.published import published_topics
    from aam_edge.recording.reader import Recording
    from aam_edge.sinks.zmq import ZmqPublisher

    with Recording(options.file) as recording:
        published_topics(recording)  # says what is missing before a port is taken
        settings: dict[str, Any] = recording.run.get("settings", {}).get("zmq", {})
        dtype = settings.get("map_dtype", ZmqConfig().map_dtype)
        endpoint = options.pub or ZmqConfig().pub
        zmq = ZmqConfig(pub=endpoint, map_dtype=dtype, hwm=WAITING_MESSAGES)
        publisher = ZmqPublisher(zmq, NetConfig(keys=options.keys))
        try:
            _say(recording, publisher)
            stop.wait(options.wait)
            while not stop.is_set():
                sent = _play_once(recording, publisher, options, stop)
                if not options.loop or not sent:
                    break
        finally:
            publisher.close()
    return 0


def _say(recording: Recording, publisher: ZmqPublisher) -> None:
    index = recording.index
    seconds = (index.end_ns - index.start_ns) / 1e9
    logger.info("publishing %s (%.1f s) on %s", recording.path, seconds, publisher.endpoint)
    if not index.is_whole:
        logger.warning("%s was not closed: playing what is whole of it", recording.path)


def _play_once(
    recording: Recording,
    publisher: ZmqPublisher,
    options: argparse.Namespace,
    stop: threading.Event,
) -> int:
    """Sends each message at its time, against a deadline that does not add lateness up."""
    start_ns = recording.index.start_ns + round(options.start_s * 1e9)
    begun_ns, sent = time.monotonic_ns(), 0
    for log_ns, topic, body in _packed(recording, publisher, options):
        due_ns = begun_ns + round((log_ns - start_ns) / options.rate)
        if stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
            break
        publisher.send(topic, body)
        sent += 1
    return sent


def _packed(
    recording: Recording, publisher: ZmqPublisher, options: argparse.Namespace
) -> Iterator[tuple[int, str, bytes]]:
    """Log time, topic and body of each message between --from and --to."""
    from aam_edge.messages import Attention
    from aam_edge.recording.published import published

    first_ns = recording.index.start_ns
    start_ns = first_ns + round(options.start_s * 1e9)
    end_ns = None if options.end_s is None else first_ns + round(options.end_s * 1e9)
    for log_ns, message in published(recording, start_ns, end_ns):
        if isinstance(message, Attention):
            yield log_ns, message.topic, message.to_bytes(publisher.dtype)
        else:
            yield log_ns, "health", message.to_bytes()
