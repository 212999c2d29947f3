"""The loop of a run: plan, batch, step, checkpoint, validation, report.

A run is decided by its settings alone. What it draws depends on seed, epoch and place, never on a
generator that goes on from step to step, so a checkpoint needs to know no more than the place; and
it makes no difference over how many processes a batch is spread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.profiler import record_function

from aam_edge.errors import DataError, UsageError
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.sizes import VIT_SIZES
from aam_edge.training.batch import Batch
from aam_edge.training.lora import merged_state
from aam_edge.training.objective import at_least_one, divisors_of
from aam_edge.training.run import checkpoint
from aam_edge.training.run.checkpoint import Place
from aam_edge.training.run.clips import ClipBatch
from aam_edge.training.run.drawing import Drawer, Drawn, load
from aam_edge.training.run.fabric import Processes, bare
from aam_edge.training.run.history import History
from aam_edge.training.run.material import read_held, read_material
from aam_edge.training.run.networks import begun, build, read_weights, take
from aam_edge.training.run.optimise import Average, Schedule, groups_of
from aam_edge.training.run.plan import Plan, Share
from aam_edge.training.run.report import Report
from aam_edge.training.run.settings import RunConfig, as_plain
from aam_edge.training.run.student import Given, Lesson, Student, Taught
from aam_edge.training.run.validate import Observer, Validation, validate
from aam_edge.training.run.vectors import Vectors

logger = logging.getLogger(__name__)

CHECKPOINT = "last.pt"
NETWORK = "aam.network"
"""What the profiler calls forward, backward and the optimiser's step."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a step went, for whoever watches."""

    epoch: int
    steps: int
    """Done in all."""
    total: int
    loss: float
    pictures: int
    """In all processes, photos or frames."""


class Watcher(Protocol):
    """Whoever watches a run; only the first process has one that speaks."""

    def step(self, told: Told) -> None:
        """A step is done."""

    def say(self, line: str) -> None:
        """Something that happens once."""

    @property
    def wants_stop(self) -> bool:
        """The run shall save itself and end."""


