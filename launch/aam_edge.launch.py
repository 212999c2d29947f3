"""ROS 2: starts aam-edge, and rosbridge beside it where none runs.

    ros2 launch share/aam_edge/launch/aam_edge.launch.py camera:=0 prompt:="search for cup"
    ros2 launch .../aam_edge.launch.py camera:=ros:/head/image_raw start_bridge:=false

aam-edge is no ROS package: the program is the one that pip has installed, in any environment.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# Name, default, meaning. Each of those before `start_bridge` is an option of aam-edge.
OPTIONS = [
    ("camera", "0", "0, /dev/video2, rtsp://..., ros:/topic, a file or demo"),
    ("prompt", "free viewing", "what to look for"),
    ("model", "nano", "a packaged network, or a weights file"),
    ("ros", "ws://127.0.0.1:9090", "where rosbridge is"),
    ("namespace", "/aam", "before the names of all topics and services"),
    ("pub", "none", "ZeroMQ endpoint of maps"),
    ("control", "none", "ZeroMQ endpoint of commands"),
    ("page", "none", "host:port of the live page"),
]
OTHERS = [
    ("program", "aam-edge", "the program, with its path where it is not on PATH"),
    ("start_bridge", "true", "whether to start rosbridge too"),
]


def generate_launch_description():
    """What ros2 launch asks for."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=words)
        for name, default, words in OPTIONS + OTHERS
    ]
    command = [LaunchConfiguration("program")]
    for name, _, _ in OPTIONS:
        command += [f"--{name}", LaunchConfiguration(name)]
    stream = ExecuteProcess(
        cmd=command, name="aam_edge", output="screen", respawn=True, respawn_delay=2.0
    )
    bridge = IncludeLaunchDescription(
        AnyLaunchDescriptionSource(
            PathJoinSubstitution(
                [FindPackageShare("rosbridge_server"), "launch", "rosbridge_websocket_launch.xml"]
            )
        ),
        condition=IfCondition(LaunchConfiguration("start_bridge")),
    )
    return LaunchDescription([*arguments, bridge, stream])
