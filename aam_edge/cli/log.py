"""What is said on stderr, and in which form."""

from __future__ import annotations

import argparse
import json
import logging
from datetime import datetime, timezone


def add_arguments(parser: argparse.ArgumentParser, *, is_command: bool = False) -> None:
    """Declares how much is said; before a sub-command or behind it."""
    absent = argparse.SUPPRESS if is_command else False
    group = parser.add_argument_group("log")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "--quiet", action="store_true", default=absent, help="say warnings and errors only"
    )
    loudness.add_argument(
        "--verbose", action="store_true", default=absent, help="say everything, with traces"
    )
    group.add_argument(
        "--log-json", action="store_true", default=absent, help="one JSON object a line"
    )


def configure(options: argparse.Namespace) -> None:
    """Sets the log's handler and level."""
    level = logging.WARNING if options.quiet else logging.INFO
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if options.log_json else PlainFormatter())
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else level, handlers=[handler], force=True
    )
    for library in ("asyncio", "aiohttp", "libav", "onnx_ir", "onnxscript", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)


class PlainFormatter(logging.Formatter):
    """`12:30:01 words`, a level in front where it is not INFO."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class JsonFormatter(logging.Formatter):
    """An object with time, level, place and message."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "place": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields)
