"""rerun's own library reads back what was logged; it is large, so it may be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aam_edge.config import NetConfig, ViewConfig
from aam_edge.errors import SinkError
from aam_edge.sinks.viewer import Seen
from tests.browser import HEALTH
from tests.test_viewers import seen

pytestmark = pytest.mark.slow
rerun = pytest.importorskip("rerun", reason="rerun is not installed: pip install rerun-sdk")


def test_file_holds_pictures_maps_and_targets(tmp_path: Path) -> None:
    from aam_edge.sinks.rerun import RerunViewer

    path = tmp_path / "run.rrd"
    viewer = RerunViewer(ViewConfig(rerun=str(path)), NetConfig())
    for k in range(5):
        frame, attentions = seen("left", k)
        viewer.show(Seen(frame, tuple(attentions)))
    viewer.report(HEALTH)
    viewer.close()
    read = rerun.recording.load_recording(str(path))
    paths = {column.entity_path for column in read.schema().component_columns()}
    assert {"/left/image", "/left/image/attention", "/left/image/targets"} <= paths
    assert "/left/image/prompt_1/gaze" in paths


def test_viewer_of_another_machine_and_folder_that_is_not_there_are_refused(
    tmp_path: Path,
) -> None:
    from aam_edge.sinks.rerun import RerunViewer

    with pytest.raises(SinkError, match="viewer would be open to the network"):
        RerunViewer(ViewConfig(rerun="10.0.0.1:9876"), NetConfig())
    with pytest.raises(SinkError, match="rerun's file cannot be written"):
        RerunViewer(ViewConfig(rerun=str(tmp_path / "no" / "run.rrd")), NetConfig())
