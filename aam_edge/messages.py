"""What passes between the rooms: frozen, typed, with units.

Points are (x, y) in source pixels, x right, y down, the centre of the top left pixel is (0, 0).
Times are integer nanoseconds of UNIX time. A map's cell (i, j) covers x in [j W/w, (j+1) W/w)
measured from the picture's left edge, so the centre of cell j is at pixel x = (j + 0.5) W/w - 0.5.
Bearings are radians, REP 103, from the camera's optical frame (z forward, x right, y down): yaw is
positive to the left, pitch is positive downwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aam_edge import wire

SOUND_RATE_HZ = 16_000
"""Rate of all sound inside aam-edge."""

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
Samples = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, source pixels; the last two lie behind the last pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one camera. Takes its array over: nobody writes to it afterwards."""

    image: Image
    """(H, W, 3), BGR, as the source delivered it."""
    capture_ns: int
    """UNIX time of the exposure or, where the source is silent about it, of the grab."""
    camera: str
    frame_id: int
    """Rises by 1 a frame that the source delivered, so holes show what was dropped."""
    gap: int = 0
    """Frames of this camera that are missing before this one."""
    jpeg: bytes | None = None
    """The camera's own JPEG that `image` was decoded from, where it gave one."""
    recorded: Recorded | None = None
    """Of a frame from a recording: how it was taken in when it was live."""
    small: Image | None = None
    """(h, w, 3), BGR, `image` as the network takes it, where its source has made that already."""

    def __post_init__(self) -> None:
        shape = self.image.shape
        if self.image.ndim != 3 or shape[2] != 3 or 0 in shape or self.image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, got {shape} {self.image.dtype}")
        self.image.flags.writeable = False

    @property
    def size(self) -> tuple[int, int]:
        """(W, H), pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A run of samples: a block from a source, or the window behind a frame."""

    samples: Samples
    """(n,), mono, SOUND_RATE_HZ, -1..1."""
    start_ns: int
    """UNIX time of the first sample."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"samples must be (n,) float32, got {self.samples.shape}")
        self.samples.flags.writeable = False

    @property
    def end_ns(self) -> int:
        """UNIX time just after the last sample."""
        return self.start_ns + len(self.samples) * 1_000_000_000 // SOUND_RATE_HZ

    @property
    def level_db(self) -> float:
        """Root mean square over full scale, dB; -120 for silence."""
        if not len(self.samples):
            return -120.0
        power = float(np.mean(np.square(self.samples, dtype=np.float64)))
        return max(-120.0, 10 * float(np.log10(power + 1e-12)))


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a recording knows of a frame, so that a re-run takes it in as it was taken in then."""

    given_ns: int
    """UNIX time at which the recording gave it out; latency counts from here."""
    image: Image | None = None
    """(h, w, 3), BGR, as the network took it; None where `Frame.image` is what it was made from."""
    hears: bool = False
    """Whether `sound` is what belongs to the frame; else somebody else listens."""
    sound: Sound | None = None
    """The window behind the frame; None if nothing was heard."""
    ego: NDArray[np.float32] | None = None
    state: bytes | None = None
    """A snapshot to restore before this frame."""
    camera: str = ""
    """The camera's name when it was live."""
    together: bool | None = None
    """Whether it went through the network beside other cameras' frames; None: nobody says."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A frame with the sound behind it."""

    frame: Frame
    sound: Sound | None = None
    """The trailing window that ends at the frame's capture, or as near before it as was heard."""
    ego: NDArray[np.float32] | None = None
    """(3, 3), the camera's own motion: a homography that takes a point of the camera's last frame
    to where the same point of the world is in this one, x and y in -1..1 over the picture, x
    right, y down; None where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class RawAttention:
    """What the network says of one frame for one prompt."""

    density: Map
    """(h, w), > 0, sums to 1."""
    variance: Map
    """(h, w), variance of the error of the log-density, in units of beta^2."""
    dt_s: float
    """Seconds since the camera's previous frame; 0 for the first."""
    cut: bool
    presence: float | None = None
    """Probability that what is asked for is in view; None where nothing is searched for."""
    gate: float = 0.0
    """What part sound had, 0..1."""
    beta: float = 1.0
    """The power that the evidence was raised to, 1 for free viewing."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place worth a look."""

    id: int
    """Stays with the place from frame to frame; never used again for another."""
    x: float
    y: float
    sigma_px: float
    """How well the place is known: the truth lies within 2 sigma in about 95 % of frames."""
    score: float
    """Mass of the density within 2 sigma of the hill itself, 0..1; it does not shrink when the
    place becomes known better."""
    yaw: float | None = None
    pitch: float | None = None


@dataclass(frozen=True, slots=True)
class Gaze:
    """The next point to look at."""

    x: float
    y: float
    yaw: float | None = None
    pitch: float | None = None
    target_id: int | None = None


