"""From the settings to each camera's ego-motion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.camera_yaml import ANY_CAMERA, by_camera
from aam_edge.config import EgoConfig
from aam_edge.ego.ego_motion import EgoMotion, GyroFrom, GyroMotion, Lens, Motion
from aam_edge.ego.gyro import Gyro, Rate
from aam_edge.ego.gyro_log import GyroLog, read_gyro_log
from aam_edge.ego.imu_yaml import ImuMount, read_imu_yaml
from aam_edge.ego.picture_motion import PictureMotion
from aam_edge.errors import UsageError
from aam_edge.ros.transport import DEFAULT_URL

if TYPE_CHECKING:
    from aam_edge.ego.ros_gyro import RosGyro

ROS = "ros:"


class EgoSources:
    """Opens gyro and files once; each camera then gets a state of its own."""

    def __init__(
        self,
        config: EgoConfig,
        lens: Lens,
        live: GyroFrom | None = None,
        *,
        bridge: str = DEFAULT_URL,
    ) -> None:
        """Raises UsageError or DataError where something is missing or wrong.

        Args:
            config: settings.
            lens: where a camera's calibration comes from.
            live: a gyro that is there already; otherwise `config.gyro` says where it is.
            bridge: where rosbridge is, for a gyro on a topic.
        """
        self._config, self._lens = config, lens
        self._motions: dict[str, EgoMotion] = {}
        self._mounts: dict[str, ImuMount] = {}
        self._listener: RosGyro | None = None
        self._taken_ns = 0
        self._gyro: Gyro | None = None
        if config.source == "gyro":
            self._mounts = {key: read_imu_yaml(file) for key, file in by_camera(config.imu).items()}
            if live is None and config.gyro is None:
                todo = "add --set ego.gyro=log.csv, run.mcap or ros:/imu/data"
                raise UsageError("gyro is not given", "ego.source=gyro", todo)
        self._gyro_from = live or self._open(bridge)

    def _open(self, bridge: str) -> GyroFrom | None:
        spec = self._config.gyro
        if spec is None:
            return None
        if spec.startswith(ROS):
            from aam_edge.ego.ros_gyro import RosGyro  # with all that ROS needs

            listener = self._listener = RosGyro(spec.removeprefix(ROS), bridge)
            return lambda _: listener.gyro
        return read_gyro(Path(spec)).gyro

    def new_samples(self, capture_ns: int) -> list[tuple[int, Rate]]:
        """What the gyro said since the last call up to a frame, UNIX nanoseconds and rad/s.

        Empty without a gyro. The first call gives what lies within a second before the frame.
        """
        if self._gyro_from is None:
            return []
        if self._gyro is None:
            self._gyro = self._gyro_from(capture_ns)
            self._taken_ns = capture_ns - 1_000_000_000
        samples = self._gyro.between(self._taken_ns, capture_ns)
        self._taken_ns = samples[-1][0] if samples else self._taken_ns
        return samples

    @property
    def troubles(self) -> list[str]:
        """What is wrong with a live gyro, and whose motion is not known, for health."""
        gyro = "" if self._listener is None else self._listener.trouble()
        told = [f"{name}: {it.trouble}" for name, it in self._motions.items() if it.trouble]
        return [gyro, *told] if gyro else told

    def close(self) -> None:
        """Leaves the bridge; twice is fine."""
        if self._listener is not None:
            self._listener.close()

    def of(self, camera: str) -> EgoMotion | None:
        """The motion of a camera; None where none is asked for, or its gyro has no known place."""
        motion: Motion = PictureMotion()
        if self._config.source != "picture":
            mount = self._mounts.get(camera, self._mounts.get(ANY_CAMERA))
            if mount is None or self._gyro_from is None:
                return None
            motion = GyroMotion(self._gyro_from, mount, self._lens)
        self._motions[camera] = EgoMotion(motion)
        return self._motions[camera]


def read_gyro(path: Path) -> GyroLog:
    """A whole log: of a recording (.mcap), or CSV; raises DataError."""
    if path.suffix.lower() != ".mcap":
        return read_gyro_log(path)
    from aam_edge.ego.gyro_recording import read_gyro_recording  # with the mcap library

    return read_gyro_recording(path)
