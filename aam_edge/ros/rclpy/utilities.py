"""rclpy.utilities."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aam_edge.ros.rclpy.arguments import without_ros
from aam_edge.ros.rclpy.context import Context, get_default_context

__all__ = ["get_default_context", "ok", "remove_ros_args"]


def remove_ros_args(args: Sequence[str] | None = None) -> list[str]:
    """The words of a command line that are not for ROS."""
    return without_ros(sys.argv if args is None else args)


def ok(*, context: Context | None = None) -> bool:
    """Whether a context is in use."""
    return (context or get_default_context()).ok()
