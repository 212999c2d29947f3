"""What past releases wrote is read by this one; golden files by tools/make_release_golden.

The networks are the graphs that were released, with thinned weights; the recording was written by
the first program that could record, with the second of them.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import aam_edge
from aam_edge.engine.catalog import open_backend
from aam_edge.errors import ModelError
from aam_edge.messages import Attention, Image
from tests.conftest import scene
from tests.program import free_endpoint, run
from tests.recordings import densities, maps_of, stream

GOLDEN = Path(__file__).parent / "golden"
RELEASES = ("0.1", "0.2")
RECORDING = GOLDEN / "release-0.2.mcap"
PROMPTS = ("free viewing", "search for cup")
FRAMES = 5


def network(release: str, folder: Path) -> str:
    """A released network, unpacked."""
    with zipfile.ZipFile(GOLDEN / f"release-{release}.zip") as archive:
        archive.extractall(folder)
    return str(folder / "nano.safetensors")


def check_map(attention: Attention) -> None:
    density = attention.density.astype(np.float64)
    assert abs(density.sum() - 1) < 1e-3
    assert density.min() >= 0
    assert density.max() > 1.5 / density.size  # it looks somewhere


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_network_of_a_past_release_opens_and_looks(
    release: str, engine: str, tmp_path: Path
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    model = aam_edge.load(network(release, tmp_path), engine=engine)
    picture: Image = scene(3)
    check_map(model.predict(picture))
    later = list(model.stream().step(aam_edge.Frame(picture, 1, "test", 0)))
    assert len(later) == 1


def test_first_network_follows_no_prompt_and_says_no_presence(tmp_path: Path) -> None:
    model = aam_edge.load(network("0.1", tmp_path), engine="onnx")
    free, search = (model.predict(scene(3), prompt=prompt) for prompt in PROMPTS)
    assert free.density.tobytes() == search.density.tobytes()
    assert search.presence is None


def test_engine_without_the_first_format_says_which_have_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = aam_edge.load(network("0.1", tmp_path), engine="onnx").package
    with pytest.raises(ModelError, match=r"weights of format 1 \(eager\): take --engine onnx or"):
        open_backend(package, "eager")


def test_maps_of_the_first_recording_are_read() -> None:
    maps = maps_of(RECORDING)
    assert [m.prompt for m in maps] == list(PROMPTS) * FRAMES
    for attention in maps:
        check_map(attention)


def test_pictures_of_the_first_recording_give_the_same_maps_again(tmp_path: Path) -> None:
    done = run("replay", str(RECORDING), "--model", network("0.2", tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert sum(row["maps"] for row in rows) == len(PROMPTS) * FRAMES
    # Not to the bit: another ONNX Runtime or processor adds up in another order.
    assert all(row["cc_least"] > 0.999 and row["shift_px_p95"] < 2 for row in rows)


def test_first_recording_is_a_camera_and_plays_through_this_network() -> None:
    kept, _ = stream(str(RECORDING))
    assert len(kept.attentions) >= FRAMES
    for attention in kept.attentions:
        check_map(attention)


def test_first_recording_is_published_again() -> None:
    done = run("replay", str(RECORDING), "--pub", free_endpoint(), "--rate", "20", "--wait", "0")
    assert done.returncode == 0, done.stderr


def test_first_recording_without_its_end_is_made_whole(tmp_path: Path) -> None:
    torn, whole = tmp_path / "torn.mcap", tmp_path / "whole.mcap"
    torn.write_bytes(RECORDING.read_bytes()[:-2000])
    done = run("replay", str(torn), "--repair", "--out", str(whole))
    assert done.returncode == 0, done.stderr
    again = densities(maps_of(whole))
    assert again
    assert again == densities(maps_of(RECORDING))[: len(again)]
