"""What a bridge knows of messages, ROS 1 and ROS 2 apart: by hand, not made from our code."""

from __future__ import annotations

Fields = dict[str, str]

SHARED: dict[str, Fields] = {
    "std_msgs/String": {"data": "string"},
    "std_msgs/Int32": {"data": "int32"},
    "std_msgs/Float64": {"data": "float64"},
    "std_msgs/Bool": {"data": "bool"},
    "geometry_msgs/Point": {"x": "float64", "y": "float64", "z": "float64"},
    "geometry_msgs/Vector3": {"x": "float64", "y": "float64", "z": "float64"},
    "geometry_msgs/Quaternion": {"x": "float64", "y": "float64", "z": "float64", "w": "float64"},
    "geometry_msgs/PointStamped": {"header": "std_msgs/Header", "point": "geometry_msgs/Point"},
    "geometry_msgs/Vector3Stamped": {
        "header": "std_msgs/Header",
        "vector": "geometry_msgs/Vector3",
    },
    "geometry_msgs/Pose": {
        "position": "geometry_msgs/Point",
        "orientation": "geometry_msgs/Quaternion",
    },
    "geometry_msgs/PoseWithCovariance": {
        "pose": "geometry_msgs/Pose",
        "covariance": "float64[36]",
    },
    "sensor_msgs/Imu": {
        "header": "std_msgs/Header",
        "orientation": "geometry_msgs/Quaternion",
        "orientation_covariance": "float64[9]",
        "angular_velocity": "geometry_msgs/Vector3",
        "angular_velocity_covariance": "float64[9]",
        "linear_acceleration": "geometry_msgs/Vector3",
        "linear_acceleration_covariance": "float64[9]",
    },
    "sensor_msgs/Image": {
        "header": "std_msgs/Header",
        "height": "uint32",
        "width": "uint32",
        "encoding": "string",
        "is_bigendian": "uint8",
        "step": "uint32",
        "data": "uint8[]",
    },
    "sensor_msgs/CompressedImage": {
        "header": "std_msgs/Header",
        "format": "string",
        "data": "uint8[]",
    },
    "diagnostic_msgs/KeyValue": {"key": "string", "value": "string"},
    "diagnostic_msgs/DiagnosticStatus": {
        "level": "uint8",
        "name": "string",
        "message": "string",
        "hardware_id": "string",
        "values": "diagnostic_msgs/KeyValue[]",
    },
    "diagnostic_msgs/DiagnosticArray": {
        "header": "std_msgs/Header",
        "status": "diagnostic_msgs/DiagnosticStatus[]",
    },
    "vision_msgs/Detection2DArray": {
        "header": "std_msgs/Header",
        "detections": "vision_msgs/Detection2D[]",
    },
}
CAMERA_INFO = {
    "header": "std_msgs/Header",
    "height": "uint32",
    "width": "uint32",
    "distortion_model": "string",
    "binning_x": "uint32",
    "binning_y": "uint32",
    "roi": "sensor_msgs/RegionOfInterest",
}
REGION = {"x_offset": "uint32", "y_offset": "uint32", "height": "uint32", "width": "uint32"}
REGION |= {"do_rectify": "bool"}

ROS_1: dict[str, Fields] = SHARED | {
    "std_msgs/Header": {"seq": "uint32", "stamp": "time", "frame_id": "string"},
    "sensor_msgs/RegionOfInterest": REGION,
    "sensor_msgs/CameraInfo": CAMERA_INFO
    | {"D": "float64[]", "K": "float64[9]", "R": "float64[9]", "P": "float64[12]"},
    "geometry_msgs/Pose2D": {"x": "float64", "y": "float64", "theta": "float64"},
    "vision_msgs/BoundingBox2D": {
        "center": "geometry_msgs/Pose2D",
        "size_x": "float64",
        "size_y": "float64",
    },
    "vision_msgs/ObjectHypothesisWithPose": {
        "id": "int64",
        "score": "float64",
        "pose": "geometry_msgs/PoseWithCovariance",
    },
    "vision_msgs/Detection2D": {
        "header": "std_msgs/Header",
        "results": "vision_msgs/ObjectHypothesisWithPose[]",
        "bbox": "vision_msgs/BoundingBox2D",
        "source_img": "sensor_msgs/Image",
    },
}
ROS_2: dict[str, Fields] = SHARED | {
    "builtin_interfaces/Duration": {"sec": "int32", "nanosec": "uint32"},
    "trajectory_msgs/JointTrajectoryPoint": {
        "positions": "float64[]",
        "velocities": "float64[]",
        "accelerations": "float64[]",
        "effort": "float64[]",
        "time_from_start": "builtin_interfaces/Duration",
    },
    "trajectory_msgs/JointTrajectory": {
        "header": "std_msgs/Header",
        "joint_names": "string[]",
        "points": "trajectory_msgs/JointTrajectoryPoint[]",
    },
    "std_msgs/Header": {"stamp": "time", "frame_id": "string"},
    "sensor_msgs/RegionOfInterest": REGION,
    "sensor_msgs/CameraInfo": CAMERA_INFO
    | {"d": "float64[]", "k": "float64[9]", "r": "float64[9]", "p": "float64[12]"},
    "vision_msgs/Point2D": {"x": "float64", "y": "float64"},
    "vision_msgs/Pose2D": {"position": "vision_msgs/Point2D", "theta": "float64"},
    "vision_msgs/BoundingBox2D": {
        "center": "vision_msgs/Pose2D",
        "size_x": "float64",
        "size_y": "float64",
    },
    "vision_msgs/ObjectHypothesis": {"class_id": "string", "score": "float64"},
    "vision_msgs/ObjectHypothesisWithPose": {
        "hypothesis": "vision_msgs/ObjectHypothesis",
        "pose": "geometry_msgs/PoseWithCovariance",
    },
    "vision_msgs/Detection2D": {
        "header": "std_msgs/Header",
        "results": "vision_msgs/ObjectHypothesisWithPose[]",
        "bbox": "vision_msgs/BoundingBox2D",
        "id": "string",
    },
}
SERVICES: dict[str, tuple[Fields, Fields]] = {
    "std_srvs/Trigger": ({}, {"success": "bool", "message": "string"}),
    "std_srvs/SetBool": ({"data": "bool"}, {"success": "bool", "message": "string"}),
}
