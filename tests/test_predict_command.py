"""`aam-edge predict` with the packaged network on real files."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from aam_edge.cli import predict
from aam_edge.cli.main import build_parser
from aam_edge.cli.predict_items import list_items
from aam_edge.errors import SinkError, SourceError, UsageError
from aam_edge.messages import Frame
from aam_edge.model_api import load

COMMAND = [sys.executable, "-m", "aam_edge.cli.main", "predict"]


@pytest.fixture
def photos(tmp_path: Path, moving_frame: Callable[[int], Frame]) -> Path:
    """photos/a.jpg, photos/a.png and photos/below/b.jpg."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "a.png", "below/b.jpg")):
        cv2.imwrite(str(folder / name), moving_frame(20 * number).image)
    return folder


@pytest.fixture
def clip(tmp_path: Path, moving_frame: Callable[[int], Frame]) -> Path:
    """Eight frames at 25 frames a second."""
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    for number in range(8):
        video.write(moving_frame(number).image)
    video.release()
    return path


def command(*words: str | Path) -> int:
    return predict.run(build_parser().parse_args(["predict", *map(str, words)]))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_folder_keeps_its_tree_and_names_never_collide(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(photos, "--out", out, "--maps", "both", "--overlays") == 0
    stems = ("a.jpg", "a.png", "below/b.jpg")
    kinds = (".npy", ".map.png", ".overlay.jpg")
    assert tree(out) == {f"photos/{stem}{kind}" for stem in stems for kind in kinds}


def test_map_file_is_the_density_that_the_network_gives_for_the_photo_alone(
    photos: Path, tmp_path: Path
) -> None:
    """No photo remembers the one before."""
    out = tmp_path / "out"
    command(photos, "--out", out, "--maps", "both", "--overlays")
    model = load("nano")
    try:
        alone = model.predict(photos / "below" / "b.jpg")
    finally:
        model.close()
    density = np.load(out / "photos" / "below" / "b.jpg.npy")
    assert density.dtype == np.float32
    assert density.shape == (56, 72)
    assert density.sum() == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(density, alone.density)
    scaled = cv2.imread(str(out / "photos" / "below" / "b.jpg.map.png"), cv2.IMREAD_UNCHANGED)
    assert scaled is not None
    assert scaled.dtype == np.uint16
    assert scaled.max() == 65535
    np.testing.assert_allclose(scaled / 65535, density / density.max(), atol=1e-5)
    overlay = cv2.imread(str(out / "photos" / "below" / "b.jpg.overlay.jpg"))
    photo = cv2.imread(str(photos / "below" / "b.jpg"))
    assert overlay is not None
    assert photo is not None
    assert overlay.shape == photo.shape
    cell = np.unravel_index(int(density.argmax()), density.shape)
    part = (np.array(cell) + 0.5) / density.shape
    row, column = (part * photo.shape[:2]).astype(int)
    change = np.abs(overlay.astype(int) - photo).sum(axis=2)
    assert change[row, column] > 100  # the peak is painted over


def test_video_runs_as_a_stream_with_every_frame_and_its_time(clip: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "tables" / "targets.csv"
    assert command(clip, "--out", out, "--csv", table) == 0
    assert tree(out) == {f"clip.avi/{number:06d}.npy" for number in range(8)}
    found = rows(table)
    times_s = {int(row["frame"]): float(row["time_s"]) for row in found}
    assert times_s == {number: pytest.approx(number / 25, abs=1e-3) for number in range(8)}
    assert {row["file"] for row in found} == {str(clip)}
    for number in range(8):
        ranks = [int(row["rank"]) for row in found if int(row["frame"]) == number]
        assert ranks in ([0], list(range(1, len(ranks) + 1)))
    still, last = np.load(out / "clip.avi" / "000000.npy"), np.load(out / "clip.avi" / "000007.npy")
    assert not np.array_equal(still, last)


def test_table_holds_the_targets_of_the_messages(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "targets.csv"
    command(photos / "a.png", "--maps", "none", "--csv", table)
    model = load("nano")
    try:
        attention = model.predict(photos / "a.png")
    finally:
        model.close()
    found = rows(table)
    assert len(found) == max(1, len(attention.targets))
    for row, target in zip(found, attention.targets, strict=False):
        wanted = [target.x, target.y, target.sigma_px]
        assert [float(row[k]) for k in ("x", "y", "sigma_px")] == pytest.approx(wanted, abs=0.01)
        assert float(row["score"]) == pytest.approx(target.score, abs=1e-4)
        assert float(row["entropy"]) == pytest.approx(attention.entropy, abs=1e-3)
        assert row["prompt"] == "free viewing"
    assert tree(tmp_path) == {"targets.csv", "photos/a.jpg", "photos/a.png", "photos/below/b.jpg"}


def test_each_prompt_has_files_and_records_of_its_own(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prompts = ("--prompt", "free viewing", "--prompt", "search for cup")
    assert command(photos / "a.jpg", *prompts, "--out", out, "--json") == 0
    assert tree(out) == {"a.jpg.p0.npy", "a.jpg.p1.npy"}
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["prompt"] for record in records] == ["free viewing", "search for cup"]
    assert [record["map"] for record in records] == [
        str(out / "a.jpg.p0.npy"),
        str(out / "a.jpg.p1.npy"),
    ]
    assert all(record["image"] == [640, 480] for record in records)


def test_broken_photo_is_named_and_counted_and_the_rest_goes_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "empty.png").write_bytes(b"")
    (photos / "notes.txt").write_text("no photo, and not asked for")
    out = tmp_path / "out"
    assert command(photos, tmp_path / "missing.jpg", "--out", out) == 0
    assert len(tree(out)) == 3
    lines = capsys.readouterr().err.splitlines()
    skipped = [line for line in lines if line.startswith("aam-edge: skipped: ")]
    assert len(skipped) == 3
    for line, name in zip(skipped, ("broken.jpg", "empty.png", "missing.jpg"), strict=True):
        assert name in line
    assert lines[-1].startswith("maps: 3, files: 3, skipped: 3 (")


def test_odd_photos_are_predicted(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (4000, 40, 4), np.uint8)
    cv2.imwrite(str(folder / "one.png"), noise[:1, :1, :3])
    cv2.imwrite(str(folder / "grey.png"), noise[:300, :, 0])
    cv2.imwrite(str(folder / "rgba.png"), noise[:200])
    cv2.imwrite(str(folder / "deep.png"), noise[:40, :, :3].astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "tall.png"), noise[:, :, :3])
    assert (
        command(folder, "--out", tmp_path / "out", "--overlays", "--csv", tmp_path / "t.csv") == 0
    )
    assert len(tree(tmp_path / "out")) == 10


def test_results_are_not_taken_for_photos_the_next_time(photos: Path) -> None:
    out = photos / "out"
    command(photos, "--out", out, "--overlays", "--maps", "none")
    first = tree(out)
    command(photos, "--out", out, "--overlays", "--maps", "none")
    assert tree(out) == first
    assert len(first) == 3


def test_inputs_of_one_name_get_numbers(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder / "in").mkdir(parents=True)
        (tmp_path / folder / "in" / "a.jpg").touch()
        (tmp_path / folder / "in" / "a10.jpg").touch()
        (tmp_path / folder / "in" / "a9.jpg").touch()
    inputs = [str(tmp_path / "x" / "in"), str(tmp_path / "y" / "in"), str(tmp_path / "y/in/a.jpg")]
    names = [str(item.name) for item in list_items(inputs, tmp_path / "out")]
    in_order = ["a9.jpg", "a10.jpg", "a.jpg"]
    assert names == [
        *(f"in/{name}" for name in in_order),
        *(f"in-2/{name}" for name in in_order),
        "a.jpg",
    ]


def test_nothing_readable_is_an_error_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero.mp4").touch()
    with pytest.raises(SourceError) as nothing:
        command(tmp_path / "folder", tmp_path / "missing.jpg", tmp_path / "zero.mp4")
    assert str(nothing.value) == "nothing could be read (3 skipped): see the lines above"
    assert nothing.value.exit_code == 3


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        (["--maps", "none"], UsageError, "nothing would be made"),
        (["--prompt", " "], UsageError, "prompt is empty"),
        (["--out", "{photo}"], SinkError, "result cannot be written"),
        (["--csv", "{photo}/t.csv"], SinkError, "result cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    photos: Path, words: list[str], kind: type[Exception], sentence: str
) -> None:
    photo = photos / "a.jpg"
    with pytest.raises(kind, match=sentence) as problem:
        command(photo, *(word.format(photo=photo) for word in words))
    assert "\n" not in str(problem.value)


def test_stopping_keeps_what_is_made_and_exits_cleanly(clip: Path, tmp_path: Path) -> None:
    """A second of clip, many times over, so that it is surely at work when it is told to stop."""
    words = [
        *COMMAND,
        *[str(clip)] * 200,
        "--maps",
        "none",
        "--csv",
        str(tmp_path / "t.csv"),
        "--json",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        first = json.loads(run.stdout.readline())
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=20)
    assert run.returncode == 0
    assert "stopped, maps: " in errors
    assert "Traceback" not in errors
    assert rows(tmp_path / "t.csv")[0]["file"] == first["file"] == str(clip)


def test_exit_code_and_line_of_an_unreadable_photo(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    words = [*COMMAND, str(tmp_path / "broken.jpg"), "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert "broken.jpg" in lines[0]
    assert all(line.startswith("aam-edge: ") for line in lines)
    assert done.stdout == ""