@dataclass(frozen=True, slots=True)
class SoundReading:
    """What part sound had in a map."""

    gate: float
    """0 (unused) to 1."""
    level_db: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Attention:
    """Where to look: the message that leaves."""

    camera: str
    frame_id: str
    capture_ns: int
    prompt: str
    image: tuple[int, int]
    """(W, H) of the source picture."""
    density: Map
    """(h, w), float32, >= 0, sums to 1."""
    entropy: float
    """Bits; log2(h w) is "looks nowhere"."""
    targets: tuple[Target, ...] = ()
    """Best first, at most 8."""
    gaze: Gaze | None = None
    presence: float | None = None
    uncertainty: float = 0.0
    """Mean relative standard error of the density."""
    sound: SoundReading | None = None
    dt_s: float = 0.0
    cut: bool = False
    gap: int = 0
    prompt_index: int = 0
    prompt_id: int = 0
    """Changes with every change of prompt."""
    model: str = ""
    weights: str = ""
    """First 12 hex digits of the hash of the weights."""
    seq: int = 0
    publish_ns: int = 0

    @property
    def topic(self) -> str:
        """Where it is published."""
        return f"attention/{self.camera}/{self.prompt_index}"

    def published(self, seq: int, publish_ns: int) -> Attention:
        """The same with what only the publisher knows."""
        return replace(self, seq=seq, publish_ns=publish_ns)

    def to_bytes(self, dtype: wire.MapType = "<f2") -> bytes:
        """The msgpack map as it is published, without its topic."""
        message: dict[str, Any] = {"schema": wire.SCHEMA}
        message |= {name: getattr(self, name) for name in _PLAIN_FIELDS}
        message["image"] = list(self.image)
        message["map"] = wire.encode_map(self.density, dtype)
        message["targets"] = [wire.write_fields(target) for target in self.targets]
        message["gaze"] = None if self.gaze is None else wire.write_fields(self.gaze)
        message["sound"] = None if self.sound is None else wire.write_fields(self.sound)
        return wire.pack(message)

    @classmethod
    def from_bytes(cls, body: bytes) -> Attention:
        """Reads what `to_bytes` wrote, fields of later minor versions ignored; else ValueError."""
        message = wire.unpack(body)
        if message.get("schema") != wire.SCHEMA:
            raise ValueError(f"schema {wire.SCHEMA} is expected, got {message.get('schema')}")
        try:
            gaze, sound = message["gaze"], message["sound"]
            return wire.read_fields(
                cls,
                message,
                density=wire.decode_map(message["map"]),
                targets=tuple(wire.read_fields(Target, target) for target in message["targets"]),
                gaze=None if gaze is None else wire.read_fields(Gaze, gaze),
                sound=None if sound is None else wire.read_fields(SoundReading, sound),
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"not an attention message: {problem!r}") from problem

    def heatmap(self, image: Image) -> Image:
        """The picture (H, W, 3) BGR with the density over it, red where it is highest."""
        height, width = image.shape[:2]
        relative = self.density / self.density.max()
        heat = cv2.resize(np.sqrt(relative), (width, height), interpolation=cv2.INTER_LINEAR)
        colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
        opacity = (0.65 * heat)[:, :, None]
        return np.asarray(image * (1 - opacity) + colours * opacity, np.uint8)


_NESTED = ("image", "density", "targets", "gaze", "sound")
_PLAIN_FIELDS = tuple(f.name for f in fields(Attention) if f.name not in _NESTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealth:
    """How one of the cameras is doing."""

    state: str
    """opening, live, lost, ended."""
    rate_hz: float
    latency_ms: dict[str, float]
    """p50 and p99 from capture to publish, over the last seconds."""
    dropped: int
    """Frames that never reached the loop, since the start."""
    maps: str = "ok"
    """`ok`, or why no fresh map of this camera leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the stream is doing, once a second."""

    rate_hz: float
    latency_ms: dict[str, float]
    """p50 and p99 from capture to publish, over the last seconds."""
    stages_ms: dict[str, float]
    """Median time of each stage of the loop."""
    dropped: dict[str, int]
    """By place, since the start."""
    source_state: dict[str, str]
    """By camera: opening, live, lost, ended."""
    sinks: dict[str, str]
    """By name: ok, or what is wrong."""
    engine: str
    device: str
    rss_bytes: int
    uptime_s: float
    warnings: tuple[str, ...] = field(default=())
    cameras: dict[str, CameraHealth] = field(default_factory=dict)
    """By name."""
    maps: str = "ok"
    """`ok`, or why no fresh map leaves, of any camera."""
    map_age_s: float | None = None
    """Seconds since a fresh map left; None before the first."""

    @classmethod
    def unknown(cls) -> Health:
        """Before anything runs."""
        latency_ms = {"p50": 0.0, "p99": 0.0}
        return cls(
            rate_hz=0.0,
            latency_ms=latency_ms,
            stages_ms={},
            dropped={},
            source_state={},
            sinks={},
            engine="",
            device="",
            rss_bytes=0,
            uptime_s=0.0,
            maps="opening",
        )

    @property
    def trouble(self) -> str:
        """The worst of what is wrong, one line; empty if nothing is."""
        if self.maps != "ok":
            return f"no fresh maps: {self.maps}"
        return self.warnings[0] if self.warnings else ""

    def to_bytes(self) -> bytes:
        """The msgpack map as it is published, without its topic."""
        plain = wire.write_fields(self)
        plain["warnings"] = list(self.warnings)
        plain["cameras"] = {name: asdict(camera) for name, camera in self.cameras.items()}
        return wire.pack({"schema": wire.SCHEMA} | plain)

    @classmethod
    def from_bytes(cls, body: bytes) -> Health:
        """Reads what `to_bytes` wrote; ValueError if it is something else."""
        message = wire.unpack(body)
        try:
            cameras = {
                str(name): wire.read_fields(CameraHealth, camera)
                for name, camera in message.get("cameras", {}).items()
            }
            return wire.read_fields(cls, {"warnings": None} | message, cameras=cameras)
        except (TypeError, AttributeError) as problem:
            raise ValueError(f"not a health message: {problem!r}") from problem
