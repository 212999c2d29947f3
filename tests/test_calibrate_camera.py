"""`aam-edge calibrate camera`: boards seen by known lenses, real ones, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession

from aam_edge.calibrate.board import Board, Charuco, Chessboard, View
from aam_edge.calibrate.camera import gather, named_frames
from aam_edge.calibrate.coverage import CoveragePage, coverage_text, refuse
from aam_edge.calibrate.gather import Gatherer, is_still
from aam_edge.calibrate.lens import calibrate_lens
from aam_edge.camera_yaml import read_camera_yaml
from aam_edge.cli.main import main
from aam_edge.config import SourceConfig
from aam_edge.intrinsics import FISHEYE, Intrinsics
from aam_edge.messages import Frame, Image
from tests.page_client import picture, run
from tests.views import board_seen, pinhole

CHESSBOARD = Chessboard(9, 6, 0.025)
CHARUCO = Charuco(7, 5, 0.04, 0.03)
REAL = pinhole().matrix
LENSES = {
    "pinhole": Intrinsics((640, 480), REAL, "plumb_bob", np.array([-0.25, 0.08, 1e-3, -1e-3, 0])),
    "fisheye": Intrinsics(
        (640, 480),
        np.array([[310.0, 0, 322], [0, 309, 238], [0, 0, 1]]),
        FISHEYE,
        np.array([-0.02, 0.008, -0.004, 0.0005]),
    ),
}


def chessboard_texture() -> tuple[Image, float]:
    """A print of CHESSBOARD with a white border, and its width in metres."""
    squares = np.kron(np.indices((7, 10)).sum(axis=0) % 2, np.ones((40, 40)))
    page = np.pad(np.where(squares > 0, 255, 0), 40, constant_values=255)
    return np.repeat(page[:, :, None], 3, axis=2).astype(np.uint8), 12 * 0.025


def charuco_texture() -> tuple[Image, float]:
    page = CHARUCO.board.generateImage((840, 600))
    return np.repeat(page[:, :, None], 3, axis=2).astype(np.uint8), 7 * 0.04


def boards_seen(lens: Intrinsics, texture: Image, width_m: float, count: int) -> Iterator[Image]:
    """The board in many ways: all over the picture, near and far, tilted."""
    rng = np.random.default_rng(5)
    for k in range(count):
        turn = rng.uniform(-0.5, 0.5, 3)
        place = rng.uniform((-0.35, -0.3), (0.35, 0.3))
        depth = width_m * lens.focal_px[0] / rng.uniform(230, 380)
        x, y = (place * (640, 480)) / lens.focal_px[0] * depth * (k > 0)
        image = board_seen(lens, texture, width_m, turn, np.array([x, y, depth]))
        noise = rng.normal(0, 2, image.shape)
        yield np.clip(cv2.GaussianBlur(image, (3, 3), 0.7) + noise, 0, 255).astype(np.uint8)


def write_folder(folder: Path, images: Iterator[Image]) -> Path:
    folder.mkdir()
    for k, image in enumerate(images):
        cv2.imwrite(str(folder / f"{k}.png"), image)
    return folder


@pytest.mark.parametrize("model", ["pinhole", "fisheye"])
def test_lens_that_took_the_chessboards_is_found(model: str, tmp_path: Path) -> None:
    lens = LENSES[model]
    folder = write_folder(tmp_path / "front", boards_seen(lens, *chessboard_texture(), 24))
    out = tmp_path / "out.yaml"
    asked = ["--camera", str(folder), "--chessboard", "9x6", "--model", model, "--out", str(out)]
    assert main(["calibrate", "camera", *asked]) == 0
    found = read_camera_yaml(out)
    assert (found.size, found.model, found.camera) == ((640, 480), lens.model, "front")
    np.testing.assert_allclose(found.focal_px, lens.focal_px, rtol=0.005)
    np.testing.assert_allclose(found.matrix[:2, 2], lens.matrix[:2, 2], atol=2)
    assert found.error_px is not None
    assert 0 < found.error_px < 0.3
    # What counts: the same rays, within a tenth of a degree where boards were seen.
    points = np.array([[150.0, 120], [320, 240], [500, 360], [180, 380]])
    across = np.cross(found.rays(points), lens.rays(points))
    assert np.degrees(np.linalg.norm(across, axis=1)).max() < 0.1


def test_lens_is_found_with_a_charuco_board_that_is_partly_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lens = LENSES["pinhole"]
    folder = write_folder(tmp_path / "front", boards_seen(lens, *charuco_texture(), 20))
    out, picture = tmp_path / "out.yaml", tmp_path / "corners.png"
    board = ["--charuco", "7x5", "--square", "0.04", "--marker", "0.03"]
    files = ["--camera", str(folder), "--out", str(out), "--picture", str(picture)]
    assert main(["calibrate", "camera", *files, *board, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["focal_error_px"] < 3
    assert report["views"] >= 15
    assert (report["file"], report["bad_views"]) == (str(out), [])
    np.testing.assert_allclose(read_camera_yaml(out).focal_px, lens.focal_px, rtol=0.01)
    corners = cv2.imread(str(picture))
    assert corners is not None
    assert corners.shape == (480, 640, 3)


def test_real_chessboards_give_what_opencv_found_within_a_hundredth(
    shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "left"
    folder.mkdir()
    for file in (shared / "media" / "calibration").glob("left*.jpg"):
        shutil.copy(file, folder)
    out = tmp_path / "left.yaml"
    asked = ["--camera", str(folder), "--chessboard", "9x6", "--square", "0.025"]
    assert main(["calibrate", "camera", *asked, "--out", str(out)]) == 0
    theirs = cv2.FileStorage(
        str(shared / "media" / "calibration" / "left_intrinsics.yml"), cv2.FILE_STORAGE_READ
    )
    found = read_camera_yaml(out)
    matrix = theirs.getNode("camera_matrix").mat()
    assert matrix is not None
    for place in ((0, 0), (1, 1), (0, 2), (1, 2)):
        assert found.matrix[place] == pytest.approx(matrix[place], rel=0.01)
    assert found.error_px is not None
    assert found.error_px < theirs.getNode("avg_reprojection_error").real()


def test_view_that_fits_badly_is_named() -> None:
    views = list(views_of(CHESSBOARD, boards_seen(LENSES["pinhole"], *chessboard_texture(), 12)))
    wrong = views[4].corners + np.random.default_rng(0).normal(0, 4, views[4].corners.shape)
    views[4] = View("wrong.png", views[4].size, views[4].places, wrong)
    bad = calibrate_lens(views, "plumb_bob", "front").bad_views(views)
    assert [name for name, _ in bad] == ["wrong.png"]


def views_of(board: Board, images: Iterator[Image]) -> Iterator[View]:
    for k, image in enumerate(images):
        view = board.find(image, f"{k}.png")
        if view is not None:
            yield view


def test_of_a_video_only_still_and_new_boards_are_kept() -> None:
    texture, width_m = chessboard_texture()
    lens = LENSES["pinhole"]
    gatherer = Gatherer(takes_all=False)
    kept = []
    # Held still, moved fast, held still elsewhere.
    for x in (0.0, 0.0, 0.0, 0.03, 0.06, 0.09, 0.12, 0.12, 0.12):
        middle = np.array([x, 0, 0.5])
        image = board_seen(lens, texture, width_m, np.array([0.2, 0.1, 0]), middle)
        kept.append(gatherer.offer(lens.size, CHESSBOARD.find(image, "")))
    assert kept == [False, True, False, False, False, False, False, True, False]
    assert not is_still(gatherer.views[0], gatherer.views[1])
    text = coverage_text(gatherer.coverage())
    assert len(text) == 10
    assert any("#" in line or "+" in line[1:-1] for line in text[1:-1])
    assert 0.05 < gatherer.covered_part() < 0.6


def test_ctrl_c_ends_the_looking_and_keeps_what_was_found() -> None:
    def frames() -> Iterator[tuple[str, Frame]]:
        for k, image in enumerate(boards_seen(LENSES["pinhole"], *chessboard_texture(), 3)):
            yield f"{k}", Frame(image, k, "0", k)
        raise KeyboardInterrupt

    gatherer = Gatherer(takes_all=True)
    gather(frames(), CHESSBOARD, gatherer, None)
    assert len(gatherer.views) == 3


def test_page_shows_the_picture_with_what_was_covered() -> None:
    gatherer = Gatherer(takes_all=True)
    with CoveragePage("127.0.0.1:0") as page:

        async def look(session: ClientSession) -> None:
            async with session.ws_connect(f"{page.url}ws") as ws:
                shown = await picture(ws)
            assert shown["attention"]["prompt"].startswith("calibrating: 2 views")
            cells = np.frombuffer(shown["cells"], np.uint8).reshape(shown["map"])
            assert ((cells > 25) == (gatherer.coverage() > 1)).mean() > 0.95
            seen = cv2.imdecode(np.frombuffer(shown["jpeg"], np.uint8), cv2.IMREAD_COLOR)
            assert seen is not None
            assert seen.shape == (480, 640, 3)

        for k, image in enumerate(boards_seen(LENSES["pinhole"], *chessboard_texture(), 2)):
            view = CHESSBOARD.find(image, "")
            gatherer.offer((640, 480), view)
            page.show(Frame(image, k + 1, "0", k), gatherer, view)
        run(look)
    assert refuse({"cmd": "reset"})["ok"] is False


def test_broken_photo_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "front", boards_seen(pinhole(), *chessboard_texture(), 2))
    (folder / "broken.png").write_bytes(b"no picture")
    names = [name for name, _ in named_frames(str(folder), SourceConfig())]
    assert names == ["0.png", "1.png"]
    assert "broken.png" in caplog.text


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of a board."""
    folder = tmp_path_factory.mktemp("few") / "front"
    return write_folder(folder, boards_seen(pinhole(), *chessboard_texture(), 3))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--chessboard", "7x4"], 6, "board was never seen"),
        (["--chessboard", "9x6"], 6, "board was seen in 2 ways only"),
        (["--chessboard", "nine"], 2, "board is wrong (nine)"),
        (["--chessboard", "9x6", "--square", "25"], 2, "square is wrong"),
        (["--charuco", "7x5", "--dictionary", "5x9"], 2, "no such dictionary of markers (5x9)"),
        (["--charuco", "7x5", "--marker", "0.1"], 2, "marker does not fit its square"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    few: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # An image of a plain wall, so that a smaller board is not found inside the larger one.
    camera = few if "7x4" not in arguments else wall_folder(few.parent)
    assert main(["--quiet", "calibrate", "camera", "--camera", str(camera), *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def wall_folder(beside: Path) -> Path:
    folder = beside / "wall"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "0.png"), np.full((480, 640, 3), 90, np.uint8))
    return folder


def test_pictures_of_several_sizes_are_refused(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(few, folder)
    for k in range(3):
        picture = cv2.imread(str(folder / f"{k}.png"))
        assert picture is not None
        cv2.imwrite(str(folder / f"small{k}.png"), cv2.resize(picture, (320, 240)))
        if k < 2:
            (folder / f"{k}.png").unlink()
    asked = ["--camera", str(folder), "--chessboard", "9x6"]
    assert main(["--quiet", "calibrate", "camera", *asked]) == 6
    assert "pictures are of several sizes" in capsys.readouterr().err


def test_folder_without_pictures_and_no_source_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for spec, words in ((str(tmp_path), "folder has no pictures"), ("gone", "no such camera")):
        assert main(["calibrate", "camera", "--camera", spec, "--chessboard", "9x6"]) == 3
        assert words in capsys.readouterr().err
