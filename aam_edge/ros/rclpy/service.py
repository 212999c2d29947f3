"""rclpy.service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aam_edge.ros.bridge import Respond
from aam_edge.ros.dialect import Dialect, encode, fill
from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.entity import Inbox, Owner, checked
from aam_edge.ros.session import Tree

WAITING_AT_MOST = 100


class Service(Inbox):
    """Answers calls."""

    def __init__(
        self,
        owner: Owner,
        context: Context,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        group: CallbackGroup,
    ):
        super().__init__(owner, group, WAITING_AT_MOST)
        self.srv_type, self.srv_name = srv_type, srv_name
        self.callback = checked(callback, 2)
        self._context = context
        context.bridge.advertise_service(srv_name, srv_type.NAME, self._asked)

    @property
    def service_name(self) -> str:
        """Its whole name."""
        return self.srv_name

    def _asked(self, arguments: Tree, respond: Respond) -> None:
        self.put(lambda: self._answer(arguments, respond))

    def _answer(self, arguments: Tree, respond: Respond) -> None:
        """Who calls hears of a failure; so does who spins."""
        try:
            request = fill(self.srv_type.Request, arguments)
            response = self.callback(request, self.srv_type.Response())
            if not isinstance(response, self.srv_type.Response):
                raise TypeError(f"{self.srv_name}: the callback must return the response")
            values = encode(response, self._context.bridge.dialect or Dialect.UNKNOWN)
        except ValueError:
            respond(None)  # not a request of this type: nobody's fault here
        except BaseException:
            respond(None)
            raise
        else:
            respond(values)

    def destroy(self) -> None:
        """Takes the service back."""
        if not self._is_destroyed and self._context.ok():
            self._context.bridge.unadvertise_service(self.srv_name)
        super().destroy()
