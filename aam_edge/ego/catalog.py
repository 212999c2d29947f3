"""From the settings to each camera's ego-motion."""

from __future__ import annotations

from pathlib import Path

from aam_edge.camera_yaml import ANY_CAMERA, by_camera
from aam_edge.config import EgoConfig
from aam_edge.ego.ego_motion import EgoMotion, GyroFrom, GyroMotion, Lens
from aam_edge.ego.gyro_log import read_gyro_log
from aam_edge.ego.imu_yaml import ImuMount, read_imu_yaml
from aam_edge.ego.picture_motion import PictureMotion
from aam_edge.errors import UsageError


class EgoSources:
    """Reads the files once; each camera then gets a state of its own."""

    def __init__(self, config: EgoConfig, lens: Lens, live: GyroFrom | None = None) -> None:
        """Raises UsageError or DataError where something is missing or wrong.

        Args:
            config: settings.
            lens: where a camera's calibration comes from.
            live: a gyro that is there already; otherwise `config.gyro` is the file of its log.
        """
        self._config, self._lens = config, lens
        self._mounts: dict[str, ImuMount] = {}
        self._gyro_from = live
        if config.source == "gyro":
            self._mounts = {key: read_imu_yaml(file) for key, file in by_camera(config.imu).items()}
            self._gyro_from = live or self._log()

    def of(self, camera: str) -> EgoMotion | None:
        """The motion of a camera; None where none is asked for, or its gyro has no known place."""
        if self._config.source == "picture":
            return EgoMotion(PictureMotion())
        mount = self._mounts.get(camera, self._mounts.get(ANY_CAMERA))
        if mount is None or self._gyro_from is None:
            return None
        return EgoMotion(GyroMotion(self._gyro_from, mount, self._lens))

    def _log(self) -> GyroFrom:
        if self._config.gyro is None:
            raise UsageError("gyro is not given", "ego.source=gyro", "add --set ego.gyro=log.csv")
        return read_gyro_log(Path(self._config.gyro)).gyro
