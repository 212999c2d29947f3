"""rclpy.node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aam_edge.ros import rosapi
from aam_edge.ros.rclpy.arguments import parse
from aam_edge.ros.rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from aam_edge.ros.rclpy.client import Client
from aam_edge.ros.rclpy.clock import Clock, ROSClock
from aam_edge.ros.rclpy.context import Context, get_default_context
from aam_edge.ros.rclpy.entity import Entity, GuardCondition
from aam_edge.ros.rclpy.exceptions import NotCovered, NotInitializedException
from aam_edge.ros.rclpy.logging import (
    RcutilsLogger,
    get_logger,
    get_logging_severity_from_string,
)
from aam_edge.ros.rclpy.names import check_namespace, check_node_name, expand
from aam_edge.ros.rclpy.parameter import Parameter, Parameters
from aam_edge.ros.rclpy.publisher import Publisher
from aam_edge.ros.rclpy.qos import QoSProfile, profile_of
from aam_edge.ros.rclpy.service import Service
from aam_edge.ros.rclpy.subscription import Subscription
from aam_edge.ros.rclpy.timer import Rate, Timer

if TYPE_CHECKING:
    from aam_edge.ros.rclpy.executors import Executor

E = TypeVar("E", bound=Entity)
WITHOUT_EFFECT = {
    *("enable_rosout", "rosout_qos_profile", "start_parameter_services", "enable_logger_service"),
    "automatically_declare_parameters_from_overrides",
}
"""Arguments that are taken and change nothing: a bridge has no such services."""
NOT_COVERED = {
    *("create_subscription_event", "create_generic_publisher", "create_generic_subscription"),
    *("get_publishers_info_by_topic", "get_subscriptions_info_by_topic", "add_waitable"),
    *("get_node_names", "get_node_names_and_namespaces", "get_service_names_and_types"),
}


class Node(Parameters):
    """A node behind the bridge. It does not show among ROS's nodes: the bridge speaks for it."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: Sequence[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        parameter_overrides: Sequence[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        **without_effect: Any,
    ):
        if unknown := without_effect.keys() - WITHOUT_EFFECT:
            raise TypeError(f"unexpected keyword argument: {', '.join(sorted(unknown))}")
        self.context = context or get_default_context()
        if not self.context.ok():
            raise NotInitializedException("rclpy.init() has not been called")
        self._arguments = [parse(cli_args)] if cli_args is not None else []
        if use_global_arguments:
            self._arguments.append(self.context.arguments)
        name, space = node_name, namespace or ""
        for arguments in reversed(self._arguments):
            name = arguments.node_name(name)
            space = arguments.namespace(node_name, space)
        self._name, self._namespace = check_node_name(name), check_namespace(space)
        overrides = {
            key: value
            for arguments in reversed(self._arguments)
            for key, value in arguments.parameters_of(name, self.get_fully_qualified_name()).items()
        }
        overrides |= {parameter.name: parameter.value for parameter in parameter_overrides or ()}
        super().__init__(overrides, allow_undeclared_parameters)
        self.executor: Executor | None = None
        self.default_callback_group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._entities: list[Entity] = []
        self._logger = get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        if levels := [a.log_level for a in self._arguments if a.log_level]:
            self._logger.set_level(get_logging_severity_from_string(levels[0]))
        self._clock = ROSClock()
        self._bridge = self.context.bridge
        self.declare_parameter("use_sim_time", False)

    def __getattr__(self, name: str) -> Any:
        if name in NOT_COVERED:
            raise NotCovered(f"Node.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_name(self) -> str:
        """Without namespace."""
        return self._name

    def get_namespace(self) -> str:
        """With its slash."""
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        """Both."""
        return f"{self._namespace.rstrip('/')}/{self._name}"

    def get_logger(self) -> RcutilsLogger:
        """Its logger."""
        return self._logger

    def get_clock(self) -> Clock:
        """Its clock: system time."""
        return self._clock

    def create_publisher(
        self,
        msg_type: type[Any],
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        **uncovered: Any,
    ) -> Publisher:
        """A publisher, announced at once and on each connection."""
        _refuse(uncovered)
        name, profile = self.resolve_topic_name(topic), profile_of(qos_profile)
        group = callback_group or self.default_callback_group
        return self._keep(Publisher(self, self.context, _spoken(msg_type), name, profile, group))

    def create_subscription(
        self,
        msg_type: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        raw: bool = False,
        **uncovered: Any,
    ) -> Subscription:
        """A subscription; messages wait until the node spins, as many as its depth."""
        _refuse(uncovered | ({"raw": raw} if raw else {}))
        name, profile = self.resolve_topic_name(topic), profile_of(qos_profile)
        group = callback_group or self.default_callback_group
        kind = _spoken(msg_type)
        return self._keep(Subscription(self, self.context, kind, name, callback, profile, group))

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], None],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """A timer."""
        period_ns = int(float(timer_period_sec) * 1e9)
        if period_ns < 0:
            raise ValueError("timer period must be non-negative")
        group = callback_group or self.default_callback_group
        return self._keep(Timer(self, callback, period_ns, clock or self._clock, group, autostart))

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile | None = None,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """A service that answers while the node spins."""
        name = self.resolve_service_name(srv_name)
        group = callback_group or self.default_callback_group
        return self._keep(Service(self, self.context, srv_type, name, callback, group))

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile | None = None,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """A client."""
        name = self.resolve_service_name(srv_name)
        group = callback_group or self.default_callback_group
        return self._keep(Client(self, self.context, srv_type, name, group))

    def create_guard_condition(
        self, callback: Callable[[], None], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Lets another thread ask for a callback."""
        return self._keep(
            GuardCondition(self, callback, callback_group or self.default_callback_group)
        )

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """Sleeps at an even pace; for a thread that does not spin."""
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        return Rate(1 / frequency, self.context.ok)

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """The whole name, changed as the command line asks."""
        return self._resolve(topic, only_expand, is_service=False)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """The same of a service."""
        return self._resolve(service, only_expand, is_service=True)

    def _resolve(self, name: str, only_expand: bool, *, is_service: bool) -> str:
        full = expand(name, self._namespace, self._name, is_service=is_service)
        for arguments in () if only_expand else self._arguments:
            for node, old, new in arguments.remaps:
                is_mine = node in ("", self._name) and not old.startswith("__")
                if is_mine and expand(old, self._namespace, self._name) == full:
                    return expand(new, self._namespace, self._name)
        return full

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        """All topics, as rosapi lists them; RuntimeError if it does not."""
        return [(topic, [kind]) for topic, kind in sorted(rosapi.topics(self._bridge).items())]

    def count_publishers(self, topic_name: str) -> int:
        """How many publish a topic, as rosapi says."""
        topic = {"topic": self.resolve_topic_name(topic_name)}
        return len(rosapi.ask(self._bridge, "/rosapi/publishers", topic)["publishers"])

    def count_subscribers(self, topic_name: str) -> int:
        """How many listen to it."""
        topic = {"topic": self.resolve_topic_name(topic_name)}
        return len(rosapi.ask(self._bridge, "/rosapi/subscribers", topic)["subscribers"])

    @property
    def publishers(self) -> Iterator[Publisher]:
        """What it publishes."""
        return self._all(Publisher)

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """What it listens to."""
        return self._all(Subscription)

    @property
    def timers(self) -> Iterator[Timer]:
        """Its timers."""
        return self._all(Timer)

    @property
    def services(self) -> Iterator[Service]:
        """What it answers."""
        return self._all(Service)

    @property
    def clients(self) -> Iterator[Client]:
        """What it calls."""
        return self._all(Client)

    def _all(self, kind: type[E]) -> Iterator[E]:
        return (entity for entity in list(self._entities) if isinstance(entity, kind))

    def entities(self) -> list[Entity]:
        """Not rclpy's: all that an executor serves."""
        return list(self._entities)

    def wake(self) -> None:
        """Not rclpy's: tells the executor that there is work."""
        executor = self.executor
        if executor is not None:
            executor.wake()

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Ends it; False if it is not of this node."""
        return self._drop(publisher)

    destroy_subscription = destroy_timer = destroy_service = destroy_publisher
    destroy_client = destroy_guard_condition = destroy_publisher

    def destroy_rate(self, rate: Rate) -> bool:
        """Ends a rate."""
        rate.destroy()
        return True

    def destroy_node(self) -> None:
        """Ends all that it has."""
        for entity in self.entities():
            self._drop(entity)
        if self.executor is not None:
            self.executor.remove_node(self)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *problem: object) -> None:
        self.destroy_node()

    def _keep(self, entity: E) -> E:
        self._entities.append(entity)
        self.wake()
        return entity

    def _drop(self, entity: Any) -> bool:
        if entity not in self._entities:
            return False
        self._entities.remove(entity)
        entity.destroy()
        return True


def _spoken(msg_type: Any) -> type[Any]:
    if not hasattr(msg_type, "FIELDS"):
        raise NotCovered(f"message class {msg_type!r}")
    return msg_type  # type: ignore[no-any-return]


def _refuse(uncovered: dict[str, Any]) -> None:
    """Arguments that are rclpy's and would have no effect through a bridge."""
    for name, value in uncovered.items():
        if name not in ("event_callbacks", "qos_overriding_options", "publisher_class", "raw"):
            raise TypeError(f"unexpected keyword argument: {name}")
        if value is not None:
            raise NotCovered(f"argument {name}")
