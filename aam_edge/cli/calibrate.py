"""`aam-edge calibrate`: measures lens, sound delay and gyro of a camera, and writes them down."""

from __future__ import annotations

import argparse
import json
import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from aam_edge.cli.parser import add_step, show_steps
from aam_edge.errors import UsageError

if TYPE_CHECKING:
    from aam_edge.calibrate.board import Board
    from aam_edge.calibrate.gather import Gatherer
    from aam_edge.calibrate.lens import Calibration
    from aam_edge.config import SourceConfig

logger = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  aam-edge calibrate camera --camera 0 --chessboard 9x6 --square 0.025 --out front.yaml
  aam-edge calibrate sync claps.mp4
  aam-edge calibrate imu --camera turning.mp4 --gyro gyro.csv --calibration front.yaml
"""
CAMERA_EPILOG = """\
examples:
  aam-edge calibrate camera --camera 0 --chessboard 9x6 --square 0.025 --out front.yaml
  aam-edge calibrate camera --camera photos/ --charuco 7x5 --square 0.04 --marker 0.03 \\
      --model fisheye --out front.yaml

A live camera is shown on the page with the corners that were found; it stops by itself once the
board was seen in 25 ways all over the picture, or with Ctrl-C. Then: aam-edge --calibration FILE"""
SYNC_EPILOG = """\
example:
  aam-edge calibrate sync claps.mp4

The offset goes into --set source.sound_offset_ms=... of the stream."""
IMU_EPILOG = """\
example:
  aam-edge calibrate imu --camera turning.mp4 --gyro gyro.csv --calibration front.yaml

gyro.csv begins with time_s,wx,wy,wz (seconds since the first picture, rad/s) or time_ns,wx,wy,wz
(UNIX); or it is a recording (.mcap) with an Imu topic. Then:
  aam-edge --calibration front.yaml --set ego.gyro=gyro.csv --set ego.imu=imu.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the three calibrations."""
    show_steps(parser, EXAMPLES)
    steps = parser.add_subparsers(title="steps", metavar="STEP", dest="step", required=True)
    _add_camera(_child(steps, "camera", "lens, from pictures of a board", CAMERA_EPILOG))
    _add_sync(_child(steps, "sync", "delay of the sound, from claps or flashes", SYNC_EPILOG))
    _add_imu(_child(steps, "imu", "place of a gyro, from a turning camera", IMU_EPILOG))


def _child(
    steps: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str, epilog: str
) -> argparse.ArgumentParser:
    child = add_step(steps, name, words, epilog)
    child.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return child


def _add_camera(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--camera", metavar="SPEC", required=True, help="camera, video or folder of photos")
    board = parser.add_mutually_exclusive_group(required=True)
    board.add_argument("--chessboard", metavar="CxR", help="inner corners, such as 9x6")
    board.add_argument("--charuco", metavar="CxR", help="squares, such as 7x5")
    add("--square", metavar="M", type=float, default=0.025, help="side, metres (%(default)s)")
    add("--marker", metavar="M", type=float, help="side of a ChArUco marker (3/4 of a square)")
    add("--dictionary", metavar="NAME", default="4X4_50", help="of markers (%(default)s)")
    models = "pinhole: 5 coefficients; rational: 8, wide lenses; fisheye (%(default)s)"
    add("--model", choices=("pinhole", "rational", "fisheye"), default="pinhole", help=models)
    add("--name", help="of the camera, in the file (from --camera)")
    add("--out", metavar="FILE", type=Path, help="ROS camera_calibration YAML (NAME.yaml)")
    add("--picture", metavar="FILE", type=Path, help="picture of all corners found")
    add("--page", metavar="HOST:PORT", help="live page (127.0.0.1:8088 for cameras, else none)")
    add("--size", metavar="WxH", help="asked of a camera")
    add("--fps", metavar="N", type=float, help="asked of a camera")
    add("--pixel-format", metavar="F", help="four letters asked of a camera")


def _add_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="VIDEO", type=Path, help="with claps or flashes")
    words = "what is seen in the picture (%(default)s)"
    parser.add_argument("--by", choices=("auto", "flash", "clap"), default="auto", help=words)


def _add_imu(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--camera", metavar="SPEC", required=True, help="video of a camera that turns")
    add(
        "--gyro",
        metavar="FILE",
        type=Path,
        required=True,
        help="CSV: time_s,wx,wy,wz; or a recording",
    )
    add("--calibration", metavar="FILE", type=Path, required=True, help="of the camera's lens")
    add("--out", metavar="FILE", type=Path, default=Path("imu.yaml"), help="(%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Runs the calibration that is asked for."""
    steps = {"camera": run_camera, "sync": run_sync, "imu": run_imu}
    steps[options.step](options)
    return 0


