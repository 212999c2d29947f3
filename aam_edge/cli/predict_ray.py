"""`aam-edge predict --ray`: the same results, made by many workers (Ray Data).

Each worker has a network of its own; a recording or video is one job of one worker, frame after
frame, so order and state are those of the plain run. Photos go in runs of some. Workers write maps
into --out, which all machines must see; table rows and records of a job lie below OUT/.ray until
all is done, and are then put together in the order of the inputs. A run that was stopped or killed
goes on: jobs of the same inputs and settings that are done are not done again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import aam_edge
from aam_edge.cli.predict_items import Item
from aam_edge.cli.predict_writer import Outputs, Writer, refused
from aam_edge.cli.progress import Progress
from aam_edge.engine.catalog import choose_engine
from aam_edge.engine.package import find_package
from aam_edge.errors import SinkError, SourceError, UsageError
from aam_edge.model_api import load

PARTS = ".ray"
PHOTOS_A_JOB = 32
OBJECT_STORE_BYTES = 100_000_000
"""Ray's shared memory; nothing but numbers goes through it."""
START_ATTEMPTS = 3
GPU_ENGINES = ("compiled", "tensorrt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all workers are told."""

    model: str
    engine: str
    prompts: tuple[str, ...]
    outputs: Outputs
    workers: int | None = None
    address: str | None = None
    """Of a running Ray; None starts one here."""

    @property
    def parts(self) -> Path:
        """Where jobs leave what is put together in the end."""
        return self.outputs.out / PARTS


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does at a time."""

    number: int
    key: str
    """Of its inputs and of all settings."""
    items: tuple[Item, ...]

    def file(self, task: Task, suffix: str) -> Path:
        """A part of its results."""
        return task.parts / f"{self.number:06d}-{self.key}{suffix}"


def predict_with_ray(items: Sequence[Item], task: Task, progress: Progress) -> int:
    """Predicts all items; says in the end how it went; returns the exit code.

    Raises:
        UsageError: Ray is not installed.
        ModelError, SinkError: as the plain run.
        SourceError: nothing could be read.
    """
    ray = _ray()
    package = find_package(task.model)
    if task.address is None:
        load(task.model, engine=task.engine).close()  # a fault is said here, in one line
    jobs = list(make_jobs(items, task, package.weights_id))
    done = [job for job in jobs if job.file(task, ".json").exists()]
    if done and not progress.is_quiet:
        progress.say(f"jobs that were done before: {len(done)} of {len(jobs)}")
    for job in done:
        _count(progress, job, _told(job, task))
    try:
        _run_rest(ray, [job for job in jobs if job not in done], task, progress)
    except KeyboardInterrupt:
        progress.say(f"stopped, maps: {progress.maps}; the same command goes on")
        return 0
    return _finish(items, jobs, task, progress)


def make_jobs(items: Sequence[Item], task: Task, weights: str) -> Iterator[Job]:
    """Videos one by one, photos in runs; inputs that are not there are no jobs."""
    together: list[list[Item]] = []
    for item in (item for item in items if item.problem is None):
        last = together[-1] if together else []
        if item.is_photo and last and last[0].is_photo and len(last) < PHOTOS_A_JOB:
            last.append(item)
        else:
            together.append([item])
    outputs = {name: str(value) for name, value in asdict(task.outputs).items()}
    settings = [aam_edge.__version__, weights, task.engine, *task.prompts, outputs]
    for number, group in enumerate(together):
        told = json.dumps([settings, [[str(i.name), *_stamp(i.spec)] for i in group]])
        yield Job(number, hashlib.sha256(told.encode()).hexdigest()[:16], tuple(group))


def _stamp(spec: str) -> list[Any]:
    """What tells whether an input is still the same."""
    path = Path(spec)
    known = path.stat() if path.exists() else None
    return [spec, known.st_size, known.st_mtime_ns] if known else [spec]


class Worker:
    """A network and what it does; Ray keeps one for each core or GPU."""

    def __init__(self, jobs: Sequence[Job], task: Task):
        self._jobs = {job.number: job for job in jobs}
        self._task = task
        self._model = load(task.model, engine=task.engine)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does job `number`; its `.json` is written when all else of it is."""
        job = self._jobs[int(row["number"])]
        try:
            told = self._do(job)
            part = job.file(self._task, ".part")
            part.write_text(json.dumps(told))
            part.replace(job.file(self._task, ".json"))
        except SinkError as problem:
            return {"number": job.number, "refused": [problem.what, str(problem.value)]}
        except OSError as problem:
            return {"number": job.number, "refused": [str(problem), str(self._task.parts)]}
        return {"number": job.number, "refused": None}

    def _do(self, job: Job) -> dict[str, Any]:
        from aam_edge.cli.predict import predictions

        wanted, maps, problems = self._task.outputs, 0, list[str]()
        table = None if wanted.csv is None else job.file(self._task, ".csv")
        with (
            job.file(self._task, ".jsonl").open("w") as said,
            Writer(replace(wanted, csv=table), said) as writer,
        ):
            for item in job.items:
                with suppressed_into(problems):
                    for prediction in predictions(self._model, item, self._task.prompts):
                        writer.write(prediction)
                        maps += 1
        return {"maps": maps, "problems": problems}


@contextmanager
def suppressed_into(problems: list[str]) -> Iterator[None]:
    """Notes what cannot be read (further), and goes on behind."""
    try:
        yield
    except SourceError as problem:
        problems.append(str(problem))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        importlib.import_module("pyarrow")
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as problem:
        lacking, todo = problem.name or problem, "pip install aam-edge[ray]"
        raise UsageError("predict --ray needs a library", lacking, todo) from problem
    return ray


def _run_rest(ray: Any, jobs: list[Job], task: Task, progress: Progress) -> None:
    """Has Ray do the jobs, in any order."""
    if not jobs:
        return
    try:
        task.parts.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise refused(task.parts, problem) from problem
    _connect(ray, task, len(jobs))
    try:
        by_number = {job.number: job for job in jobs}
        for row in _dataset(ray, jobs, task).iter_rows():
            if row["refused"] is not None:
                what, value = row["refused"]
                raise SinkError(what, value, "make room, or choose another --out")
            job = by_number[int(row["number"])]
            _count(progress, job, _told(job, task))
    finally:
        ray.shutdown()


def _connect(ray: Any, task: Task, jobs: int) -> None:
    if task.address is not None:
        try:
            ray.init(address=task.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as problem:
            todo = "start one with ray start --head, or leave --ray-address out"
            raise UsageError("Ray cannot be reached", task.address, todo) from problem
        return
    cores = min(task.workers or os.cpu_count() or 1, jobs)
    for _ in range(START_ATTEMPTS):
        fault = _start(ray, cores)
        if fault is None:
            return
    todo = "try again on a machine that is less busy, or leave --ray out"
    raise UsageError("Ray did not start", fault, todo)


def _start(ray: Any, cores: int) -> Exception | None:
    """Starts Ray here; why it did not start. A busy machine can take longer than it waits."""
    try:
        ray.init(
            num_cpus=cores + 1,  # one for Ray Data itself
            object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False,
            log_to_driver=False, logging_level="CRITICAL",
        )  # fmt: skip
    except Exception as problem:  # noqa: BLE001 - Ray's own is of no narrower kind
        ray.shutdown()
        return problem
    return None


def _dataset(ray: Any, jobs: list[Job], task: Task) -> Any:
    """Rows of `number` and `refused`, one a job that is done."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    engine = choose_engine() if task.engine == "auto" else task.engine
    gpus = 1 if engine in GPU_ENGINES else 0
    there = ray.cluster_resources()
    own = int(there.get("GPU", 0)) if gpus else max(1, int(there.get("CPU", 1)) - 1)
    workers = max(1, min(task.workers or own, len(jobs)))
    rows = [{"number": job.number} for job in jobs]
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(jobs, task),
        num_cpus=1,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


def _told(job: Job, task: Task) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(job.file(task, ".json").read_text())
    return told


def _count(progress: Progress, job: Job, told: dict[str, Any]) -> None:
    for _ in range(told["maps"]):
        progress.add_map()
    for _ in job.items:
        progress.add_file()


def _finish(items: Sequence[Item], jobs: list[Job], task: Task, progress: Progress) -> int:
    """Puts the parts together in the order of the inputs, says what was left out, and clears up."""
    problems = [str(item.problem) for item in items if item.problem is not None]
    problems += [problem for job in jobs for problem in _told(job, task)["problems"]]
    for problem in problems:
        progress.say(f"aam-edge: skipped: {problem}")
    if not progress.maps:
        raise SourceError(
            "nothing could be read", f"{len(problems)} skipped", "see the lines above"
        )
    if task.outputs.csv is not None:
        _join_tables(task.outputs.csv, jobs, task)
    if task.outputs.json:
        for job in jobs:
            sys.stdout.write(job.file(task, ".jsonl").read_text())
    shutil.rmtree(task.parts, ignore_errors=True)
    if problems or not progress.is_quiet:
        counts = f"maps: {progress.maps}, files: {len(items) - len(problems)}"
        progress.say(f"{counts}, skipped: {len(problems)} ({progress.rate_hz:.1f} maps/s)")
    return 0


def _join_tables(table: Path, jobs: list[Job], task: Task) -> None:
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("wb") as file:
            for job in jobs:
                with job.file(task, ".csv").open("rb") as part:
                    headings = part.readline()
                    file.write(headings if job is jobs[0] else b"")
                    shutil.copyfileobj(part, file)
    except OSError as problem:
        raise refused(table, problem) from problem
