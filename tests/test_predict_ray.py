"""`aam-edge predict --ray`: the bytes of the plain run, whoever did what; and a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from aam_edge.cli.main import main
from aam_edge.cli.predict_items import list_items
from aam_edge.cli.predict_ray import PARTS, Job, Task, Worker, _finish, make_jobs
from aam_edge.cli.predict_writer import Outputs
from aam_edge.cli.progress import Progress
from tests.conftest import scene

ENGINE = ["--engine", "onnx"]
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from aam_edge.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder of photos, a video, one more, a broken photo and one that is not there."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "photos" / f"{i}.jpg"), scene(10 * i, 160, 120))
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    for name, first in (("a.avi", 0), ("b.avi", 30)):
        video = cv2.VideoWriter(
            str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120)
        )
        for number in range(4):
            video.write(scene(first + number, 160, 120))
        video.release()
    monkeypatch.chdir(tmp_path)
    return ["photos", "a.avi", "b.avi", "missing.jpg"]


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def plain(inputs: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, bytes], str]:
    """Files and records of the plain run."""
    words = ["--out", "out", "--csv", "out/targets.csv", "--json", "--quiet", *ENGINE]
    assert main(["predict", *inputs, *words]) == 0
    found = tree(Path("out"))
    for path in sorted(Path("out").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return found, capsys.readouterr().out


def task_of(out: Path) -> Task:
    outputs = Outputs(out=out, csv=out / "targets.csv", json=True)
    return Task(model="nano", engine="onnx", prompts=("free viewing",), outputs=outputs, workers=2)


def test_jobs_of_two_workers_in_any_order_give_the_bytes_of_the_plain_run(
    inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What Ray does, without Ray: workers take jobs as they come, one of them dies in between."""
    expected, said = plain(inputs, capsys)
    out = Path("out")
    items, task = list_items(inputs, out), task_of(out)
    jobs = list(make_jobs(items, task, "weights"))
    assert [len(job.items) for job in jobs] == [4, 1, 1]
    task.parts.mkdir(parents=True)
    first, second = Worker(jobs, task), Worker(jobs, task)
    assert first({"number": 2})["refused"] is None
    assert second({"number": 1})["refused"] is None
    jobs[0].file(task, ".csv").write_text("half of a line")  # of one who died
    assert first({"number": 0})["refused"] is None
    with Progress(len(items), is_quiet=True) as progress:
        for _ in range(11):
            progress.add_map()
        assert _finish(items, jobs, task, progress) == 0
    assert tree(out) == expected
    again = capsys.readouterr()
    assert again.out == said
    assert again.err.count("aam-edge: skipped: ") == 2
    assert not (out / PARTS).exists()


def keys(inputs: list[str], task: Task, weights: str = "weights") -> list[str]:
    def key(job: Job) -> str:
        return job.key

    return [key(job) for job in make_jobs(list_items(inputs, Path("out")), task, weights)]


def test_what_was_done_counts_for_the_same_inputs_and_settings_alone(inputs: list[str]) -> None:
    task = task_of(Path("out"))
    before = keys(inputs, task)
    assert keys(inputs, task) == before
    assert not set(keys(inputs, task, "other weights")) & set(before)
    other = Task(model="nano", engine="onnx", prompts=("search for cup",), outputs=task.outputs)
    assert not set(keys(inputs, other)) & set(before)
    more = Task(model="nano", engine="onnx", prompts=task.prompts, outputs=task.outputs, workers=7)
    assert keys(inputs, more) == before
    with Path("a.avi").open("ab") as file:
        file.write(b"longer")
    assert [a == b for a, b in zip(keys(inputs, task), before, strict=True)] == [True, False, True]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_local_ray_with_two_workers_gives_the_bytes_of_the_plain_run(
    inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow: Ray takes 10 s to start on two idle cores. A first run is killed on its way."""
    pytest.importorskip("ray", reason="needs the extra [ray]")
    expected, said = plain(inputs, capsys)
    words = [sys.executable, "-m", "aam_edge.cli.main", "predict", *inputs, "--out", "out"]
    words += ["--csv", "out/targets.csv", "--json", "--ray", "--workers", "2", *ENGINE]
    out = Path("out")
    items, task = list_items(inputs, out), task_of(out)
    jobs = list(make_jobs(items, task, package_id()))
    task.parts.mkdir(parents=True)
    assert Worker(jobs, task)({"number": 1})["refused"] is None  # by the run before
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert "jobs that were done before: 1 of 3" in done.stderr
    assert done.stdout == said
    assert tree(out) == expected


def package_id() -> str:
    from aam_edge.engine.package import find_package

    return find_package("nano").weights_id


def test_missing_ray_names_the_extra(inputs: list[str]) -> None:
    words = [sys.executable, "-c", WITHOUT_RAY, "predict", *inputs, "--ray"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    said = "predict --ray needs a library (ray): pip install aam-edge[ray]"
    assert done.stderr == f"aam-edge: {said}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--workers", "2"], "option is for Ray alone (--workers): add --ray"),
        (["--ray-address", "auto"], "option is for Ray alone (--ray-address): add --ray"),
        (["--ray", "--workers", "0"], "nobody would work (--workers 0): give 1 or more"),
    ],
)
def test_mistakes_are_one_line(
    inputs: list[str], words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *inputs, *words]) == 2
    assert capsys.readouterr().err == f"aam-edge: {line}\n"


def test_full_disk_of_a_worker_is_told(inputs: list[str]) -> None:
    out = Path("out")
    task = task_of(out)
    jobs = list(make_jobs(list_items(inputs, out), task, "weights"))
    task.parts.mkdir(parents=True)
    (out / "a.avi").touch()  # a file where the folder should be
    told = Worker(jobs, task)({"number": 1})
    assert told["refused"][0] == "result cannot be written"
    assert not jobs[1].file(task, ".json").exists()
    assert json.dumps(told)
