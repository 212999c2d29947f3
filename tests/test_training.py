"""Around a run: gaze sets are read, teachers tell, weights are averaged, engines run exports."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnx", reason="needs the extra [train]")

from safetensors.torch import load_file

from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import find_package
from aam_edge.engine.session import Session
from aam_edge.engine.text import TextTable
from aam_edge.errors import DataError, UsageError
from aam_edge.messages import Frame, Observation
from aam_edge.model.native.network import NativeNetwork, silent_moment
from aam_edge.model_api import load
from aam_edge.training.average import average_weights, times
from aam_edge.training.data import read_gaze_set
from aam_edge.training.evaluate import GAZE_SETS, evaluate, stills
from aam_edge.training.export import export_network, load_weights
from aam_edge.training.search_data import read_photos
from aam_edge.training.taught import read_lexicon, teach
from aam_edge.training.temper import fit, temper
from tests.conftest import START_NS, scene
from tests.test_training_data import tiny_tree

EMBED = TextTable().embed


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


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tree(tmp_path_factory.mktemp("tree"))


def test_teacher_says_how_photos_are_viewed_freely(tree: Path, tmp_path: Path) -> None:
    photos = read_photos(tree, tree / "heat.npz")
    free = np.full((len(photos), 48, 64), 9, np.uint8)
    free[2] = 0  # nothing is said of this one
    np.savez(tmp_path / "views.npz", free=free)
    teach(photos, tmp_path / "views.npz")
    taught = [photo for photo in photos if any(weight == 0.5 for *_, weight in photo.maps)]
    assert taught == photos[:2] + photos[3:]
    assert {photo.maps[-1][0] for photo in taught} == {"free viewing"}
    assert taught[0].maps[-1][1].sum() == pytest.approx(1)


def test_teacher_tells_instructions_where_it_has_a_map(tree: Path, tmp_path: Path) -> None:
    photos = read_photos(tree, tree / "heat.npz")
    instructed = np.full((len(photos), 1, 48, 64), 9, np.uint8)
    instructed[::2] = 0
    free, texts = np.full((len(photos), 48, 64), 9, np.uint8), ["count the people"]
    np.savez(tmp_path / "views.npz", free=free, instructions=texts, instructed=instructed)
    teach(photos, tmp_path / "views.npz", 0.7)
    for i, photo in enumerate(photos):
        told = [text for text, _, weight in photo.maps if weight == 0.7]
        assert told == ["free viewing"] + ["count the people"] * (i % 2)


def test_names_without_a_word_leave_lexicon_and_photos(tree: Path) -> None:
    photos = read_photos(tree, tree / "heat.npz", tree / "words.npz")
    lexicon = read_lexicon(photos, tree / "words.npz", EMBED)
    np.testing.assert_array_equal(lexicon, np.stack([EMBED("cup"), EMBED("dog")]))
    assert {len(photo.words) for photo in photos if photo.words is not None} == {2}
    assert len(read_lexicon(photos, None, EMBED)) == 0


def test_mean_of_runs_is_their_mean(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        network = NativeNetwork().state_dict()
        torch.save({"average": network, "epoch": seed}, tmp_path / f"{name}.pt")
    mean = average_weights([tmp_path / "a.pt", tmp_path / "b.pt"])
    runs = [torch.load(tmp_path / f"{name}.pt", weights_only=True)["average"] for name in "ab"]
    weight = "decoder.head.weight"
    assert not torch.equal(runs[0][weight], runs[1][weight])
    torch.testing.assert_close(mean[weight], (runs[0][weight] + runs[1][weight]) / 2)


def test_mean_of_parts_and_weights(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.manual_seed(1)
    torch.save({"average": NativeNetwork().state_dict()}, file)
    mean = average_weights([file, "nano"], [0.7, 0.3], ["decoder.head", "decoder.scene"])
    run = torch.load(file, weights_only=True)["average"]
    shipped = load_file(find_package("nano").tensors)
    for weight in ("decoder.head.weight", "decoder.scene.weight"):
        torch.testing.assert_close(mean[weight], 0.7 * run[weight] + 0.3 * shipped[weight].float())
    for weight in ("decoder.hint.weight", "body.stem.weight"):
        torch.testing.assert_close(mean[weight], run[weight])
    with pytest.raises(UsageError, match=r"weights do not fit the runs.*0\.7 0\.7"):
        average_weights([file, file], [0.7, 0.7])


def test_search_evidence_counts_for_more_by_a_factor_and_free_viewing_stays() -> None:
    network = NativeNetwork().eval()
    load_weights(network, find_package("nano").tensors)
    with torch.no_grad():
        network.decoder.search_gain.bias.zero_()
    picture = torch.from_numpy(scene(3, 288, 224)).float().permute(2, 0, 1)[None]
    prompts = torch.from_numpy(np.stack([EMBED("cup"), np.zeros(128, np.float32)]))[None]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gain = "decoder.search_gain"
    with torch.inference_mode():
        once = network.observe(picture, prompts).log_density
        network.load_state_dict(times(state, 0.0, gain))
        never = network.observe(picture, prompts).log_density
        network.load_state_dict(times(state, 1.5, gain))
        more = network.observe(picture, prompts).log_density
    added = once[0] - never[0]
    beyond = more[0] - never[0] - 1.5 * added  # what normalises the map, the same in all cells
    torch.testing.assert_close(beyond, beyond.mean().expand_as(beyond), atol=1e-3, rtol=1e-3)
    assert added.std() > 0.01
    torch.testing.assert_close(more[1], once[1])
    with pytest.raises(UsageError, match="no tensor's name begins so"):
        times(state, 1.5, "decoder.nothing")
    with pytest.raises(UsageError, match="factor is no number"):
        times(state, float("nan"), gain)


def test_temperature_scales_the_log_odds_of_presence_alone() -> None:
    network = NativeNetwork().eval()
    load_weights(network, find_package("nano").tensors)
    picture = torch.from_numpy(scene(3, 288, 224)).float().permute(2, 0, 1)[None]
    prompts = torch.from_numpy(np.stack([EMBED("cup"), EMBED("dog")]))[None]
    with torch.inference_mode():
        before = network.observe(picture, prompts)
        network.load_state_dict(temper(network.state_dict(), 0.6, -0.5))
        after = network.observe(picture, prompts)
    torch.testing.assert_close(after.presence, 0.6 * before.presence - 0.5, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.log_density, before.log_density)
    with pytest.raises(UsageError, match="temperature is out of range"):
        temper(network.state_dict(), 0)


def test_temperature_and_shift_are_found_again() -> None:
    rng = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(4000, generator=rng)
    by, shift = fit((true - 0.3) / 1.6, true.sigmoid())
    # In view and absent count half and half, which they are here.
    assert by == pytest.approx(1.6, abs=0.05)
    assert shift == pytest.approx(0.3, abs=0.1)


def export_fresh(seed: int, out: Path, follows_prompts: bool) -> Path:
    """An untrained network in which prompts matter, exported."""
    torch.manual_seed(seed)
    network = NativeNetwork().eval()
    for film in (network.decoder.film_middle, network.decoder.film_fine):
        torch.nn.init.normal_(film.to_gain_shift.weight, std=0.5)
    facts = {"follows_prompts": follows_prompts, "uses_sound": False}
    export_network(network, "fresh", out, facts)
    return out / "fresh.json"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_exported_network_is_the_trained_one_in_every_engine(tmp_path: Path) -> None:
    package = find_package(str(export_fresh(1, tmp_path, follows_prompts=True)))
    network = NativeNetwork().eval()
    load_weights(network, package.tensors)
    prompt = torch.from_numpy(np.stack([EMBED("cup"), EMBED("dog")]))[None]
    for engine in ("onnx", "eager"):
        session = Session(open_backend(package, engine), ["cup", "dog"], embed=EMBED)
        state = network.init_state(1, 2, 224, 288)
        for i in range(3):
            frame = Frame(scene(i), START_NS + i * 40_000_000, "test", i)
            readings = session.step(Observation(frame))
            image = torch.from_numpy(cv2.resize(scene(i), (288, 224), interpolation=cv2.INTER_AREA))
            dt_s = torch.tensor([0.04 if i else 0.0])
            with torch.no_grad():
                step = network.step(silent_moment(image[None], prompt, dt_s), state)
            state = step.state
            for n in (0, 1):
                np.testing.assert_allclose(readings[n].density, step.density[0, n], atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses it itself
def test_network_that_follows_prompts_is_told_them(tmp_path: Path) -> None:
    model = load(str(export_fresh(2, tmp_path, follows_prompts=True)), engine="onnx")
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
    backend = open_backend(find_package("nano"), "onnx")
    predictor = stills(Session(backend, ["free viewing"], embed=open_text()))
    least = {"osie": 0.80, "eyecrowd": 0.77, "scene500": 0.735}
    for name in GAZE_SETS:
        scores = evaluate(predictor, read_gaze_set(shared / "data" / name, "val"))
        assert scores["CC"] >= least[name], name
