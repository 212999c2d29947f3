"""rerun's own library reads back what was logged; it is large, so it may be missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aam_edge.config import NetConfig, ViewConfig
from aam_edge.errors import SinkError
from aam_edge.sinks.viewer import Seen
from tests.browser import HEALTH
from tests.recordings import stream
from tests.test_viewers import seen

pytestmark = pytest.mark.slow
pytest.importorskip("rerun", reason="rerun is not installed: pip install rerun-sdk")


def test_file_holds_pictures_maps_and_targets(tmp_path: Path) -> None:
    from aam_edge.sinks.rerun import RerunViewer

    path = tmp_path / "run.rrd"
    viewer = RerunViewer(ViewConfig(rerun=str(path)), NetConfig())
    for k in range(5):
        frame, attentions = seen("left", k)
        viewer.show(Seen(frame, tuple(attentions)))
    viewer.report(HEALTH)
    viewer.close()
    command = [sys.executable, "-m", "rerun", "rrd", "print", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for entity in ("left/image", "left/image/attention", "left/image/targets", "warnings"):
        assert f"/{entity}" in shown
    assert "/left/image/prompt_1/gaze" in shown


def test_viewer_of_another_machine_and_folder_that_is_not_there_are_refused(
    tmp_path: Path,
) -> None:
    from aam_edge.sinks.rerun import RerunViewer

    with pytest.raises(SinkError, match="viewer would be open to the network"):
        RerunViewer(ViewConfig(rerun="10.0.0.1:9876"), NetConfig())
    with pytest.raises(SinkError, match="rerun's file cannot be written"):
        RerunViewer(ViewConfig(rerun=str(tmp_path / "no" / "run.rrd")), NetConfig())


def test_recording_is_opened_by_rerun_as_it_is(tmp_path: Path) -> None:
    recorded, converted = tmp_path / "run.mcap", tmp_path / "run.rrd"
    stream("synthetic", {"record.file": str(recorded), "frames": 3, "source.mic": "none"})
    command = [sys.executable, "-m", "rerun", "mcap", "convert", str(recorded)]
    subprocess.run([*command, "-o", str(converted)], capture_output=True, check=True)
    command = [sys.executable, "-m", "rerun", "rrd", "print", str(converted)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for topic in ("image/compressed", "targets", "gaze", "attention/compressed"):
        assert f"/aam/{topic}" in shown
