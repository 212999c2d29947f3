"""The trainer: reads gaze sets, learns, goes on after an interruption, exports what engines run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnx", reason="needs the extra [train]")

from aam_edge.engine.catalog import open_backend
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.errors import DataError
from aam_edge.messages import Frame, Observation
from aam_edge.model.native.decoder import Film
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model_api import load
from aam_edge.training.average import average_weights
from aam_edge.training.data import read_gaze_set
from aam_edge.training.evaluate import GAZE_SETS, evaluate, stills
from aam_edge.training.export import export_network, load_weights
from aam_edge.training.fit import Example, FitConfig, Fitting, batches
from tests.conftest import START_NS, scene


@pytest.fixture
def gaze_set(tmp_path: Path) -> Path:
    """Eight photos of a disc; three people look at it."""
    folder = tmp_path / "discs"
    (folder / "images").mkdir(parents=True)
    ids = [f"p{i}" for i in range(8)]
    trials: list[int] = []
    fixations: list[tuple[float, ...]] = []
    for i, name in enumerate(ids):
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), scene(10 * i, 320, 240))
        for observer in range(3):
            for order in range(4):
                x = ((60 + 60 * i) % 320 + 5 * observer) / 320
                fixations.append((len(trials), order, x % 1, 0.5 + 0.01 * order))
            trials.append(i)
    trial, order, x, y = np.array(fixations).T
    np.savez(
        folder / "fixations.npz",
        image_id=np.array(ids), image_size=np.full((8, 2), (320, 240)), sigma=np.full(8, 0.03),
        trial_image=np.array(trials), trial_box=np.full((len(trials), 4), np.nan),
        trial=trial.astype(int), order=order.astype(int), x=x, y=y,
    )  # fmt: skip
    (folder / "splits.json").write_text(json.dumps({"train": ids[:6], "val": ids[6:]}))
    return folder


def test_gaze_set_is_read(gaze_set: Path) -> None:
    photos = read_gaze_set(gaze_set, "train")
    assert len(photos) == 6
    assert photos[0].points.shape == (12, 2)
    assert photos[0].grid() == (96, 128)
    assert photos[0].density((96, 128)).sum() == pytest.approx(1)
    assert photos[0].image().shape == (240, 320, 3)


def test_broken_gaze_set_is_one_line(gaze_set: Path) -> None:
    (gaze_set / "splits.json").write_text("{")
    with pytest.raises(DataError, match="gaze set cannot be read"):
        read_gaze_set(gaze_set, "train")
    (gaze_set / "fixations.npz").write_bytes(b"PK\3\4 not an archive")
    with pytest.raises(DataError, match="gaze set cannot be read"):
        read_gaze_set(gaze_set, "train")


def test_interrupted_run_goes_on_with_the_same_losses(gaze_set: Path, tmp_path: Path) -> None:
    config = FitConfig(epochs=4, batch=3, warm_up_epochs=1)
    examples = [Example(photo, photo.image()) for photo in read_gaze_set(gaze_set, "train")]

    whole = Fitting(config, steps_per_epoch=2)
    first = whole.run_epoch(examples)
    whole.save(tmp_path / "last.pt")
    second = whole.run_epoch(examples)
    resumed = Fitting(config, steps_per_epoch=2)
    resumed.restore(tmp_path / "last.pt")
    assert resumed.run_epoch(examples) == second
    assert all(np.isfinite(first + second))


def test_fitting_lowers_the_loss(gaze_set: Path) -> None:
    config = FitConfig(epochs=8, batch=6, warm_up_epochs=1, smallest_crop=0.999)
    examples = [Example(photo, photo.image()) for photo in read_gaze_set(gaze_set, "train")]
    fitting = Fitting(config, steps_per_epoch=1)
    losses = [fitting.step(*batch) for e in range(8) for batch in batches(examples, config, e)]
    assert min(losses[-3:]) < losses[0] - 0.3


def test_run_starts_from_the_mean_of_others(gaze_set: Path, tmp_path: Path) -> None:
    config = FitConfig(epochs=2, batch=3, warm_up_epochs=1)
    examples = [Example(photo, photo.image()) for photo in read_gaze_set(gaze_set, "train")]
    for name in ("a", "b"):
        fitting = Fitting(config, steps_per_epoch=2)
        if name == "b":
            fitting.run_epoch(examples)
        fitting.save(tmp_path / f"{name}.pt")
    mean = average_weights([tmp_path / "a.pt", tmp_path / "b.pt"])
    runs = [torch.load(tmp_path / f"{name}.pt", weights_only=True)["average"] for name in "ab"]
    weight = "decoder.head.weight"
    assert not torch.equal(runs[0][weight], runs[1][weight])
    torch.testing.assert_close(mean[weight], (runs[0][weight] + runs[1][weight]) / 2)
    torch.save({"average": mean, "epoch": 1}, tmp_path / "mean.pt")
    third = Fitting(config, steps_per_epoch=2)
    third.load_start(tmp_path / "mean.pt")
    torch.testing.assert_close(third.network.state_dict()[weight], mean[weight])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_exported_network_is_the_trained_one_in_every_engine(tmp_path: Path) -> None:
    torch.manual_seed(1)
    export_network(NativeNetwork().eval(), "fresh", tmp_path, {"follows_prompts": False})
    package = find_package(str(tmp_path / "fresh.json"))
    network = NativeNetwork().eval()
    load_weights(network, package.tensors)
    for engine in ("onnx", "eager"):
        session = Session(open_backend(package, engine), ["a", "b"])
        state = network.init_state(1, 2, 192, 256)
        for i in range(3):
            frame = Frame(scene(i), START_NS + i * 40_000_000, "test", i)
            readings = session.step(Observation(frame))
            image = cv2.resize(scene(i), (256, 192), interpolation=cv2.INTER_AREA)
            dt_s = torch.tensor([0.04 if i else 0.0])
            with torch.no_grad():
                expected, _, state = network.step(
                    torch.from_numpy(image)[None], torch.zeros(1, 2, 128), dt_s, state
                )
            for n in (0, 1):
                np.testing.assert_allclose(readings[n].density, expected[0, n], atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_network_that_follows_prompts_is_told_them(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = NativeNetwork().eval()
    for film in network.decoder.films:
        assert isinstance(film, Film)
        torch.nn.init.normal_(film.to_gain_shift.weight, std=0.5)
    export_network(network, "asked", tmp_path, {"follows_prompts": True})
    model = load(str(tmp_path / "asked.json"), engine="onnx")
    cup, again, dog = (model.predict(scene(3), f"search for {x}") for x in ("cup", "cup", "dog"))
    np.testing.assert_array_equal(cup.density, again.density)
    assert np.abs(cup.density - dog.density).sum() > 1e-3
    stream = model.stream(["search for cup", "search for dog"])
    both = stream.step(Frame(scene(3), START_NS, "test", 0))
    np.testing.assert_allclose(both[0].density, cup.density, atol=1e-7)
    np.testing.assert_allclose(both[1].density, dog.density, atol=1e-7)
    stream.set_prompts(["search for dog", "search for cup"])
    turned = stream.step(Frame(scene(3), START_NS, "other", 0))
    np.testing.assert_allclose(turned[0].density, dog.density, atol=1e-7)


@pytest.mark.slow
def test_packaged_nano_reaches_its_figures(shared: Path) -> None:
    predictor = stills(Session(open_backend(find_package("nano"), "onnx"), ["free viewing"]))
    least = {"osie": 0.80, "eyecrowd": 0.77, "scene500": 0.735}
    for name in GAZE_SETS:
        scores = evaluate(predictor, read_gaze_set(shared / "data" / name, "val"))
        assert scores["CC"] >= least[name]
