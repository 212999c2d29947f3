"""aam-edge: where to look, from a camera and a microphone, in real time.

The names below are all that is promised; they are loaded when first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenCV reads these once, when it is imported: a camera that hangs is let go after 2 s and not 10,
# its own lines do not stand beside our one line, and a picture of a few bytes that claims to be
# larger than any camera's (268 million pixels) is refused before there is memory for it.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))

__version__ = "0.1.0"

_HOME = {
    "AamEdgeError": "errors",
    "Attention": "messages",
    "Crop": "crops",
    "Crops": "crops",
    "Frame": "messages",
    "Gaze": "messages",
    "Health": "messages",
    "Model": "model_api",
    "Observation": "messages",
    "Sound": "messages",
    "Stream": "model_api",
    "Target": "messages",
    "WorldSearch": "readout.world",
    "crop_targets": "crops",
    "load": "model_api",
    "load_released": "engine.released",
    "open_source": "sources.catalog",
    "open_sources": "sources.together",
    "subscribe": "subscriber",
    "subscribe_crops": "subscriber",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from aam_edge.crops import Crop as Crop
    from aam_edge.crops import Crops as Crops
    from aam_edge.crops import crop_targets as crop_targets
    from aam_edge.engine.released import load_released as load_released
    from aam_edge.errors import AamEdgeError as AamEdgeError
    from aam_edge.messages import Attention as Attention
    from aam_edge.messages import Frame as Frame
    from aam_edge.messages import Gaze as Gaze
    from aam_edge.messages import Health as Health
    from aam_edge.messages import Observation as Observation
    from aam_edge.messages import Sound as Sound
    from aam_edge.messages import Target as Target
    from aam_edge.model_api import Model as Model
    from aam_edge.model_api import Stream as Stream
    from aam_edge.model_api import load as load
    from aam_edge.readout.world import WorldSearch as WorldSearch
    from aam_edge.sources.catalog import open_source as open_source
    from aam_edge.sources.together import open_sources as open_sources
    from aam_edge.subscriber import subscribe as subscribe
    from aam_edge.subscriber import subscribe_crops as subscribe_crops


def __getattr__(name: str) -> Any:
    # A subscriber needs neither OpenCV's codecs nor ONNX Runtime: each name brings only its own.
    if name not in _HOME:
        raise AttributeError(f"module 'aam_edge' has no attribute {name!r}")
    return getattr(import_module(f"aam_edge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
