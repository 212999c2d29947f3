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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_edge.config import GazeConfig, ModelConfig, ReadoutConfig
from aam_edge.engine.backend import Backend
from aam_edge.engine.catalog import Engines, open_backend, open_prompts, open_released
from aam_edge.engine.package import Package, find_package
from aam_edge.engine.passes import OneByOne, Passer, Passes
from aam_edge.engine.session import Session
from aam_edge.engine.size import shrink
from aam_edge.engine.text import MAX_CHARACTERS
from aam_edge.messages import Attention, Frame, Image, Observation
from aam_edge.prompts import FREE_VIEWING, checked_prompt, shortened
from aam_edge.readout.bearings import Bearings, read_calibrations
from aam_edge.readout.readout import Readout
from aam_edge.sources.picture import read_picture

if TYPE_CHECKING:
    from aam_edge.engine.released_session import ReleasedBackend, ReleasedSession

logger = logging.getLogger(__name__)

BackendMaker = Callable[[Package, str, str, int, str, Engines], Backend]
"""Network, engine, precision, threads, device and where TensorRT engines lie to a backend."""


class Model:
    """A network in an engine. Used by one thread; streams share it."""

    def __init__(
        self,
        config: ModelConfig,
        readout: ReadoutConfig | None = None,
        gaze: GazeConfig | None = None,
        open_backend: BackendMaker = open_backend,
    ):
        """Loads the network.

        Args:
            config: which network, and on what it runs.
            readout: how targets are read from its maps.
            gaze: how the next point to look at is chosen.
            open_backend: what loads a native network into an engine, as `catalog.open_backend`.

        Raises:
            UsageError, ModelError: with one line that says what to do.
        """
        self.config = config
        self.package = find_package(config.name)
        self.readout, self.gaze = readout or ReadoutConfig(), gaze or GazeConfig()
        self._stills: Stream | None = None
        self._released: ReleasedBackend | None = None
        self.backend: Backend | ReleasedBackend
        if self.package.is_released:
            self.backend = self._released = open_released(self.package, config)
            return
        folder = None if config.engine_folder is None else Path(config.engine_folder)
        native = open_backend(
            self.package,
            config.engine,
            config.precision,
            config.threads,
            config.device,
            Engines(folder, config.build),
        )
        embed = open_prompts(self.package, config)
        self.embed = embed if self.package.follows_prompts else None
        self.backend = self._native = native

    def session(self, prompts: Sequence[str], *, stills: bool = False) -> Session | ReleasedSession:
        """One camera's stream through the network, or `stills` that have no time between them."""
        if self._released is not None:
            return self._released.session(prompts, stills=stills)
        looks = self.gaze.foveate and not stills
        return Session(self._native, prompts, self.config.pixels, self.embed, looks=looks)

    def passes(self) -> Passer:
        """What runs the steps of the sessions of one stream."""
        if self._released is not None:
            return OneByOne()
        return Passes(self._native, self.config.batch)

    def shrink(self, image: Image) -> Image:
        """The picture (H, W, 3), uint8 BGR, in the size (h, w, 3) that the network takes."""
        if self._released is not None:
            return self._released.shrink(image)
        return shrink(image, self.config.pixels)

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
            self._stills = Stream(self, [prompt], stills=True)
        self._stills.begin_anew()
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
        if self._released is not None:
            return self._released.prompts.doubts(prompts)
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a camera looks for."""

    prompts: tuple[str, ...]
    """In the order of the maps."""
    ids: tuple[int, ...]
    """One a prompt, another with each change."""


class Stream:
    """Frames in, attention out; the state lives across frames, for each camera its own."""

    def __init__(
        self,
        model: Model,
        prompts: Sequence[str],
        calibration: Sequence[str] = (),
        *,
        stills: bool = False,
    ):
        """`stills`: each frame is a picture for itself, and the state is reset between them."""
        self.model, self._are_stills = model, stills
        prompts = tuple(map(checked_prompt, prompts))
        self._asked = Asked(prompts, tuple(range(len(prompts))))
        self._asked_of: dict[str, Asked] = {}
        self._next_id = len(prompts)
        self._sessions: dict[str, Session | ReleasedSession] = {}
        self._passes = model.passes()
        self.bearings = Bearings(read_calibrations(calibration))
        self._readout = Readout(model.readout, self.bearings, model.gaze)
        self.doubts: list[str] = []
        """What will not be looked for as it was asked, a line each; also in the log, once."""
        self._say_doubts()
        self.in_pass: list[int] = []
        """How many cameras were in the pass of the network, one number a frame of the last step."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """What all cameras look for that were not asked for something else."""
        return self._asked.prompts

    def prompts_of(self, camera: str) -> tuple[str, ...]:
        """What a camera looks for, in the order of its maps."""
        return self._asked_of.get(camera, self._asked).prompts

    @property
    def network_s(self) -> float:
        """Time of the last step inside the engine."""
        return self._passes.network_s

    @property
    def counters(self) -> dict[str, int]:
        """What went wrong with stamps and sizes, over all cameras."""
        total: Counter[str] = Counter()
        for session in self._sessions.values():
            total.update(session.counters)
        return dict(total)

    def step(self, seen: Frame | Observation) -> list[Attention]:
        """Takes a frame in; gives one attention a prompt, in the order of the prompts."""
        return self.step_together([seen])[0]

    def step_together(self, seen: Sequence[Frame | Observation]) -> list[list[Attention]]:
        """Takes frames of several cameras in, through one pass of the network.

        Args:
            seen: at most one of each camera, of those that are there: nobody need wait for others.

        Returns:
            For each frame what `step` gives.
        """
        observations = [s if isinstance(s, Observation) else Observation(s) for s in seen]
        cameras = [observation.frame.camera for observation in observations]
        if len(set(cameras)) < len(cameras):
            raise ValueError(f"one frame a camera is expected, got {', '.join(cameras)}")
        sessions = [self._session(camera) for camera in cameras]
        for session, observation in zip(sessions, observations, strict=True):
            self._take_in(session, observation)
        recorded = [observation.frame.recorded for observation in observations]
        wanted = [None if its is None else its.together for its in recorded]
        self.in_pass = self._passes.run(sessions, wanted)
        return [self._read(o, s) for o, s in zip(observations, sessions, strict=True)]

    def _take_in(self, session: Session | ReleasedSession, observation: Observation) -> None:
        if isinstance(session, Session):
            prompts = len(self.prompts_of(observation.frame.camera))
            session.take_in(observation, self._readout.closer(observation.frame, prompts))
        else:
            session.take_in(observation)

    def _read(
        self, observation: Observation, session: Session | ReleasedSession
    ) -> list[Attention]:
        asked = self._asked_of.get(observation.frame.camera, self._asked)
        return [
            self._readout.read(
                observation,
                raw,
                prompt=asked.prompts[n],
                prompt_index=n,
                prompt_id=asked.ids[n],
                model=self.model.package.name,
                weights=self.model.package.weights_id,
            )
            for n, raw in enumerate(session.readings())
        ]

    def set_prompts(self, prompts: Sequence[str], camera: str | None = None) -> None:
        """Changes what is looked for from the next frame on; prompts that stay keep their state.

        Args:
            prompts: what is looked for, in English.
            camera: who looks for it; None for all.

        Raises:
            UsageError: a prompt is empty, too long or not UTF-8; nothing was changed.
        """
        prompts = [checked_prompt(prompt) for prompt in prompts]
        old = self._asked if camera is None else self._asked_of.get(camera, self._asked)
        ids = []
        for n, prompt in enumerate(prompts):
            stays = n < len(old.prompts) and old.prompts[n] == prompt
            ids.append(old.ids[n] if stays else self._next_id)
            self._next_id += not stays
        asked = Asked(tuple(prompts), tuple(ids))
        if camera is None:
            self._asked, self._asked_of = asked, {}
        else:
            self._asked_of[camera] = asked
        for name, session in self._sessions.items():
            session.set_prompts(self.prompts_of(name))
        self._say_doubts()

    def reset(self, camera: str | None = None) -> None:
        """Forgets everything that a camera has seen, or all; ids of targets stay used."""
        for name, session in self._sessions.items():
            if camera in (None, name):
                session.reset()
        self._readout.reset(camera)

    def begin_anew(self) -> None:
        """Forgets everything, the ids of targets too, as if it were a new stream."""
        self.reset()
        self._readout = Readout(self.model.readout, self.bearings, self.model.gaze)

    def state(self) -> dict[str, Any]:
        """A copy of everything that lives across frames, for `restore`."""
        return {
            "prompts": self._asked.prompts,
            "prompt_ids": self._asked.ids,
            "next_id": self._next_id,
            "asked": {
                camera: {"prompts": asked.prompts, "prompt_ids": asked.ids}
                for camera, asked in self._asked_of.items()
            },
            "sessions": {camera: session.state() for camera, session in self._sessions.items()},
            "readout": self._readout.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken, with the same maps bit for bit."""
        self._asked = _asked_in(state)
        self._asked_of = {name: _asked_in(its) for name, its in state.get("asked", {}).items()}
        self._next_id = state["next_id"]
        self._sessions = {}
        for camera, saved in state["sessions"].items():
            self._session(camera).restore(saved)
        self._readout.restore(state["readout"])
        self._say_doubts()

    def restore_camera(self, state: dict[str, Any], camera: str) -> None:
        """The same for one camera; the others are left as they are."""
        self._asked_of[camera] = _asked_in(state.get("asked", {}).get(camera, state))
        self._next_id = max(self._next_id, state["next_id"])
        self._sessions.pop(camera, None)
        if camera in state["sessions"]:
            self._session(camera).restore(state["sessions"][camera])
        self._readout.restore(state["readout"], camera)
        self._say_doubts()

    def close(self) -> None:
        """Lets the buffers go; twice is fine."""
        self._passes.close()

    def _say_doubts(self) -> None:
        asked = [self._asked, *self._asked_of.values()]
        prompts = [prompt for one in asked for prompt in one.prompts]
        said, self.doubts = self.doubts, self.model.doubts(prompts)
        for line in self.doubts:
            if line not in said:
                logger.warning("%s", line)

    def _session(self, camera: str) -> Session | ReleasedSession:
        if camera not in self._sessions:
            prompts = self.prompts_of(camera)
            self._sessions[camera] = self.model.session(prompts, stills=self._are_stills)
        return self._sessions[camera]


def _asked_in(state: dict[str, Any]) -> Asked:
    return Asked(tuple(state["prompts"]), tuple(state["prompt_ids"]))


def load(
    name: str = "nano",
    *,
    engine: str = "auto",
    precision: str = "auto",
    text: str = "table",
    threads: int = 1,
    device: str = "auto",
) -> Model:
    """Loads a network.

    Args:
        name: a packaged network, or the path of a weights file.
        engine: auto (the fastest on the CPU that is installed), onnx, openvino, eager, compiled
            or tensorrt.
        precision: auto, f32, bf16, f16 or int8 (in onnx and openvino).
        text: what reads prompts, table or sentence (pip install aam-edge[text]).
        threads: of the network, at least 1.
        device: auto, cpu, cuda or cuda:1; for eager, compiled and tensorrt.

    Raises:
        UsageError, ModelError: with one line that says what to do.
    """
    checked: dict[str, Any] = {"precision": precision, "text": text}  # by whoever takes them
    return Model(ModelConfig(name=name, engine=engine, threads=threads, device=device, **checked))
