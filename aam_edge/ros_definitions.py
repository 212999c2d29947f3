"""The ROS messages that we speak, as ros2msg text: for the bridge's classes and for recordings.

Keys are full ROS 2 names (`sensor_msgs/msg/Image`), services have `/srv/` and a `---` line between
request and response. Fields, order and constants are those of the standard ROS 2 packages; inside a
definition a type of the same package is written with its package all the same, and without `msg/`.
"""

from __future__ import annotations

from collections.abc import Iterator

SEPARATOR = "=" * 80
"""Line between a definition and those that it needs, as rosbag2 writes it."""
INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
PRIMITIVES = INTEGERS | {"bool", "byte", "char", "float32", "float64", "string", "wstring"}

DEFINITIONS: dict[str, str] = {
    "builtin_interfaces/msg/Time": """\
int32 sec
uint32 nanosec
""",
    "builtin_interfaces/msg/Duration": """\
int32 sec
uint32 nanosec
""",
    "std_msgs/msg/Header": """\
builtin_interfaces/Time stamp
string frame_id
""",
    "std_msgs/msg/Empty": "",
    "std_msgs/msg/Bool": "bool data\n",
    "std_msgs/msg/Int32": "int32 data\n",
    "std_msgs/msg/Int64": "int64 data\n",
    "std_msgs/msg/UInt8": "uint8 data\n",
    "std_msgs/msg/Float32": "float32 data\n",
    "std_msgs/msg/Float64": "float64 data\n",
    "std_msgs/msg/String": "string data\n",
    "std_msgs/msg/MultiArrayDimension": """\
string label
uint32 size
uint32 stride
""",
    "std_msgs/msg/MultiArrayLayout": """\
std_msgs/MultiArrayDimension[] dim
uint32 data_offset
""",
    "std_msgs/msg/Int16MultiArray": """\
std_msgs/MultiArrayLayout layout
int16[] data
""",
    "std_msgs/msg/Float32MultiArray": """\
std_msgs/MultiArrayLayout layout
float32[] data
""",
    "geometry_msgs/msg/Point": """\
float64 x
float64 y
float64 z
""",
    "geometry_msgs/msg/PointStamped": """\
std_msgs/Header header
geometry_msgs/Point point
""",
    "geometry_msgs/msg/Vector3": """\
float64 x
float64 y
float64 z
""",
    "geometry_msgs/msg/Vector3Stamped": """\
std_msgs/Header header
geometry_msgs/Vector3 vector
""",
    "geometry_msgs/msg/Quaternion": """\
float64 x 0
float64 y 0
float64 z 0
float64 w 1
""",
    "geometry_msgs/msg/Pose": """\
geometry_msgs/Point position
geometry_msgs/Quaternion orientation
""",
    "geometry_msgs/msg/PoseStamped": """\
std_msgs/Header header
geometry_msgs/Pose pose
""",
    "geometry_msgs/msg/PoseWithCovariance": """\
geometry_msgs/Pose pose
float64[36] covariance
""",
    "geometry_msgs/msg/Twist": """\
geometry_msgs/Vector3 linear
geometry_msgs/Vector3 angular
""",
    "geometry_msgs/msg/Transform": """\
geometry_msgs/Vector3 translation
geometry_msgs/Quaternion rotation
""",
    "geometry_msgs/msg/TransformStamped": """\
std_msgs/Header header
string child_frame_id
geometry_msgs/Transform transform
""",
    "tf2_msgs/msg/TFMessage": "geometry_msgs/TransformStamped[] transforms\n",
    "sensor_msgs/msg/Image": """\
std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
""",
    "sensor_msgs/msg/CompressedImage": """\
std_msgs/Header header
string format
uint8[] data
""",
    "sensor_msgs/msg/RegionOfInterest": """\
uint32 x_offset
uint32 y_offset
uint32 height
uint32 width
bool do_rectify
""",
    "sensor_msgs/msg/CameraInfo": """\
std_msgs/Header header
uint32 height
uint32 width
string distortion_model
float64[] d
float64[9] k
float64[9] r
float64[12] p
uint32 binning_x
uint32 binning_y
sensor_msgs/RegionOfInterest roi
""",
    "sensor_msgs/msg/Imu": """\
std_msgs/Header header
geometry_msgs/Quaternion orientation
float64[9] orientation_covariance
geometry_msgs/Vector3 angular_velocity
float64[9] angular_velocity_covariance
geometry_msgs/Vector3 linear_acceleration
float64[9] linear_acceleration_covariance
""",
    "sensor_msgs/msg/JointState": """\
std_msgs/Header header
string[] name
float64[] position
float64[] velocity
float64[] effort
""",
    "trajectory_msgs/msg/JointTrajectoryPoint": """\
float64[] positions
float64[] velocities
float64[] accelerations
float64[] effort
builtin_interfaces/Duration time_from_start
""",
    "trajectory_msgs/msg/JointTrajectory": """\
std_msgs/Header header
string[] joint_names
trajectory_msgs/JointTrajectoryPoint[] points
""",
    "vision_msgs/msg/Point2D": """\
float64 x
float64 y
""",
    "vision_msgs/msg/Pose2D": """\
vision_msgs/Point2D position
float64 theta
""",
    "vision_msgs/msg/BoundingBox2D": """\
vision_msgs/Pose2D center
float64 size_x
float64 size_y
""",
    "vision_msgs/msg/ObjectHypothesis": """\
string class_id
float64 score
""",
    "vision_msgs/msg/ObjectHypothesisWithPose": """\
vision_msgs/ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
""",
    "vision_msgs/msg/Detection2D": """\
std_msgs/Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox2D bbox
string id
""",
    "vision_msgs/msg/Detection2DArray": """\
std_msgs/Header header
vision_msgs/Detection2D[] detections
""",
    "diagnostic_msgs/msg/KeyValue": """\
string key
string value
""",
    "diagnostic_msgs/msg/DiagnosticStatus": """\
byte OK=0
byte WARN=1
byte ERROR=2
byte STALE=3
byte level
string name
string message
string hardware_id
diagnostic_msgs/KeyValue[] values
""",
    "diagnostic_msgs/msg/DiagnosticArray": """\
std_msgs/Header header
diagnostic_msgs/DiagnosticStatus[] status
""",
    "rcl_interfaces/msg/FloatingPointRange": """\
float64 from_value
float64 to_value
float64 step
""",
    "rcl_interfaces/msg/IntegerRange": """\
int64 from_value
int64 to_value
uint64 step
""",
    "rcl_interfaces/msg/ParameterDescriptor": """\
string name
uint8 type
string description
string additional_constraints
bool read_only
bool dynamic_typing
rcl_interfaces/FloatingPointRange[] floating_point_range
rcl_interfaces/IntegerRange[] integer_range
""",
    "rcl_interfaces/msg/SetParametersResult": """\
bool successful
string reason
""",
    "foxglove_msgs/msg/RawAudio": """\
builtin_interfaces/Time timestamp
uint8[] data
string format
uint32 sample_rate
uint32 number_of_channels
""",
    "std_srvs/srv/Empty": "---\n",
    "std_srvs/srv/Trigger": """\
---
bool success
string message
""",
    "std_srvs/srv/SetBool": """\
bool data
---
bool success
string message
""",
}
"""Full name to its own text, what it needs not included."""


