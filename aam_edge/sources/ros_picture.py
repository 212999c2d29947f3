"""sensor_msgs/Image to (H, W, 3) BGR uint8, whatever its encoding."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from aam_edge.errors import SourceError
from aam_edge.messages import Image
from aam_edge.sources.picture import to_bgr8

SHAPES = {
    ("u1", 1): "mono8 8UC1 bayer_rggb8 bayer_bggr8 bayer_gbrg8 bayer_grbg8",
    ("u1", 2): "yuv422 uyvy yuv422_yuy2 yuyv",
    ("u1", 3): "bgr8 rgb8 8UC3",
    ("u1", 4): "bgra8 rgba8 8UC4",
    ("u2", 1): "mono16 16UC1",
    ("u2", 3): "bgr16 rgb16",
}
PLAIN = {name: shape for shape, names in SHAPES.items() for name in names.split()}
"""Encoding to type and number of values a pixel."""
CONVERSIONS = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgb16": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
    # OpenCV names a pattern by its second row and column.
    "bayer_rggb8": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr8": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGB2BGR,
}


def picture_of(msg: Any) -> Image:
    """The picture of a message.

    Raises:
        SourceError: its encoding is not read, or it has fewer bytes than it says.
    """
    if msg.encoding not in PLAIN:
        todo = "publish it as bgr8, rgb8, mono8, or compressed"
        raise SourceError("ROS picture has an unknown encoding", msg.encoding, todo)
    letters, channels = PLAIN[msg.encoding]
    kind = np.dtype(letters).newbyteorder(">" if msg.is_bigendian else "<")
    width, row = msg.width * channels, msg.step or msg.width * channels * kind.itemsize
    rows = np.frombuffer(msg.data, np.uint8)
    fits = rows.size >= msg.height * row and row >= width * kind.itemsize and msg.height * msg.width
    if not fits:
        values = f"{msg.width}x{msg.height} {msg.encoding}, step {row}: {rows.size} bytes"
        raise SourceError("ROS picture is cut short", values, "check its publisher")
    rows = rows[: msg.height * row].reshape(msg.height, row)[:, : width * kind.itemsize]
    pixels = np.ascontiguousarray(rows).view(kind).astype(kind.newbyteorder("="), copy=False)
    picture = pixels.reshape(msg.height, msg.width, channels)
    if msg.encoding in CONVERSIONS:
        picture = np.asarray(cv2.cvtColor(picture, CONVERSIONS[msg.encoding]))
    return to_bgr8(picture)
