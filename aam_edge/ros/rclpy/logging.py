"""rclpy.logging: lines on stderr in ROS's form; nothing goes to /rosout."""

from __future__ import annotations

import sys
import time
from enum import IntEnum


class LoggingSeverity(IntEnum):
    """How bad it is."""

    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


class RcutilsLogger:
    """A node's logger."""

    def __init__(self, name: str = ""):
        self.name = name
        self._level = LoggingSeverity.UNSET
        self._said: dict[tuple[str, int], float] = {}
        """When each place in the code was last heard, monotonic seconds."""

    def get_child(self, name: str) -> RcutilsLogger:
        """A logger below this one, with its level."""
        child = RcutilsLogger(f"{self.name}.{name}" if self.name else name)
        child._level = self._level
        return child

    def set_level(self, level: int) -> None:
        """What is less is not said."""
        self._level = LoggingSeverity(level)

    def get_effective_level(self) -> LoggingSeverity:
        """The level that acts."""
        return self._level or LoggingSeverity.INFO

    def is_enabled_for(self, severity: int) -> bool:
        """Whether a line of this severity is said."""
        return severity >= self.get_effective_level()

    def debug(self, message: str, **how: float | bool) -> bool:
        """Says it; False if not."""
        return self._log(message, LoggingSeverity.DEBUG, how)

    def info(self, message: str, **how: float | bool) -> bool:
        """Says it; False if not."""
        return self._log(message, LoggingSeverity.INFO, how)

    def warning(self, message: str, **how: float | bool) -> bool:
        """Says it; False if not."""
        return self._log(message, LoggingSeverity.WARN, how)

    def warn(self, message: str, **how: float | bool) -> bool:
        """The same."""
        return self._log(message, LoggingSeverity.WARN, how)

    def error(self, message: str, **how: float | bool) -> bool:
        """Says it; False if not."""
        return self._log(message, LoggingSeverity.ERROR, how)

    def fatal(self, message: str, **how: float | bool) -> bool:
        """Says it; False if not."""
        return self._log(message, LoggingSeverity.FATAL, how)

    def _log(self, message: str, severity: LoggingSeverity, how: dict[str, float | bool]) -> bool:
        if not isinstance(message, str):
            raise TypeError(f"message must be str, got {type(message).__name__}")
        unknown = how.keys() - {"once", "throttle_duration_sec", "skip_first"}
        if unknown:
            raise TypeError(f"unexpected keyword argument: {', '.join(sorted(unknown))}")
        if not self.is_enabled_for(severity) or (how and not self._is_due(how)):
            return False
        stamp = f"{time.time():.9f}"
        sys.stderr.write(f"[{severity.name}] [{stamp}] [{self.name}]: {message}\n")
        return True

    def _is_due(self, how: dict[str, float | bool]) -> bool:
        caller = sys._getframe(3)
        place, now_s = (caller.f_code.co_filename, caller.f_lineno), time.monotonic()
        last_s = self._said.get(place)
        if last_s is None:
            self._said[place] = now_s
            return not how.get("skip_first")
        if how.get("once"):
            return False
        if now_s - last_s < float(how.get("throttle_duration_sec", 0)):
            return False
        self._said[place] = now_s
        return True


_loggers: dict[str, RcutilsLogger] = {}


def get_logger(name: str) -> RcutilsLogger:
    """The logger of this name."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return _loggers.setdefault(name, RcutilsLogger(name))


def set_logger_level(name: str, level: int) -> None:
    """Sets the level of a logger by its name."""
    get_logger(name).set_level(level)


def get_logging_severity_from_string(name: str) -> LoggingSeverity:
    """`info` and the like."""
    return LoggingSeverity[name.upper()]
