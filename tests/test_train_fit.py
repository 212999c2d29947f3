"""`aam-edge train fit`: a run on somebody's own gaze, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("lightning_fabric", reason="needs the extra [train]")
pytest.importorskip("webdataset", reason="needs the extra [train]")

from aam_edge.cli.main import main
from aam_edge.errors import UsageError
from aam_edge.settings import load_settings
from aam_edge.training.export import assembled
from aam_edge.training.run.settings import RunConfig
from aam_edge.training.run.trainer import fit
from tests import corpus_trees as trees
from tests.train_runs import Silent, config_of, log_of, losses_of, options_of, settings_of

EXAMPLES = sorted((Path(__file__).parent.parent / "configs" / "train").glob("*.yaml"))


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.native_set(tmp_path_factory.mktemp("own") / "discs")


@pytest.fixture(scope="module")
def done(discs: Path) -> tuple[Path, Silent]:
    """A run of 2 epochs, two batches of photos and two of clips each."""
    out, watcher = discs.parent / "run", Silent()
    config = config_of(f"native:{discs}", out, "save.tensorboard=true", "sound.after_epochs=1")
    fit(config, watcher)
    return out, watcher


def test_run_leaves_checkpoint_log_and_report(done: tuple[Path, Silent]) -> None:
    out, watcher = done
    lines = log_of(out)
    assert [line["steps"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [set(line["val"]) for line in lines if "val" in line] == [{"discs"}] * 2
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    assert {"gaze", "variance", "hae"} <= set(lines[0]["parts"])
    assert set(lines[1]["parts"]) == {"clips"}
    assert watcher.lines[-1] == f"report: {out / 'report.html'}"
    assert [told.steps for told in watcher.told] == list(range(1, 9))
    assert list(out.glob("events.out.tfevents.*"))
    assert sorted(path.suffix for path in out.iterdir() if path.suffix == ".part") == []


def test_checkpoint_holds_the_settings_and_is_what_export_reads(
    done: tuple[Path, Silent], discs: Path
) -> None:
    whole = torch.load(done[0] / "last.pt", weights_only=True)
    assert whole["config"]["data"]["sets"] == [f"native:{discs}"]
    assert (whole["epoch"], whole["step"], whole["steps"]) == (2, 0, 8)
    network = assembled(done[0] / "last.pt", None)
    torch.testing.assert_close(network.decoder.head.weight, whole["average"]["decoder.head.weight"])
    assert not torch.equal(network.decoder.head.weight, whole["network"]["decoder.head.weight"])


def test_report_needs_no_other_file(done: tuple[Path, Silent]) -> None:
    page = (done[0] / "report.html").read_text()
    for words in ("<svg", "loss: gaze", "validation: CC", "<td>discs</td>", "Best photos"):
        assert words in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page


def test_run_that_is_done_is_done(
    done: tuple[Path, Silent], discs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = losses_of(done[0])
    more = ("save.tensorboard=true", "sound.after_epochs=1")
    assert main(options_of(f"native:{discs}", done[0], *more)) == 0
    assert "after 8 of 8 steps" in capsys.readouterr().err
    assert losses_of(done[0]) == before


@pytest.mark.slow
def test_run_in_half_precision_has_nearly_the_losses_of_single(
    done: tuple[Path, Silent], discs: Path, tmp_path: Path
) -> None:
    """As GPUs do by default; densities and prompts stay whole, so only the body differs."""
    config = config_of(f"native:{discs}", tmp_path, "epochs=1", "devices.precision=bf16")
    fit(config, Silent())
    found, whole = losses_of(tmp_path), losses_of(done[0])
    assert len(found) == 4
    for (_, half), (_, single) in zip(found, whole, strict=False):
        assert half == pytest.approx(single, rel=0.05, abs=0.05)
    assert found[0] != whole[0]


def test_run_learns(discs: Path, tmp_path: Path) -> None:
    more = ("start=random", "epochs=6", "clips.every=0", "optimiser.learning_rate=0.003")
    fit(config_of(f"native:{discs}", tmp_path, *more, "drawing.word_noise=0"), Silent())
    gaze = [parts["gaze"] for _, parts in losses_of(tmp_path)]
    assert np.mean(gaze[-3:]) < np.mean(gaze[:3]) - 0.15


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_settings_load_and_run(path: Path, discs: Path, tmp_path: Path) -> None:
    assert f"--config configs/train/{path.name}" in path.read_text()
    config = load_settings(RunConfig, path, ["data.sets=OSIE"])
    assert config != RunConfig(data=config.data)
    watcher = Silent()
    watcher.wants_stop = True  # after one step
    sets = settings_of(f"native:{discs}", tmp_path, "data.val=[]", "start=nano")
    fit(load_settings(RunConfig, path, sets), watcher)
    assert len(watcher.told) == 1


def test_list_tells_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fit", "--list"]) == 0
    told = capsys.readouterr().out
    for key in ("drawing.batch", "clips.span", "devices.strategy", "lora.rank", "loss.contrast"):
        assert f"\n{key} " in told


@pytest.mark.parametrize(
    ("sets", "code", "words"),
    [
        (
            ["drawing.bach=2"],
            2,
            "unknown setting (drawing.bach, --set): did you mean drawing.batch?",
        ),
        (["epochs=many"], 2, "setting has the wrong type (epochs='many'): give a whole number"),
        (
            ["devices.strategy=zip"],
            2,
            "setting has no such value (devices.strategy=zip): give auto",
        ),
        (["data.sets=[]"], 2, "nothing to learn from (data.sets is empty): give --set data.sets="),
        (["data.sets=OSI"], 6, "unknown data set (OSI): did you mean OSIE?"),
        (["data.sets=zip:here"], 6, "unknown layout (zip): known are native"),
        (["data.sets=native:no/where"], 6, "folder of the data set is missing (native:no/where"),
        (["model.size=huge"], 2, "unknown network (model.size=huge): give"),
        (["model.without=glue"], 2, "unknown piece of the decoder (model.without=glue): give"),
        (["start=no.pt"], 4, "checkpoint is not there (no.pt): check the path"),
        (
            ["lora.rank=4"],
            2,
            "no layer takes a low-rank update (qkv, proj): it has no linear layers",
        ),
        (["distil.teacher=nona"], 4, "unknown model (nona): give one of"),
    ],
)
def test_mistakes_are_one_line(
    sets: list[str], code: int, words: str, discs: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(options_of(f"native:{discs}", tmp_path / "out", *sets)) == code
    said = capsys.readouterr().err
    assert said.startswith(f"aam-edge: {words}")
    assert said.count("\n") == 1


def test_gpu_that_is_not_there_is_one_line(discs: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = config_of(f"native:{discs}", tmp_path, "devices.accelerator=gpu")
    with pytest.raises(UsageError, match="no GPU is found"):
        fit(config, Silent())


def test_photos_nobody_looked_at_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    discs = trees.native_set(tmp_path / "discs")
    with np.load(discs / "fixations.npz") as archive:
        table = {name: archive[name] for name in archive.files}
    for name in ("trial", "order", "x", "y"):
        table[name] = table[name][:0]
    np.savez(discs / "fixations.npz", **table)
    assert main([*options_of(f"native:{discs}", tmp_path / "out"), "--quiet"]) == 6
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("aam-edge: data set is empty, 3 skipped (native:")


def test_checkpoint_of_another_network_is_one_line(
    done: tuple[Path, Silent], discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = torch.load(done[0] / "last.pt", weights_only=True)
    wide = whole["network"] | {"decoder.head.weight": torch.zeros(3, 3, 1, 1)}
    size = whole["config"] | {"model": whole["config"]["model"] | {"size": "l"}}
    cases = {
        "checkpoint is of another network": whole | {"network": wide},
        "checkpoint is of another network (": whole | {"config": size},
        "file is no checkpoint of a fit": {"weights": 1},
        "checkpoint is of another format": whole | {"format": 99},
    }
    for words, content in cases.items():
        torch.save(content, tmp_path / "last.pt")
        assert main(options_of(f"native:{discs}", tmp_path)) == 4
        assert capsys.readouterr().err.startswith(f"aam-edge: {words}")
    (tmp_path / "last.pt").write_bytes(b"PK\3\4 half a file")
    assert main(options_of(f"native:{discs}", tmp_path)) == 4
    assert "checkpoint cannot be read" in capsys.readouterr().err
    torch.save({"average": wide}, tmp_path / "other.pt")
    start = f"start={tmp_path / 'other.pt'}"
    assert main(options_of(f"native:{discs}", tmp_path / "new", start)) == 4
    assert "weights are of another network" in capsys.readouterr().err


def run_command(*options: str, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """`aam-edge` in a process of its own; files of it cannot grow beyond `most_bytes`, which the
    system refuses as it does on a full disk."""

    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, "-m", "aam_edge.cli.main", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=800, check=False, preexec_fn=limit
    )


@pytest.mark.timeout(300)
def test_disk_that_fills_up_leaves_the_previous_checkpoint(
    done: tuple[Path, Silent], discs: Path, tmp_path: Path
) -> None:
    kept = (done[0] / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(kept)
    more = ("epochs=4", "clips.every=0", "data.val=none")
    ended = run_command(*options_of(f"native:{discs}", tmp_path, *more), most_bytes=2_000_000)
    assert ended.returncode == 6, ended.stderr
    # Said at the end of the third epoch, and the run went on to the fourth.
    words = (
        r"checkpoint cannot be written, File too large \(.*make room; the one before it is whole"
    )
    assert len(re.findall(words, ended.stderr)) == 2, ended.stderr
    assert (tmp_path / "last.pt").read_bytes() == kept
    assert not (tmp_path / "last.part").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_run_goes_on_with_the_same_losses(discs: Path, tmp_path: Path) -> None:
    more = ("epochs=3", "save.steps=1", "data.workers=1", "model.held_epochs=1")
    spec, whole, killed = f"native:{discs}", tmp_path / "whole", tmp_path / "killed"
    assert run_command(*options_of(spec, whole, *more)).returncode == 0
    command = [sys.executable, "-m", "aam_edge.cli.main", *options_of(spec, killed, *more)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    while len(losses_of(killed) if (killed / "log.jsonl").exists() else []) < 5:
        assert process.poll() is None, process.stderr.read()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "report.html").exists()
    before = len(losses_of(killed))
    again = run_command(*options_of(spec, killed, *more))
    assert again.returncode == 0, again.stderr
    assert f"goes on from {killed / 'last.pt'}" in again.stderr
    assert 5 <= before < 12
    assert losses_of(killed) == losses_of(whole)
    ours, theirs = (torch.load(out / "last.pt", weights_only=True) for out in (whole, killed))
    for name, tensor in ours["average"].items():
        assert torch.equal(tensor, theirs["average"][name]), name


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_run_in_half_precision(discs: Path, tmp_path: Path, strategy: str) -> None:
    half = ("epochs=1", "devices.precision=bf16", "data.val=none")
    fit(config_of(f"native:{discs}", tmp_path / "one", *half), Silent())
    more = (*half, "devices.devices=2", f"devices.strategy={strategy}")
    ended = run_command(*options_of(f"native:{discs}", tmp_path / "two", *more))
    assert ended.returncode == 0, ended.stderr
    for (_, ours), (_, theirs) in zip(
        *map(losses_of, (tmp_path / "one", tmp_path / "two")), strict=True
    ):
        assert theirs == pytest.approx(ours, rel=0.05, abs=0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(discs: Path, tmp_path: Path, strategy: str) -> None:
    spec, one, two = f"native:{discs}", tmp_path / "one", tmp_path / "two"
    fit(config_of(spec, one, "epochs=1"), Silent())
    more = ("epochs=1", "devices.devices=2", f"devices.strategy={strategy}")
    ended = run_command(*options_of(spec, two, *more))
    assert ended.returncode == 0, ended.stderr
    for (step, ours), (other, theirs) in zip(losses_of(one), losses_of(two), strict=True):
        assert step == other
        assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-5)
    vals = [next(line["val"] for line in log_of(out) if "val" in line) for out in (one, two)]
    assert vals[1]["discs"]["CC"] == pytest.approx(vals[0]["discs"]["CC"], abs=1e-3)
    state = torch.load(two / "last.pt", weights_only=True)
    assert json.dumps(state["config"]["devices"]["strategy"]) == f'"{strategy}"'


def test_profile_says_where_the_time_of_steps_goes_and_leaves_nothing(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sets = options_of(f"native:{discs}", out, "clips.every=0", "data.val=none")
    assert main([*sets, "--profile", "2", "--quiet"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 steps, ")
    seconds = {line[:28].strip(): float(line[28:].split()[0]) for line in said[1:4]}
    assert list(seconds) == ["network", "waiting for batches", "rest"]
    assert seconds["network"] > 0
    assert seconds["network"] + seconds["rest"] >= 0
    assert any("aten::" in line for line in said)
    assert not out.exists()
