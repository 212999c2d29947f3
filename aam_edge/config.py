"""The settings of a run: a tree of frozen dataclasses, read once at start.

Defaults, then a YAML file, then `--set section.key=value`, then the options of the command line:
how they are read and refused is in `settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aam_edge.errors import UsageError
from aam_edge.prompts import REMEDY, checked_prompt
from aam_edge.settings import at_least, load_settings, section, setting, within

INPUT_PIXELS = 224 * 288
"""Area of the input that the packaged network was taught at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Where pictures and sound come from."""

    cameras: tuple[str, ...] = setting(
        (),
        "0, /dev/video2, rtsp://..., ros:/topic, a file, a folder, synthetic, demo; "
        "none: camera 0 or demo",
    )
    size: str | None = setting(None, "WxH asked of a camera")
    fps: float | None = setting(None, "frames a second asked of a camera; rate of an image folder")
    pixel_format: str | None = setting(None, "four letters asked of a camera, such as MJPG or YUYV")
    accept_nearest: bool = setting(False, "take what the camera gives instead of what was asked")
    mic: str | None = setting(
        None,
        "device name or number, file (the sound track), none; default: file for files, else none",
    )
    sound_offset_ms: float = setting(
        0.0, "how much too late sound is stamped; aam-edge calibrate sync measures it"
    )
    calibration: tuple[str, ...] = setting(
        (), "ROS camera_calibration YAML, makes bearings; CAMERA=FILE for one of several cameras"
    )
    pace: Literal["real", "every"] = setting("real", "files: real time with drops, or every frame")
    loop: bool = setting(False, "start a file again when it ends")
    start_s: float = setting(0.0, "seconds into a recording (.mcap) at which it begins")
    as_recorded: bool = setting(
        True, "a recording brings prompts and state along; --prompt puts that off"
    )
    stall_s: float = setting(2.0, "a camera silent for so long counts as lost and is opened again")
    retry_max_s: float = setting(5.0, "longest wait between two tries to open a lost camera")
    bridge: str | None = setting(
        None, "rosbridge of ros: cameras; default: as --ros, else ws://127.0.0.1:9090"
    )

    def __post_init__(self) -> None:
        if self.size is not None:
            parse_size(self.size)
        at_least("source.fps", self.fps, 0.01)
        at_least("source.start_s", self.start_s, 0.0)
        within("source.sound_offset_ms", self.sound_offset_ms, -2000.0, 2000.0)
        at_least("source.stall_s", self.stall_s, 0.1)
        at_least("source.retry_max_s", self.retry_max_s, 0.1)
        if self.pixel_format is not None and len(self.pixel_format) != 4:
            raise UsageError(
                "pixel format is wrong", self.pixel_format, "give four letters, such as MJPG"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which network runs, and on what."""

    name: str = setting("nano", "a packaged network, or a weights file")
    engine: str = setting("auto", "auto, onnx, openvino, eager; for GPUs compiled, tensorrt")
    device: str = setting("auto", "auto, cpu, cuda or cuda:1, for eager, compiled and tensorrt")
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = setting(
        "auto", "auto: the fastest that engine and machine have but int8"
    )
    engine_folder: str | None = setting(
        None, "where TensorRT engines lie; default: aam-edge/engines in the user's cache"
    )
    build: bool = setting(True, "build a TensorRT engine that is missing, in the background")
    text: Literal["table", "sentence"] = setting(
        "table", "what turns prompts into numbers: the packaged table, or the extra [text]"
    )
    threads: int = setting(1, "threads of the network; more gain little and cost a core")
    pixels: int = setting(INPUT_PIXELS, "wanted area of the network's input, pixels")
    batch: int = setting(8, "cameras in one pass of the network at most; 1: one after the other")
    window: int = setting(16, "released networks: frames that a map is made from")
    filter: bool = setting(
        False, "released networks: keep the density alive across windows in the native filter"
    )
    clip: str = setting("clip-text", "released networks: imported CLIP that reads prompts")
    wav2clip: str = setting(
        "wav2clip", "released networks: imported Wav2CLIP that hears, if it is there; none: deaf"
    )
    amplitude: Literal["public", "full"] = setting(
        "public", "released networks: scale of sound, as the public code has it or as Wav2CLIP has"
    )

    def __post_init__(self) -> None:
        at_least("model.threads", self.threads, 1)
        at_least("model.pixels", self.pixels, 96 * 96)
        at_least("model.batch", self.batch, 1)
        at_least("model.window", self.window, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class EgoConfig:
    """How the camera's own motion is known, so that the state turns with the world."""

    source: Literal["auto", "none", "picture", "gyro"] = setting(
        "auto",
        "picture: from points of the picture; gyro: needs --calibration, ego.gyro and ego.imu; "
        "auto: gyro where these are given, else none",
    )
    gyro: str | None = setting(
        None, "ros:/topic of Imu, a recording, or CSV: time_s or time_ns, wx, wy, wz (rad/s)"
    )
    imu: tuple[str, ...] = setting(
        (), "YAML of aam-edge calibrate imu; CAMERA=FILE for one of several cameras"
    )

    def __post_init__(self) -> None:
        if self.source == "auto":
            chosen = "gyro" if self.gyro is not None and self.imu else "none"
            # Frozen, and yet settled here, before anybody has seen it.
            object.__setattr__(self, "source", chosen)
        if self.source == "gyro" and not self.imu:
            todo = "add --set ego.imu=imu.yaml (aam-edge calibrate imu makes it)"
            raise UsageError("place of the gyro is not given", "ego.source=gyro", todo)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutConfig:
    """How targets are read from the density."""

    max_targets: int = setting(8, "targets published at most, 1 to 8")
    least_score: float = setting(
        0.02, "smallest mass within 2 widths of a hill that makes a target"
    )
    keep_s: float = setting(0.5, "a target out of sight for so long loses its id")

    def __post_init__(self) -> None:
        within("readout.max_targets", self.max_targets, 1, 8)
        at_least("readout.least_score", self.least_score, 0.0)
        at_least("readout.keep_s", self.keep_s, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class GazeConfig:
    """How the next point to look at is chosen (`aam_edge.readout.gaze`)."""

    fovea: float = setting(0.06, "width (sigma) of what a look sees, part of the longer side")
    look_s: float = setting(0.1, "a look takes in what it sees with this time constant")
    return_s: float = setting(1.5, "inhibition of return decays with this time constant")
    dwell_s: float = setting(0.2, "shortest look")
    turn_cost: float = setting(
        1.0, "a turn across the whole diagonal divides what a look is worth by 1 + this"
    )
    foveate: bool = setting(False, "every n-th step looks closer where the gaze is")
    foveate_every: int = setting(2, "which step that is; the others see the whole picture")
    foveate_part: float = setting(0.25, "sides of what it sees then, parts of the picture's")
    crops: int = setting(0, "best targets of each prompt published as pictures; 0 for none")
    crops_hz: float = setting(5.0, "crops of a camera a second at most")
    crop_px: int = setting(256, "width and height of a crop, source pixels")
    crop_form: Literal["jpeg", "bgr8"] = setting("jpeg", "crops as JPEG or as bare pixels")

    def __post_init__(self) -> None:
        for name, least in {"fovea": 0.01, "look_s": 0.01, "return_s": 0.01}.items():
            at_least(f"gaze.{name}", getattr(self, name), least)
        at_least("gaze.dwell_s", self.dwell_s, 0.0)
        at_least("gaze.turn_cost", self.turn_cost, 0.0)
        at_least("gaze.foveate_every", self.foveate_every, 2)
        within("gaze.foveate_part", self.foveate_part, 0.1, 1.0)
        at_least("gaze.crops_hz", self.crops_hz, 0.01)
        at_least("gaze.crop_px", self.crop_px, 16)
        within("gaze.crops", self.crops, 0, 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class ZmqConfig:
    """The ZeroMQ sockets."""

    pub: str = setting("tcp://127.0.0.1:5560", "where maps are published; none switches it off")
    control: str = setting("tcp://127.0.0.1:5561", "where commands are taken; none switches it off")
    hwm: int = setting(2, "messages kept for a slow subscriber before old ones are dropped")
    map_dtype: Literal["<f2", "<f4", "u1"] = setting("<f2", "type of the published map's cells")

    def __post_init__(self) -> None:
        at_least("zmq.hwm", self.hwm, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageConfig:
    """The live page."""

    listen: str = setting("127.0.0.1:8088", "host:port of the page; none switches it off")
    fps: float = setting(15.0, "pictures a second sent to a browser at most")
    width: int = setting(640, "longest side of the picture sent to a browser, pixels")
    quality: int = setting(75, "JPEG quality, 1 to 100")
    token: str | None = setting(
        None, "secret that a browser must show; needed on any address but loopback"
    )

    def __post_init__(self) -> None:
        at_least("page.fps", self.fps, 0.1)
        at_least("page.width", self.width, 16)
        within("page.quality", self.quality, 1, 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordConfig:
    """The recording."""

    file: str | None = setting(None, "MCAP file to record into; a number is added if it is there")
    quality: int = setting(90, "JPEG quality of recorded pictures, 1 to 100")
    input: bool = setting(
        True, "keep the network's own picture too, so that a re-run gives the same maps"
    )
    max_mb: int | None = setting(None, "begin a new file after so many megabytes")
    max_s: float | None = setting(None, "begin a new file after so many seconds")
    queue_mb: int = setting(64, "memory of what waits to be written; beyond it frames are refused")
    state_s: float = setting(10.0, "between two copies of the network's state, to begin a re-run")
    retry_s: float = setting(5.0, "wait for another try to write after a disk failed")

    def __post_init__(self) -> None:
        at_least("record.max_mb", self.max_mb, 1)
        at_least("record.max_s", self.max_s, 1.0)
        at_least("record.queue_mb", self.queue_mb, 1)
        at_least("record.state_s", self.state_s, 0.1)
        at_least("record.retry_s", self.retry_s, 0.0)
        within("record.quality", self.quality, 1, 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class RosConfig:
    """The bridge to ROS."""

    url: str = setting("none", "where rosbridge is, such as ws://127.0.0.1:9090; none: no ROS")
    namespace: str = setting("/aam", "before the names of all topics and services")
    frame_id: tuple[str, ...] = setting(
        (),
        "the camera's optical frame in ROS; CAMERA=FRAME for one of several; "
        "default: camera_NAME_optical_frame",
    )
    image: Literal["none", "mono8", "32FC1"] = setting(
        "none", "also the map as plain sensor_msgs/Image, scaled to its peak or as it is"
    )
    retry_max_s: float = setting(5.0, "longest wait between two tries to reach the bridge")

    def __post_init__(self) -> None:
        at_least("ros.retry_max_s", self.retry_max_s, 0.1)
        if not re.fullmatch(
            r"/?([A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*)?", self.namespace
        ):
            raise UsageError(
                "not a namespace of ROS", self.namespace, "give letters, digits and _, such as /aam"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig:
    """Viewers of others."""

    foxglove: bool = setting(False, "serve a websocket for Foxglove (extra [foxglove])")
    foxglove_listen: str = setting("127.0.0.1:8765", "host:port of that websocket")
    rerun: str = setting(
        "none", "rerun's viewer that runs at host:port, or a file.rrd (extra [rerun]); none"
    )
    fps: float = setting(15.0, "pictures a second and camera for these viewers at most")

    def __post_init__(self) -> None:
        at_least("view.fps", self.fps, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    """What may be reached from outside."""

    insecure: bool = setting(False, "open sockets without keys on addresses other than loopback")
    keys: str | None = setting(
        None,
        "folder of ZeroMQ keys (aam-edge keys); given, loopback asks for a key too; "
        "default: the user's own, for other addresses",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything that a run is told."""

    prompts: tuple[str, ...] = setting(("free viewing",), "what to look for, in English")
    source: SourceConfig = section(SourceConfig)
    model: ModelConfig = section(ModelConfig)
    ego: EgoConfig = section(EgoConfig)
    readout: ReadoutConfig = section(ReadoutConfig)
    gaze: GazeConfig = section(GazeConfig)
    zmq: ZmqConfig = section(ZmqConfig)
    page: PageConfig = section(PageConfig)
    record: RecordConfig = section(RecordConfig)
    ros: RosConfig = section(RosConfig)
    view: ViewConfig = section(ViewConfig)
    net: NetConfig = section(NetConfig)
    duration_s: float | None = setting(None, "stop by itself after so many seconds")
    frames: int | None = setting(None, "stop by itself after so many frames")

    def __post_init__(self) -> None:
        at_least("duration_s", self.duration_s, 0.0)
        at_least("frames", self.frames, 1)
        if not self.prompts:
            raise UsageError("prompt is empty", [], REMEDY)
        # Frozen, and yet mended here, before anybody has seen it.
        object.__setattr__(self, "prompts", tuple(map(checked_prompt, self.prompts)))
        if self.ego.source == "gyro" and not self.source.calibration:
            todo = "add --calibration camera.yaml (aam-edge calibrate camera makes it)"
            raise UsageError("gyro needs a calibrated camera", "ego.source=gyro", todo)


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` to (640, 480)."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.lower())
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not (width and height):
        raise UsageError("size is wrong", text, "give width x height, such as 640x480")
    return width, height


def load_config(
    file: Path | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Settings from all places, later ones over earlier ones.

    Args:
        file: YAML, a map of sections.
        sets: `section.key=value`, the value read as YAML.
        options: dotted key to value; None values are left out.
    """
    return load_settings(Config, file, sets, options)