def run_camera(options: argparse.Namespace) -> None:
    """Looks for the board, fits the lens, writes the file."""
    from aam_edge.calibrate.camera import gather, is_folder, named_frames
    from aam_edge.calibrate.coverage import CoveragePage
    from aam_edge.calibrate.gather import Gatherer, check_found
    from aam_edge.calibrate.lens import LEAST_VIEWS, MODELS, calibrate_lens
    from aam_edge.camera_yaml import write_camera_yaml
    from aam_edge.sources.catalog import camera_name, device_path

    model = MODELS[options.model]
    board = board_of(options)
    gatherer = Gatherer(takes_all=is_folder(options.camera))
    listen = options.page or ("127.0.0.1:8088" if device_path(options.camera) else "none")
    with ExitStack() as open_things:
        page = None if listen == "none" else open_things.enter_context(CoveragePage(listen))
        gather(named_frames(options.camera, _source(options)), board, gatherer, page)
    asked = f"looked for {options.chessboard or options.charuco}"
    check_found(gatherer, options.camera, asked, LEAST_VIEWS[model])
    name = options.name or camera_name(options.camera)
    calibration = calibrate_lens(gatherer.views, model, name)
    out = options.out or Path(f"{name}.yaml")
    write_camera_yaml(calibration.intrinsics, out)
    if options.picture:
        _write_picture(gatherer, options.picture)
    report = camera_report(calibration, gatherer)
    _say(report | {"file": str(out)}, options.json, camera_lines(calibration, gatherer, out))


def board_of(options: argparse.Namespace) -> Board:
    """The board that the options describe."""
    from aam_edge.calibrate.board import Charuco, Chessboard

    text = options.chessboard or options.charuco
    match = re.fullmatch(r"([0-9]{1,2})x([0-9]{1,2})", text.lower())
    columns, rows = (int(side) for side in match.groups()) if match else (0, 0)
    if min(columns, rows) < 3:
        raise UsageError("board is wrong", text, "give columns x rows of at least 3, such as 9x6")
    if not 0 < options.square < 10:
        raise UsageError("square is wrong", options.square, "give its side in metres, 0.025")
    if options.chessboard:
        return Chessboard(columns, rows, options.square)
    marker_m = 0.75 * options.square if options.marker is None else options.marker
    charuco = Charuco(columns, rows, options.square, marker_m, options.dictionary)
    charuco.check()
    return charuco


def _source(options: argparse.Namespace) -> SourceConfig:
    from aam_edge.config import SourceConfig

    return SourceConfig(
        size=options.size,
        fps=options.fps,
        pixel_format=options.pixel_format,
        pace="every",
        mic="none",
    )


def _write_picture(gatherer: Gatherer, path: Path) -> None:
    import cv2
    import numpy as np

    from aam_edge.calibrate.coverage import drawn

    width, height = gatherer.views[0].size
    canvas = drawn(np.full((height, width, 3), 40, np.uint8), gatherer.views, None)
    try:
        is_written = cv2.imwrite(str(path), canvas)
    except cv2.error:
        is_written = False
    if not is_written:
        raise UsageError("picture cannot be written", path, "choose another --picture, as .png")


def camera_report(calibration: Calibration, gatherer: Gatherer) -> dict[str, object]:
    """The result as plain values."""
    lens = calibration.intrinsics
    return {
        "size": list(lens.size),
        "model": lens.model,
        "camera_matrix": lens.matrix.tolist(),
        "distortion": lens.distortion.tolist(),
        "reprojection_error_px": lens.error_px,
        "focal_error_px": calibration.focal_error_px,
        "views": len(gatherer.views),
        "pictures": gatherer.pictures,
        "other_size": gatherer.other_size,
        "covered": gatherer.covered_part(),
        "bad_views": [name for name, _ in calibration.bad_views(gatherer.views)],
    }


