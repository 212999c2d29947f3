"""rclpy.qos. Through a bridge depth and transient-local (latched) act; it chooses the rest."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

from aam_edge.ros.rclpy.duration import Duration


class InvalidQoSProfileException(Exception):
    """Settings that cannot be."""


class ReliabilityPolicy(IntEnum):
    """Whether what is lost is sent again."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(IntEnum):
    """Whether who comes late gets the last message."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class HistoryPolicy(IntEnum):
    """How many wait."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class LivelinessPolicy(IntEnum):
    """How a publisher shows that it lives."""

    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSHistoryPolicy = HistoryPolicy
QoSLivelinessPolicy = LivelinessPolicy


class QoSProfile:
    """How a topic is served; needs history or depth."""

    def __init__(self, **settings: Any):
        unknown = settings.keys() - DEFAULTS.keys()
        assert not unknown, f"Invalid arguments passed to constructor: {sorted(unknown)}"
        if "history" not in settings and "depth" not in settings:
            raise InvalidQoSProfileException("History and/or depth settings are required.")
        keeps_last = settings.get("history") == HistoryPolicy.KEEP_LAST
        if keeps_last and "depth" not in settings:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        chosen = DEFAULTS | settings
        self.history = HistoryPolicy(chosen["history"])
        self.depth = int(chosen["depth"])
        self.reliability = ReliabilityPolicy(chosen["reliability"])
        self.durability = DurabilityPolicy(chosen["durability"])
        self.lifespan: Duration = chosen["lifespan"]
        self.deadline: Duration = chosen["deadline"]
        self.liveliness = LivelinessPolicy(chosen["liveliness"])
        self.liveliness_lease_duration: Duration = chosen["liveliness_lease_duration"]
        self.avoid_ros_namespace_conventions = bool(chosen["avoid_ros_namespace_conventions"])
        if self.depth < 0:
            raise ValueError("depth must be greater than or equal to zero")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QoSProfile) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


DEFAULTS: dict[str, Any] = {
    "history": HistoryPolicy.KEEP_LAST,
    "depth": 0,
    "reliability": ReliabilityPolicy.RELIABLE,
    "durability": DurabilityPolicy.VOLATILE,
    "lifespan": Duration(),
    "deadline": Duration(),
    "liveliness": LivelinessPolicy.SYSTEM_DEFAULT,
    "liveliness_lease_duration": Duration(),
    "avoid_ros_namespace_conventions": False,
}

qos_profile_default = QoSProfile(depth=10)
qos_profile_system_default = QoSProfile(
    depth=0,
    history=HistoryPolicy.SYSTEM_DEFAULT,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_action_status_default = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
qos_profile_best_available = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE,
    liveliness=LivelinessPolicy.BEST_AVAILABLE,
)


class QoSPresetProfiles(Enum):
    """The profiles above by name."""

    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default
    BEST_AVAILABLE = qos_profile_best_available

    @staticmethod
    def get_from_short_key(name: str) -> QoSProfile:
        """`sensor_data` and the like."""
        return QoSPresetProfiles[name.upper()].value


def profile_of(given: QoSProfile | int) -> QoSProfile:
    """A number is the depth of a profile that is otherwise the default."""
    if isinstance(given, QoSProfile):
        return given
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError("Expected QoSProfile or int")
    if given < 0:
        raise ValueError("Depth must be greater than or equal to zero")
    return QoSProfile(depth=given)


KEPT_AT_MOST = 1000


def waiting_room(profile: QoSProfile) -> int:
    """How many messages wait for a callback; the oldest goes first."""
    if profile.history is HistoryPolicy.KEEP_ALL:
        return KEPT_AT_MOST
    return max(1, profile.depth)
