"""The network for programs: `load`, then stills with `predict` or a stream with `step`.

model = aam_edge.load("nano")
attention = model.predict("photo.jpg", prompt="free viewing")
stream = model.stream(prompts=["search for cup"])
for frame in aam_edge.open_source("demo"):
    for attention in stream.step(frame):
        print(attention.gaze)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aam_edge.config import GazeConfig, ModelConfig, ReadoutConfig
from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.engine.text import MAX_CHARACTERS
from aam_edge.messages import Attention, Frame, Image, Observation
from aam_edge.prompts import FREE_VIEWING, checked_prompt, shortened
from aam_edge.readout.bearings import Bearings, read_calibrations
from aam_edge.readout.readout import Readout
from aam_edge.sources.picture import read_picture

logger = logging.getLogger(__name__)


class Model:
    """A network in an engine. Used by one thread; streams share it."""

    def __init__(
        self,
        config: ModelConfig,
        readout: ReadoutConfig | None = None,
        gaze: GazeConfig | None = None,
    ):
        self.config = config
        self.package = find_package(config.name)
        self.backend = open_backend(self.package, config.engine, config.precision, config.threads)
        self.readout, self.gaze = readout or ReadoutConfig(), gaze or GazeConfig()
        embed = open_text(config.text)
        self.embed = embed if self.package.follows_prompts else None
        self._stills: Stream | None = None

    @property
    def engine(self) -> str:
        """Engine and what it computes in, such as `onnx f32`."""
        return f"{self.backend.name} {self.backend.precision}"

    def predict(self, image: Image | str | Path, prompt: str = FREE_VIEWING) -> Attention:
        """Where people look in one picture, without memory.

        Args:
            image: (H, W, 3) uint8 BGR, or the path of a picture file.
            prompt: what is looked for, in English.

        Raises:
            SourceError: the file cannot be read.
            UsageError: the prompt is empty, longer than 10,000 characters or not UTF-8.
            ValueError: the array is not a picture.
        """
        picture = read_picture(Path(image)) if isinstance(image, (str, Path)) else image.copy()
        if self._stills is None:
            self._stills = Stream(self, [prompt])
        self._stills.reset()
        self._stills.set_prompts([prompt])
        frame = Frame(picture, time.time_ns(), "still", 0)
        return self._stills.step(frame)[0]

    def stream(
        self, prompts: Sequence[str] = (FREE_VIEWING,), calibration: Sequence[str] = ()
    ) -> Stream:
        """A stream of its own state, for one or several cameras.

        Args:
            prompts: what is looked for, in English.
            calibration: camera_calibration files, FILE or CAMERA=FILE, for bearings.

        Raises:
            UsageError, DataError: a prompt or a calibration cannot be used.
        """
        return Stream(self, prompts, calibration)

    def doubts(self, prompts: Sequence[str]) -> list[str]:
        """What will not be looked for as it was asked, a line each."""
        lines = []
        for prompt in dict.fromkeys(prompts):
            if self.embed is None:
                continue
            if not self.embed(prompt).any():
                what, todo = "no word of the prompt is known", "looks freely; ask in English"
            elif len(prompt) > MAX_CHARACTERS:
                what, todo = "prompt is long", f"only {MAX_CHARACTERS} characters of it are read"
            else:
                continue
            lines.append(f"{what} ({shortened(prompt)}): {todo}")
        return lines

    def close(self) -> None:
        """Lets the network go; twice is fine."""
        self._stills = None


class Stream:
    """Frames in, attention out; the state lives across frames, for each camera its own."""

    def __init__(self, model: Model, prompts: Sequence[str], calibration: Sequence[str] = ()):
        self.model = model
        self._prompts = tuple(map(checked_prompt, prompts))
        self._prompt_ids = tuple(range(len(self._prompts)))
        self._next_id = len(self._prompts)
        self._sessions: dict[str, Session] = {}
        self.bearings = Bearings(read_calibrations(calibration))
        self._readout = Readout(model.readout, self.bearings, model.gaze)
        self.doubts: list[str] = []
        """What will not be looked for as it was asked, a line each; also in the log, once."""
        self._say_doubts()
        self.network_s = 0.0
        """Time of the last step inside the engine."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """What is looked for, in the order of the maps."""
        return self._prompts

    @property
    def counters(self) -> dict[str, int]:
        """What went wrong with stamps and sizes, over all cameras."""
        sessions = self._sessions.values()
        return {
            "backward_stamps": sum(s.backward_stamps for s in sessions),
            "size_changes": sum(s.resets for s in sessions),
        }

    def step(self, seen: Frame | Observation) -> list[Attention]:
        """Takes a frame in; gives one attention a prompt, in the order of the prompts."""
        observation = seen if isinstance(seen, Observation) else Observation(seen)
        session = self._session(observation.frame.camera)
        box = self._readout.closer(observation.frame, len(self._prompts))
        readings = session.step(observation, box)
        self.network_s = session.network_s
        return [
            self._readout.read(
                observation,
                raw,
                prompt=self._prompts[n],
                prompt_index=n,
                prompt_id=self._prompt_ids[n],
                model=self.model.package.name,
                weights=self.model.package.weights_id,
            )
            for n, raw in enumerate(readings)
        ]

    def set_prompts(self, prompts: Sequence[str]) -> None:
        """Changes what is looked for from the next frame on; prompts that stay keep their state.

        Raises:
            UsageError: a prompt is empty, too long or not UTF-8; nothing was changed.
        """
        prompts = [checked_prompt(prompt) for prompt in prompts]
        ids = []
        for n, prompt in enumerate(prompts):
            stays = n < len(self._prompts) and self._prompts[n] == prompt
            ids.append(self._prompt_ids[n] if stays else self._next_id)
            self._next_id += not stays
        self._prompts, self._prompt_ids = tuple(prompts), tuple(ids)
        for session in self._sessions.values():
            session.set_prompts(self._prompts)
        self._say_doubts()

    def reset(self) -> None:
        """Forgets everything that was seen; ids of targets stay used."""
        for session in self._sessions.values():
            session.reset()
        self._readout.reset()

    def state(self) -> dict[str, Any]:
        """A copy of everything that lives across frames, for `restore`."""
        return {
            "prompts": self._prompts,
            "prompt_ids": self._prompt_ids,
            "next_id": self._next_id,
            "sessions": {camera: session.state() for camera, session in self._sessions.items()},
            "readout": self._readout.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken, with the same maps bit for bit."""
        self._prompts, self._prompt_ids = tuple(state["prompts"]), tuple(state["prompt_ids"])
        self._next_id = state["next_id"]
        self._sessions = {}
        for camera, saved in state["sessions"].items():
            self._session(camera).restore(saved)
        self._readout.restore(state["readout"])
        self._say_doubts()

    def _say_doubts(self) -> None:
        said, self.doubts = self.doubts, self.model.doubts(self._prompts)
        for line in self.doubts:
            if line not in said:
                logger.warning("%s", line)

    def _session(self, camera: str) -> Session:
        if camera not in self._sessions:
            backend, pixels = self.model.backend, self.model.config.pixels
            self._sessions[camera] = Session(
                backend, self._prompts, pixels, self.model.embed, looks=self.model.gaze.foveate
            )
        return self._sessions[camera]


def load(
    name: str = "nano",
    *,
    engine: str = "auto",
    precision: str = "auto",
    text: str = "table",
    threads: int = 1,
) -> Model:
    """Loads a network.

    Args:
        name: a packaged network, or the path of a weights file.
        engine: auto (the fastest that is installed), onnx, openvino or eager.
        precision: auto, f32 or bf16.
        text: what reads prompts, table or sentence (pip install aam-edge[text]).
        threads: of the network, at least 1.

    Raises:
        UsageError, ModelError: with one line that says what to do.
    """
    checked: dict[str, Any] = {"precision": precision, "text": text}  # by whoever takes them
    return Model(ModelConfig(name=name, engine=engine, threads=threads, **checked))
