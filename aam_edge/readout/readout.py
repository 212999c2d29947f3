"""From what the network says to the message that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aam_edge.config import GazeConfig, ReadoutConfig
from aam_edge.messages import (
    Attention,
    Box,
    Frame,
    Gaze,
    Map,
    Observation,
    RawAttention,
    Sound,
    SoundReading,
    Target,
)
from aam_edge.readout.bearings import Bearings
from aam_edge.readout.closer import next_box, pace_of
from aam_edge.readout.gaze import GazeChooser
from aam_edge.readout.peaks import entropy_bits, find_peaks
from aam_edge.readout.tracker import TargetTracker


class Readout:
    """Reads targets and gaze from densities; owns their ids, for each camera and prompt its own.

    Where a camera has no calibration in `bearings`, yaw and pitch are None.
    """

    def __init__(
        self,
        config: ReadoutConfig,
        bearings: Bearings | None = None,
        gaze: GazeConfig | None = None,
    ) -> None:
        self._config, self._gaze = config, gaze or GazeConfig()
        self._bearings = bearings or Bearings()
        self._views: dict[tuple[str, int], View] = {}

    def read(
        self,
        observation: Observation,
        raw: RawAttention,
        *,
        prompt: str,
        prompt_index: int,
        prompt_id: int,
        model: str,
        weights: str,
    ) -> Attention:
        """The message of one map, `seq` and `publish_ns` left 0.

        A new `prompt_id` makes all targets new: a place for a cup is no target for a dog.
        """
        frame = observation.frame
        view = self._view(frame.camera, prompt_index)
        view.ask(prompt_id)
        view.steps += 1
        targets = self._targets(view, observation, raw)
        return Attention(
            camera=frame.camera,
            frame_id=str(frame.frame_id),
            capture_ns=frame.capture_ns,
            prompt=prompt,
            image=frame.size,
            density=raw.density,
            entropy=entropy_bits(raw.density),
            targets=targets,
            gaze=self._look(view, observation, raw, targets),
            presence=raw.presence,
            uncertainty=mean_standard_error(raw.density, raw.beta**2 * raw.variance),
            sound=sound_reading(observation.sound, raw.gate),
            dt_s=raw.dt_s,
            cut=raw.cut,
            gap=frame.gap,
            prompt_index=prompt_index,
            prompt_id=prompt_id,
            model=model,
            weights=weights,
        )

    def _targets(
        self, view: View, observation: Observation, raw: RawAttention
    ) -> tuple[Target, ...]:
        """Peaks of the map, with ids that stay and bearings where the lens is known."""
        frame = observation.frame
        peaks = find_peaks(
            raw.density,
            raw.beta * raw.variance,
            frame.size,
            most=self._config.max_targets,
            least_score=self._config.least_score,
        )
        if observation.ego is not None:
            view.tracker.turn(observation.ego, frame.size)
        found = view.tracker.update(peaks, frame.capture_ns, cut=raw.cut)
        return self._bearings.aim(frame.camera, frame.size, found)

    def closer(self, frame: Frame, prompts: int) -> Box | None:
        """Where the step of this frame looks closer, None for the whole picture."""
        keys = [(frame.camera, index) for index in range(prompts)]
        views = [self._views[key] for key in keys if key in self._views]
        steps = views[0].steps if views else 0
        return next_box(self._gaze, steps, [view.closer.place for view in views], frame.size)

    def _look(
        self, view: View, seen: Observation, raw: RawAttention, targets: Sequence[Target]
    ) -> Gaze | None:
        """The next point to look at, with its bearing."""
        if self._gaze.foveate:
            view.closer.choose(seen, raw, targets)
        gaze = view.gaze.choose(seen, raw, targets)
        places = [] if gaze is None else [gaze]
        return next(iter(self._bearings.aim(seen.frame.camera, seen.frame.size, places)), None)

    def _view(self, camera: str, prompt_index: int) -> View:
        key = camera, prompt_index
        if key not in self._views:
            self._views[key] = View(self._config.keep_s, self._gaze)
        return self._views[key]

    def reset(self, camera: str | None = None, prompt_index: int | None = None) -> None:
        """Forgets the targets of a camera or prompt, of all where None; their ids stay used."""
        for (its_camera, its_index), view in self._views.items():
            if camera in (None, its_camera) and prompt_index in (None, its_index):
                view.reset()

    def state(self) -> list[dict[str, Any]]:
        """Plain values for `restore`."""
        return [
            {"camera": camera, "prompt_index": index, **view.state()}
            for (camera, index), view in self._views.items()
        ]

    def restore(self, state: list[dict[str, Any]], camera: str | None = None) -> None:
        """Goes on from `state()`, of one camera or of all; views that are not in it are reset."""
        self.reset(camera)
        for saved in state:
            if camera in (None, saved["camera"]):
                self._view(saved["camera"], saved["prompt_index"]).restore(saved)


class View:
    """What is remembered of one camera and prompt."""

    def __init__(self, keep_s: float, gaze: GazeConfig) -> None:
        self.tracker = TargetTracker(keep_s)
        self.gaze = GazeChooser(gaze)
        self.closer = GazeChooser(pace_of(gaze))
        """What second looks look at."""
        self.steps = 0
        """Maps read so far."""
        self._prompt_id: int | None = None

    def ask(self, prompt_id: int) -> None:
        """Forgets what belonged to another prompt."""
        if self._prompt_id not in (None, prompt_id):
            self.reset()
        self._prompt_id = prompt_id

    def reset(self) -> None:
        """Forgets all targets; their ids stay used."""
        self.tracker.reset()
        self.gaze.reset()
        self.closer.reset()
        self.steps = 0

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        return {
            "prompt_id": self._prompt_id,
            "steps": self.steps,
            "tracker": self.tracker.state(),
            "gaze": self.gaze.state(),
            "closer": self.closer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self._prompt_id = state["prompt_id"]
        self.tracker.restore(state["tracker"])
        self.gaze.restore(state["gaze"])
        self.closer.restore(state.get("closer"))
        self.steps = state.get("steps", 0)


def mean_standard_error(density: Map, variance: Map) -> float:
    """Mean over the density of the log-density's standard error, which is a relative one."""
    return float(np.sum(density * np.sqrt(variance), dtype=np.float64))


def sound_reading(sound: Sound | None, gate: float) -> SoundReading | None:
    """How loud the sound behind a frame is, and what part it had in the map."""
    return None if sound is None else SoundReading(gate=gate, level_db=sound.level_db)