def camera_lines(calibration: Calibration, gatherer: Gatherer, out: Path) -> list[str]:
    """The result for a person: coverage, errors, what to do better."""
    from aam_edge.calibrate.coverage import coverage_text

    lens = calibration.intrinsics
    spread = calibration.focal_error_px
    focal = ", ".join(f"{px:.1f}" for px in lens.focal_px)
    focal += "" if spread is None else f" (+- {spread:.1f})"
    covered = gatherer.covered_part()
    lines = [
        f"board seen in {len(gatherer.views)} of {gatherer.pictures} pictures; where:",
        *coverage_text(gatherer.coverage()),
        f"focal length  {focal} px",
        f"centre        {lens.matrix[0, 2]:.1f}, {lens.matrix[1, 2]:.1f} px",
        f"{lens.model}  {', '.join(f'{value:.5f}' for value in lens.distortion)}",
        f"reprojection error {lens.error_px:.3f} px, {covered:.0%} of the picture covered",
    ]
    if gatherer.other_size:
        lines.append(f"{gatherer.other_size} pictures of another size were left out")
    for name, error in calibration.bad_views(gatherer.views):
        lines.append(f"{name} fits badly ({error:.2f} px): look at it, or leave it out")
    if covered < 0.5:
        lines.append("much of the picture is not covered: the lens is a guess there")
    return [*lines, f"written to {out}"]


def run_sync(options: argparse.Namespace) -> None:
    """Finds the offset of the sound in a recording."""
    from aam_edge.calibrate.sync import find_offset
    from aam_edge.calibrate.sync_reading import read_signals
    from aam_edge.messages import SOUND_RATE_HZ

    signals, samples = read_signals(options.recording)
    found = find_offset(signals, samples, SOUND_RATE_HZ, options.by)
    offset_ms, error_ms = 1e3 * found.offset_s, 1e3 * found.error_s
    side = "after" if offset_ms >= 0 else "before"
    report = {"sound_offset_ms": offset_ms, "error_ms": error_ms, "events": found.events}
    lines = [
        f"sound is stamped {abs(offset_ms):.0f} ms {side} the picture"
        f" (+- {error_ms:.0f} ms, {found.events} {found.by} events)",
        f"use it with --set source.sound_offset_ms={offset_ms:.0f}",
    ]
    _say(report | {"by": found.by}, options.json, lines)


def run_imu(options: argparse.Namespace) -> None:
    """Fits gyro and picture of a camera that turns."""
    import numpy as np

    from aam_edge.calibrate.camera import named_frames
    from aam_edge.calibrate.imu import camera_turns, fit_imu
    from aam_edge.camera_yaml import read_camera_yaml
    from aam_edge.config import SourceConfig
    from aam_edge.ego.catalog import read_gyro
    from aam_edge.ego.imu_yaml import write_imu_yaml

    lens = read_camera_yaml(options.calibration)
    log = read_gyro(options.gyro)
    frames = named_frames(options.camera, SourceConfig(pace="every", mic="none"))
    fit = fit_imu(camera_turns((frame for _, frame in frames), lens), log)
    residual = f"residual {np.degrees(fit.residual_rad_s):.2f} deg/s over {fit.turns} frame pairs"
    write_imu_yaml(fit.mount, options.out, [residual])
    mount = fit.mount
    report = {
        "camera_from_imu": mount.camera_from_imu.tolist(),
        "time_offset_s": mount.time_offset_s,
        "gyro_bias_rad_s": mount.bias.tolist(),
        "residual_rad_s": fit.residual_rad_s,
        "turns": fit.turns,
        "missing": fit.missing,
        "file": str(options.out),
    }
    lines = ["camera_from_imu"]
    lines += ["  " + " ".join(f"{value:8.4f}" for value in row) for row in mount.camera_from_imu]
    lines += [f"time offset {1e3 * mount.time_offset_s:.1f} ms, added to the gyro's time"]
    lines += [residual]
    lines += [f"frame pairs without gyro: {fit.missing}"] if fit.missing else []
    _say(report, options.json, [*lines, f"written to {options.out}"])


def _say(report: dict[str, object], as_json: bool, lines: list[str]) -> None:
    print(json.dumps(report) if as_json else "\n".join(lines))
