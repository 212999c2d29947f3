"""rclpy.client."""

from __future__ import annotations

import threading
import time
from typing import Any

from aam_edge.ros.dialect import Dialect, encode, fill
from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.entity import Inbox, Owner
from aam_edge.ros.rclpy.task import Future
from aam_edge.ros.rosapi import ask
from aam_edge.ros.session import Tree

LOOK_S = 0.1
WAITING_AT_MOST = 1000


class Client(Inbox):
    """Calls a service. A call that finds no bridge, or loses it, ends with a RuntimeError."""

    def __init__(
        self, owner: Owner, context: Context, srv_type: Any, srv_name: str, group: CallbackGroup
    ):
        super().__init__(owner, group, WAITING_AT_MOST)
        self.srv_type, self.srv_name = srv_type, srv_name
        self._context = context

    @property
    def service_name(self) -> str:
        """Its whole name."""
        return self.srv_name

    def call_async(self, request: Any) -> Future:
        """Calls; the future is done while its node spins."""
        future = Future()
        self._send(request, lambda values, why: self.put(lambda: self._settle(future, values, why)))
        return future

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Calls and waits, without spinning; TimeoutError if nothing comes in time."""
        future, is_there = Future(), threading.Event()

        def answered(values: Tree | None, why: str) -> None:
            self._settle(future, values, why)
            is_there.set()

        self._send(request, answered)
        if not is_there.wait(timeout_sec):
            raise TimeoutError
        return future.result()

    def service_is_ready(self) -> bool:
        """Whether somebody offers it, as rosapi says."""
        self.check()
        try:
            return self.srv_name in ask(self._context.bridge, "/rosapi/services", {})["services"]
        except RuntimeError:
            return False

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Waits until it is; False if it is not in time."""
        deadline_s = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self._context.ok():
            if self.service_is_ready():
                return True
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
            time.sleep(LOOK_S)
        return False

    def _send(self, request: Any, answered: Any) -> None:
        self.check()
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        bridge = self._context.bridge
        arguments = encode(request, bridge.dialect or Dialect.UNKNOWN)
        if bridge.call(self.srv_name, arguments, answered) is None:
            answered(None, bridge.state())

    def _settle(self, future: Future, values: Tree | None, why: str) -> None:
        if values is None:
            future.set_exception(RuntimeError(f"{self.srv_name}: {why}"))
            return
        try:
            future.set_result(fill(self.srv_type.Response, values))
        except ValueError as problem:
            future.set_exception(RuntimeError(f"{self.srv_name}: {problem}"))
