"""ROS without ROS: rclpy's names in pure Python, over a rosbridge that may be anywhere.

    python -m aam_edge.ros --url ws://robot:9090 node.py --ros-args -r __node:=mine

runs a node that was written for rclpy on a machine that has no ROS; `aam_edge.ros.install.install`
does the same from Python. Needs the extra: pip install aam-edge[ros].
"""