def full_name(short: str, kind: str = "msg") -> str:
    """`std_msgs/Header` to `std_msgs/msg/Header`; what is no such name comes back as it is."""
    if "/" not in short:
        return short
    package, *_, name = short.split("/")
    return short if short.count("/") == 2 else f"{package}/{kind}/{name}"


def short_name(full: str) -> str:
    """`std_msgs/msg/Header` to `std_msgs/Header`."""
    package, *_, name = full.split("/")
    return f"{package}/{name}"


def dependencies(name: str) -> list[str]:
    """Full names of all types inside a message, nearest first, each once; KeyError if unknown."""
    found: list[str] = []
    for inner in _inner_types(name):
        found += [n for n in (inner, *dependencies(inner)) if n not in found]
    return found


def full_definition(name: str) -> str:
    """The text that a recording's schema holds: the message, then each type that it needs.

    Args:
        name: full name, `sensor_msgs/msg/Image`; KeyError if it is not in `DEFINITIONS`.
    """
    parts = [DEFINITIONS[name]]
    parts += [f"MSG: {short_name(inner)}\n{DEFINITIONS[inner]}" for inner in dependencies(name)]
    return f"{SEPARATOR}\n".join(parts)


def _inner_types(name: str) -> Iterator[str]:
    for line in DEFINITIONS[name].splitlines():
        kind = line.partition(" ")[0].partition("[")[0]
        if kind and kind not in PRIMITIVES and kind != "---":
            yield full_name(kind)
