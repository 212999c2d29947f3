"""Points a pan-tilt head where aam-edge looks.

    aam-edge --camera 0 --calibration camera.yaml --set ego.source=picture --set gaze.return_s=20
    python pan_tilt.py                                  prints what a head would be told
    python pan_tilt.py --search camera.yaml             searches all around, also out of view
    python pan_tilt.py --ros                            JointTrajectory, with a real rclpy
    python -m aam_edge.ros --url ws://robot:9090 pan_tilt.py --ros      the same where no ROS is

The camera sits on the head, its axis along the head's own: pan is positive to the left, tilt down.
"""

import argparse
import math
import time
from dataclasses import dataclass


@dataclass
class Head:
    """What the head was told last. Radians and seconds; times come as arguments."""

    speed: float = 2.0
    """Radians a second of the slower joint."""
    settle_s: float = 0.15
    """After a move until the picture stands still."""
    look_s: float = 0.2
    """Of a search: from one look to the next, once the head stands."""
    dead_zone: float = math.radians(2)
    """What is nearer to the axis is looked at already."""
    most_pan: float = math.radians(90)
    most_tilt: float = math.radians(35)
    pan: float = 0.0
    tilt: float = 0.0
    still_at_s: float = 0.0

    def turn(self, captured_s, now_s, yaw, pitch):
        """Takes a bearing from the camera; seconds that the move lasts, None for no move.

        A picture that was taken while the head moved says nothing of where it points now.
        """
        if captured_s < self.still_at_s or now_s < self.still_at_s:
            return None
        pan = min(max(self.pan + yaw, -self.most_pan), self.most_pan)
        tilt = min(max(self.tilt + pitch, -self.most_tilt), self.most_tilt)
        angle = max(abs(pan - self.pan), abs(tilt - self.tilt))
        if angle < self.dead_zone:
            return None
        self.pan, self.tilt = pan, tilt
        lasts_s = angle / self.speed
        self.still_at_s = now_s + lasts_s + self.settle_s
        return lasts_s


def moves_by_gaze(head, endpoint):
    """Straight from aam-edge: goes where gaze is; seconds that each move lasts."""
    import aam_edge

    for attention in aam_edge.subscribe(endpoint):
        gaze = attention.gaze
        if gaze is None or gaze.yaw is None:
            continue  # nothing to look at, or no calibration
        lasts_s = head.turn(attention.capture_ns / 1e9, time.time(), gaze.yaw, gaze.pitch)
        if lasts_s is not None:
            yield lasts_s


def moves_by_search(head, endpoint, calibration):
    """Goes where the thing most probably is, or where it has not looked yet, until it is found."""
    import aam_edge

    search = aam_edge.WorldSearch.calibrated(calibration, (head.most_pan, head.most_tilt))
    looked_s = 0.0
    for attention in aam_edge.subscribe(endpoint):
        captured_s = attention.capture_ns / 1e9
        if captured_s < max(head.still_at_s, looked_s) + head.look_s:
            continue  # the map needs some frames of the new place
        looked_s = captured_s
        search.look((head.pan, head.tilt), attention.density, attention.presence)
        pan, tilt = search.next_aim((head.pan, head.tilt))
        lasts_s = head.turn(captured_s, time.time(), pan - head.pan, tilt - head.tilt)
        if lasts_s is not None:
            yield lasts_s
        if search.found:
            pan, tilt = map(math.degrees, search.found)
            print(f"found at pan {pan:.1f}, tilt {tilt:.1f} degrees", flush=True)
            return


def print_moves(head, moves):
    """Without ROS."""
    for lasts_s in moves:
        pan, tilt = math.degrees(head.pan), math.degrees(head.tilt)
        print(f"pan {pan:6.1f}  tilt {tilt:6.1f} degrees in {lasts_s:.2f} s", flush=True)


def trajectory(head, lasts_s):
    """The last move as a message of ROS."""
    from builtin_interfaces.msg import Duration
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    whole = int(lasts_s)
    point = JointTrajectoryPoint(
        positions=[head.pan, head.tilt],
        time_from_start=Duration(sec=whole, nanosec=int((lasts_s - whole) * 1e9)),
    )
    return JointTrajectory(joint_names=["pan", "tilt"], points=[point])


def drive_moves(moves, head, topic):
    """With ROS: moves out as trajectories."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from trajectory_msgs.msg import JointTrajectory

    # Nothing spins here: signals end the loop itself.
    with rclpy.init(signal_handler_options=SignalHandlerOptions.NO):
        node = rclpy.create_node("pan_tilt")
        out = node.create_publisher(JointTrajectory, topic, 1)
        for lasts_s in moves:
            out.publish(trajectory(head, lasts_s))


def drive(head, topic):
    """With ROS: bearings in, trajectories out."""
    import rclpy
    from geometry_msgs.msg import Vector3Stamped
    from rclpy.executors import ExternalShutdownException
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    class PanTilt(Node):
        def __init__(self):
            super().__init__("pan_tilt")
            self.out = self.create_publisher(JointTrajectory, topic, 1)
            self.create_subscription(Vector3Stamped, "/aam/gaze/bearing", self.look, 1)

        def look(self, bearing):
            stamp, ray = bearing.header.stamp, bearing.vector
            yaw, pitch = math.atan2(-ray.x, ray.z), math.atan2(ray.y, math.hypot(ray.x, ray.z))
            now_s = self.get_clock().now().nanoseconds / 1e9
            lasts_s = head.turn(stamp.sec + stamp.nanosec / 1e9, now_s, yaw, pitch)
            if lasts_s is not None:
                self.out.publish(trajectory(head, lasts_s))

    try:
        with rclpy.init():
            rclpy.spin(PanTilt())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


def main():
    """Reads the options and drives until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ros", action="store_true", help="publish trajectories")
    parser.add_argument("--search", metavar="CALIBRATION", help="search the whole reach")
    parser.add_argument("--topic", default="/pan_tilt_controller/joint_trajectory")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5560", help="of aam-edge")
    parser.add_argument("--speed", type=float, default=2.0, help="of the head, rad/s")
    options = parser.parse_args()
    head = Head(speed=options.speed)
    try:
        if options.search:
            moves = moves_by_search(head, options.endpoint, options.search)
        else:
            moves = moves_by_gaze(head, options.endpoint)
        if not options.ros:
            print_moves(head, moves)
        elif options.search:
            drive_moves(moves, head, options.topic)
        else:
            drive(head, options.topic)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