class Trainer:
    """A run, from the settings to its last checkpoint."""

    def __init__(self, config: RunConfig, watcher: Watcher):
        self.config, self.watcher = config, watcher
        if config.devices.threads:
            torch.set_num_threads(config.devices.threads)
        self.processes = Processes(config.devices)
        self._check_batches()
        self.out = Path(config.out)
        _make_folder(self.out)
        self.embed = Vectors(config.model.clip if config.model.size in VIT_SIZES else None)
        self.material = read_material(config, self.embed)
        self.held = read_held(config.data)
        self.plan = Plan(config, self.material, Share(self.processes.rank, self.processes.count))
        network = begun(config, self.embed)
        # FSDP takes weights in their usual order alone; pictures are in channels_last anyway.
        if config.devices.channels_last and not self.processes.is_sharded:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        student = Student(
            network, config.loss, config.model.drop, self._lexicon(), self.material.usual(),
            self._teacher(), config.distil.share,
        )  # fmt: skip
        self.student = self.processes.fabric.setup_module(student)
        # After the module: sharding puts other tensors into it.
        optimiser = torch.optim.AdamW(groups_of(_bare(self.student), config))
        set_up: Any = self.processes.fabric.setup_optimizers(optimiser)
        self.optimiser = set_up
        self.average = Average(_bare(self.student), config.optimiser.average_decay)
        self.schedule = Schedule(self.optimiser, config, self.plan.steps)
        self.place = Place()
        self._last: Validation | None = None
        self.history = History(self.out, config, is_first=self.processes.rank == 0)

    def _check_batches(self) -> None:
        many = self.processes.count
        for name, whole in (("drawing", self.config.drawing), ("clips", self.config.clips)):
            batch = whole.batch
            if batch % many:
                value = f"{name}.batch={batch}, {many} processes"
                raise UsageError("batch cannot be divided", value, f"give a multiple of {many}")

    def _lexicon(self) -> Tensor:
        lexicon = self.material.lexicon
        return torch.zeros(0, len(self.embed("free viewing"))) if lexicon is None else lexicon

    def _teacher(self) -> NativeNetwork | None:
        name = self.config.distil.teacher
        if name is None:
            return None
        size = self.config.model.size
        if Path(name).suffix == ".pt":
            told = checkpoint.read(Path(name)).get("config", {})
            size = told.get("model", {}).get("size", size)
        teacher = build(_resized(self.config, size).model)
        take(teacher, read_weights(name), name)
        return teacher.eval().requires_grad_(False).to(self.processes.device)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps * self.config.epochs

    def run(self) -> None:
        """Runs or goes on; DataError where the last checkpoint could not be written."""
        self._resume()
        began = time.monotonic()
        saved = began
        for drawn in self.batches():
            told = self.step(drawn)
            self.watcher.step(told)
            is_last = drawn.step == self.plan.steps - 1
            wants_save = time.monotonic() - saved > 60 * self.config.save.minutes
            wants_save |= bool(self.config.save.steps) and (
                self.place.steps % (self.config.save.steps or 1) == 0
            )
            wants_stop, wants_save = self._agreed(self.watcher.wants_stop, wants_save)
            self.place.epoch, self.place.step = drawn.epoch, drawn.step + 1
            if is_last:
                self.place.epoch, self.place.step = drawn.epoch + 1, 0
                self._end_epoch(drawn.epoch + 1)
            if is_last or wants_save or wants_stop:
                self._save_or_warn(is_final=wants_stop or self.place.epoch == self.config.epochs)
                saved = time.monotonic()
            if wants_stop:
                self.watcher.say(f"stopped after {self.place.steps} of {self.total} steps")
                return
        self._report()

    def batches(self) -> Iterator[Drawn]:
        """From the place of the run on."""
        data = self.config.data
        entries = self.plan.entries(self.place.epoch, self.place.step)
        drawer = Drawer(self.config, self.material, self.embed)
        return load(drawer, entries, data.workers, data.queue)

    def _agreed(self, *wishes: bool) -> list[bool]:
        """What any process wishes, all do."""
        if self.processes.count == 1:
            return list(wishes)
        asked = torch.tensor([float(wish) for wish in wishes], device=self.processes.device)
        return [bool(wish > 0) for wish in self.processes.mean(asked)]

    def step(self, drawn: Drawn) -> Told:
        """One batch; a step of the optimiser, or one for each span of clips."""
        for name, reason in drawn.lost:
            self.material.skipped.add(name, reason)
        lesson = Lesson(
            drawn.epoch < self.config.model.held_epochs,
            drawn.epoch < self.config.loss.anchor_epochs,
        )
        rate = self.schedule.set(self.place.steps)
        batch = on_device(drawn.batch, self.processes.device)
        if isinstance(batch, ClipBatch):
            parts, pictures = self._clip_step(batch, lesson), batch.dt_s.numel()
        else:
            parts, pictures = self._photo_step(batch, lesson), len(batch.pictures)
        self.average.follow(self.place.steps)
        self.place.steps += 1
        names = list(parts)
        means = self.processes.mean(torch.stack([parts[name] for name in names]))
        losses = dict(zip(names, means.tolist(), strict=True))
        pictures *= self.processes.count
        self.history.step(drawn.epoch, self.place.steps, losses, rate, pictures)
        loss = sum(losses.values())
        return Told(drawn.epoch, self.place.steps, self.total, loss, pictures)

    def _photo_step(self, batch: Batch, lesson: Lesson) -> dict[str, Tensor]:
        absence = _bare(self.student).absence
        counts = divisors_of(batch, absence, is_warm_start=lesson.is_warm_start)
        divisors = at_least_one(self.processes.mean(counts), self.processes.count)
        return self._learn(batch, lesson, divisors).parts

    def _clip_step(self, batch: ClipBatch, lesson: Lesson) -> dict[str, Tensor]:
        """Truncated backpropagation: the state goes on from span to span, gradients do not."""
        state, losses = None, []
        for span in batch.spans(self.config.clips.span):
            taught = self._learn(span, lesson, None, state)
            state = taught.state
            losses.append(taught.parts["clips"] * span.dt_s.shape[1])
        return {"clips": torch.stack(losses).sum() / batch.dt_s.shape[1]}

    def _learn(self, *lesson: Any) -> Taught:
        """Forward, backward, one step of the optimiser."""
        with record_function(NETWORK):
            return self._moved(self.student(Given(*lesson)))

    def _moved(self, taught: Taught) -> Taught:
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.fabric.backward(taught.loss)
        student, most = _bare(self.student), self.config.optimiser.most_gradient
        self.processes.even_gradients(student)
        self.processes.clip_gradients(student, most)
        self.optimiser.step()
        return taught

    def _end_epoch(self, epoch: int) -> None:
        every = self.config.save.evaluate_every
        if not self.held or (epoch % every and epoch != self.config.epochs):
            return
        validation = self._last = self._validation()
        scores = {"epoch": epoch, "steps": self.place.steps, "val": validation.table()}
        self.place.scores.append(scores)
        self.history.scores(scores)
        self.watcher.say(f"epoch {epoch}: {validation}")

    def _validation(self) -> Validation:
        """Scores of the average, each process its photos."""
        network = self.averaged()
        parts = Share(self.processes.rank, self.processes.count)
        own = validate(network, self.held, self.embed, self.processes.device, parts)
        return Validation(self.processes.gathered(own.scores), own.search)

    def averaged(self) -> NativeNetwork:
        """The running average as a plain network."""
        network = build(self.config.model)
        network.load_state_dict(self._average_state())
        return network.eval().to(self.processes.device)

    def _average_state(self) -> dict[str, Tensor]:
        return merged_state(_network(self.student), self._follower())

    def _follower(self) -> dict[str, Tensor]:
        with self.average.worn():
            return _without_prefix(self.processes.network_state(self.student))

    def _save_or_warn(self, *, is_final: bool) -> None:
        """A full disk does not end a run before its end."""
        try:
            self._save()
        except DataError as problem:
            if is_final:
                raise
            self.watcher.say(f"aam-edge: {problem}")

    def _save(self) -> None:
        place, processes = self.place, self.processes
        follower = self._follower()
        whole: dict[str, Any] = {
            "format": checkpoint.FORMAT,
            "config": as_plain(self.config),
            "epoch": place.epoch,
            "step": place.step,
            "steps": place.steps,
            "network": _without_prefix(processes.network_state(self.student)),
            "average": merged_state(_network(self.student), follower),
            "optimiser": processes.optimiser_state(self.student, self.optimiser),
            "scores": place.scores,
        }
        if self.config.lora.rank:
            whole["follower"] = follower
        # First the log: what it has too much of is taken back, what it lacks is lost.
        self.history.flush()
        if processes.rank == 0:
            checkpoint.write(self.out / CHECKPOINT, whole)

    def _resume(self) -> None:
        path = self.out / CHECKPOINT
        if not path.exists():
            self.history.begin(0)
            return
        whole = checkpoint.read(path)
        checkpoint.check(whole, self.config.model.size, path)
        own = _network(self.student).state_dict()
        todo = "set model and lora as in its run, or give another out"
        state = checkpoint.fitted(whole["network"], own, path, todo)
        follower = whole.get("follower", whole["average"])
        self.processes.load_network(self.student, _with_prefix(follower))
        self.average.take()
        self.processes.load_network(self.student, _with_prefix(state))
        self.processes.load_optimiser(self.student, self.optimiser, whole["optimiser"])
        self.place = Place(whole["epoch"], whole["step"], whole["steps"], whole["scores"])
        self.history.begin(self.place.steps)
        self.watcher.say(f"goes on from {path} after {self.place.steps} of {self.total} steps")

    def _report(self) -> None:
        """The page, by the first process."""
        self.history.close()
        if not self.held:
            validation = None
        elif self._last is not None:
            validation = self._last
        else:  # the run was done before
            validation = self._validation()
        network = self.averaged()
        if self.processes.rank:
            return
        report = Report(
            config=self.config,
            lines=self.history.lines(),
            validation=validation,
            held=self.held,
            observer=Observer(network, self.embed, self.processes.device),
            skipped=str(self.material.skipped),
        )
        self.watcher.say(f"report: {report.write(self.out)}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DataError("folder cannot be made", out, "give another with out=DIR") from problem


def on_device(batch: Batch | ClipBatch, device: torch.device) -> Batch | ClipBatch:
    """The batch with its tensors on a device."""
    if device.type == "cpu":
        return batch
    moved = {
        f.name: getattr(batch, f.name).to(device, non_blocking=True)
        for f in fields(batch)
        if f.name != "seeds"
    }
    if isinstance(batch, Batch):
        moved["seeds"] = batch.seeds
    return type(batch)(**moved)


def _bare(student: Any) -> Student:
    found = bare(student)
    assert isinstance(found, Student)
    return found


def _network(student: Any) -> NativeNetwork:
    return _bare(student).network


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("network."): tensor for name, tensor in state.items()}


def _with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": tensor for name, tensor in state.items()}


def _resized(config: RunConfig, size: str) -> RunConfig:
    return replace(config, model=replace(config.model, size=size))


def fit(config: RunConfig, watcher: Watcher) -> None:
    """Runs what the settings say, or goes on with it."""
    Trainer(config, watcher).run()
