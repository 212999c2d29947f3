"""Prints where to look: with rclpy, or by `python -m aam_edge.ros` where no ROS is."""

import rclpy
from geometry_msgs.msg import PointStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data


class Listener(Node):
    """Hears of the next point to look at: x and y in pixels, z is how far it may be off."""

    def __init__(self):
        super().__init__("listener")
        self.create_subscription(PointStamped, "/aam/gaze", self.look, qos_profile_sensor_data)

    def look(self, gaze):
        """Called with each new point; its stamp is the time of the picture."""
        age_ns = self.get_clock().now().nanoseconds - gaze.header.stamp.sec * 10**9
        age_ms = (age_ns - gaze.header.stamp.nanosec) / 1e6
        self.get_logger().info(f"{gaze.point.x:.0f}, {gaze.point.y:.0f}, {age_ms:.0f} ms ago")


try:
    with rclpy.init():
        rclpy.spin(Listener())
except (KeyboardInterrupt, ExternalShutdownException):
    pass
