"""rclpy's names over rosbridge, for nodes on machines without ROS.

Behaves as rclpy 9 does, as far as a bridge allows; what is not covered raises `NotCovered` with its
name. Not covered: actions, lifecycle nodes, coroutines as callbacks, events and most settings of
quality of service (the bridge chooses them), parameter services, simulated time, /rosout.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from aam_edge.ros.rclpy.context import Context, get_default_context
from aam_edge.ros.rclpy.executors import Executor, SingleThreadedExecutor
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.signals import (
    SignalHandlerOptions,
    install_signal_handlers,
    uninstall_signal_handlers,
)
from aam_edge.ros.rclpy.task import Future
from aam_edge.ros.rclpy.utilities import ok

__all__ = [
    "Context",
    "InitContextManager",
    "create_node",
    "get_default_context",
    "get_global_executor",
    "init",
    "ok",
    "shutdown",
    "spin",
    "spin_once",
    "spin_until_future_complete",
    "try_shutdown",
    "uninstall_signal_handlers",
]

_executor: Executor | None = None


class InitContextManager:
    """What `init` returns, so that `with` ends what it began."""

    def __init__(self, context: Context):
        self.context = context

    def __enter__(self) -> InitContextManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try_shutdown(context=self.context)


def init(
    *,
    args: Sequence[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> InitContextManager:
    """Begins; the bridge is met when the first node is made."""
    chosen = context or get_default_context()
    chosen.init(args, domain_id=domain_id)
    options = signal_handler_options
    if options is None:
        is_default = context is None
        options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    install_signal_handlers(options, chosen.end_by_signal)
    return InitContextManager(chosen)


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Ends it; RuntimeError if there is nothing to end."""
    _end(context, uninstall_handlers).shutdown()


def try_shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Ends it if there is something to end."""
    _end(context, uninstall_handlers).try_shutdown()


def _end(context: Context | None, uninstall_handlers: bool | None) -> Context:
    global _executor
    is_default = context is None or context is get_default_context()
    if is_default:
        _executor = None
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()
    if is_default:
        return get_default_context(shutting_down=True)
    assert context is not None, "only the default context may be left out"
    return context


def create_node(node_name: str, **how: Any) -> Node:
    """A node."""
    return Node(node_name, **how)


def get_global_executor() -> Executor:
    """The executor that spins where none is given."""
    global _executor
    if _executor is None:
        _executor = SingleThreadedExecutor()
    return _executor


def spin(node: Node, executor: Executor | None = None) -> None:
    """Runs callbacks until the end of the node's context."""
    chosen = executor or _executor_of(node)
    is_new = chosen.add_node(node)
    try:
        chosen.spin()
    finally:
        if is_new:
            chosen.remove_node(node)


def spin_once(
    node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Runs one callback, or waits that long for one."""
    chosen = executor or _executor_of(node)
    is_new = chosen.add_node(node)
    try:
        chosen.spin_once(timeout_sec)
    finally:
        if is_new:
            chosen.remove_node(node)


def spin_until_future_complete(
    node: Node,
    future: Future,
    executor: Executor | None = None,
    timeout_sec: float | None = None,
) -> None:
    """Runs callbacks until the future is done or the time is up."""
    chosen = executor or _executor_of(node)
    is_new = chosen.add_node(node)
    try:
        chosen.spin_until_future_complete(future, timeout_sec)
    finally:
        if is_new:
            chosen.remove_node(node)


def _executor_of(node: Node) -> Executor:
    """The global one serves the default context; another context gets one of its own."""
    if node.executor is not None:
        return node.executor
    if node.context is get_default_context():
        return get_global_executor()
    return SingleThreadedExecutor(context=node.context)
