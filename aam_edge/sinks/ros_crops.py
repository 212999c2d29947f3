"""Crops as ROS 2 messages.

Below the namespace and the camera:

    crops/target_0/compressed   CompressedImage   the best target's picture (crop_form jpeg)
    crops/target_0/image        Image, bgr8       the same as bare pixels (crop_form bgr8)
    crops/info                  String, JSON      for each of them topic, target_id, prompt, box

Target 1 is the next, over all prompts. Box is x, y of the top left pixel, width and height in the
source picture; headers have the picture's capture time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aam_edge.crops import Crop, Crops
from aam_edge.recording.topics import COMPRESSED, STRING, Entry, stamp

INFO_FIELDS = ("target_id", "prompt_index", "prompt", "score", "box")


def crop_entries(crops: Crops, frame_id: str) -> Iterator[Entry]:
    """Everything that is said of one frame's crops, `crops/info` last."""
    head = {"stamp": stamp(crops.capture_ns), "frame_id": frame_id}
    infos = []
    for k, crop in enumerate(crops.crops):
        topic, kind, tree = _picture(crop)
        topic = f"crops/target_{k}/{topic}"
        infos.append({"topic": topic} | {name: getattr(crop, name) for name in INFO_FIELDS})
        yield topic, kind, tree | {"header": head}
    what = {"camera": crops.camera, "frame_id": crops.frame_id, "capture_ns": crops.capture_ns}
    text = json.dumps(what | {"image": crops.image, "crops": infos})
    yield "crops/info", STRING, {"data": text}


def _picture(crop: Crop) -> tuple[str, str, dict[str, Any]]:
    *_, width, height = crop.box
    if crop.form == "jpeg":
        form = "bgr8; jpeg compressed bgr8"
        return "compressed", COMPRESSED, {"format": form, "data": crop.data}
    tree = {"height": height, "width": width, "encoding": "bgr8", "is_bigendian": 0}
    return "image", "sensor_msgs/msg/Image", tree | {"step": 3 * width, "data": crop.data}
