"""Where older code imports InvalidHandle from."""

from __future__ import annotations

from aam_edge.ros.rclpy.exceptions import InvalidHandle

__all__ = ["InvalidHandle"]
