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
