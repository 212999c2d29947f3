"""Clips: what people looked at goes where the picture goes, with the gaps of real cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("webdataset", reason="needs the extra [train]")

from aam_edge.engine.text import TextTable
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.corpus.reader import read_items
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.data import Photo
from aam_edge.training.objective import Shares
from aam_edge.training.run.camera_path import camera_path, seen_through
from aam_edge.training.run.clips import Clip, collate_clips, generated_clip, real_clip
from aam_edge.training.run.settings import ClipsConfig
from aam_edge.training.run.student import Lesson, Student
from aam_edge.training.sample import Sample
from tests import corpus_trees as trees
from tests.test_training_data import square_at

SIZE = (96, 128)
EMBED = TextTable().embed
CLIPS = ClipsConfig(frames=6, most_gap=3)


def photo(x: float, y: float) -> Sample:
    """A white square on black that everybody looks at."""
    points = np.tile([[x, y]], (8, 1))
    return Sample(
        square_at(x, y), [("free viewing", Photo("", "", Path(), points, (128, 128), 0.03))]
    )


def centre(seen: NDArray[np.number]) -> NDArray[np.float64]:
    """(row, column) of the mean."""
    grid = np.indices(seen.shape).reshape(2, -1)
    return np.asarray((grid * seen.reshape(-1)).sum(1) / seen.sum(dtype=np.float64))


def test_density_goes_where_the_picture_goes() -> None:
    told = 0
    for seed in range(8):
        clip = generated_clip([photo(0.5, 0.45)], SIZE, CLIPS, np.random.default_rng(seed))
        assert len(clip.images) == CLIPS.frames
        told += count_that_fit(clip)
    assert told > 24


def count_that_fit(clip: Clip) -> int:
    """Frames with the whole square in view; fails where the density lies elsewhere."""
    told = 0
    for image, density in zip(clip.images, clip.densities, strict=True):
        white = np.maximum(image.max(2).astype(float) - 60, 0)
        edges = white[[0, -1]].max(), white[:, [0, -1]].max()
        if density is not None and max(edges) == 0:
            np.testing.assert_allclose(centre(density), centre(white) / 4 - 0.375, atol=0.6)
            told += 1
    return told


def test_frames_have_gaps_and_the_camera_moves() -> None:
    clips = [
        generated_clip([photo(0.5, 0.5)], SIZE, CLIPS, np.random.default_rng(seed))
        for seed in range(20)
    ]
    steps = {round(dt_s * 30, 6) for clip in clips for dt_s in clip.dt_s}
    assert steps == {0, 1, 2, 3}
    assert all(clip.dt_s[0] == 0 for clip in clips)
    assert sum(bool((clip.images[0] != clip.images[-1]).any()) for clip in clips) > 12


def test_cut_goes_to_the_other_photo_with_its_density() -> None:
    clip = generated_clip(
        [photo(0.5, 0.5), Sample(np.full((90, 120, 3), 200, np.uint8))],
        SIZE, CLIPS, np.random.default_rng(3),
    )  # fmt: skip
    means = [float(image.mean()) for image in clip.images]
    is_other = np.array(means) > 100
    cut = int(is_other.argmax())
    assert 0 < cut < CLIPS.frames
    assert is_other[cut:].all()
    assert not is_other[:cut].any()
    assert [density is None for density in clip.densities] == is_other.tolist()
    assert min(clip.dt_s[1:]) > 0


def test_window_stays_in_the_photo() -> None:
    for seed in range(50):
        for view in camera_path(np.arange(0, 90, 2), np.random.default_rng(seed)):
            assert 0 <= view.x <= view.x + view.width <= 1 + 1e-9
            assert 0 <= view.y <= view.y + view.height <= 1 + 1e-9
            assert view.width > 0.4
    seen = seen_through(view, np.full((90, 120, 3), 7, np.uint8), SIZE)
    assert seen.shape == (*SIZE, 3)
    assert seen.min() == seen.max() == 7


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    trees.dhf1k(folder, "train")
    trees.with_sound(folder, "DIEM", "")
    return folder


def test_videos_give_frames_with_their_gaps_and_densities(root: Path) -> None:
    item = next(iter(read_items("DHF1K", root, "train", Skipped())))
    clip = real_clip(item, SIZE, CLIPS, np.random.default_rng(1), [], with_sound=True)
    assert 2 <= len(clip.images) <= CLIPS.frames
    assert {round(dt_s * 30) for dt_s in clip.dt_s[1:]} <= {1, 2, 3}
    assert clip.mels == [None] * len(clip.images)  # silent
    for image, density in zip(clip.images, clip.densities, strict=True):
        assert density is not None
        assert density.sum() == pytest.approx(1, abs=1e-4)
        red = np.maximum(image[:, :, 2].astype(float) - image[:, :, 0] - 130, 0)
        np.testing.assert_allclose(centre(density), centre(red) / 4 - 0.375, atol=1.5)


def test_broken_frames_are_gaps(root: Path, tmp_path: Path) -> None:
    trees.dhf1k(tmp_path, "train")
    item = next(iter(read_items("DHF1K", tmp_path, "train", Skipped())))
    stimulus = item.moments[2].stimulus
    assert isinstance(stimulus, Path)
    stimulus.write_bytes(b"")
    lost: list[tuple[str, str]] = []
    config = ClipsConfig(frames=30, most_gap=1)
    clip = real_clip(item, SIZE, config, np.random.default_rng(1), lost, with_sound=False)
    assert lost == [(str(stimulus), "picture cannot be read")]
    assert len(clip.images) == len(item) - 1
    assert max(round(dt_s * 30) for dt_s in clip.dt_s) == 2


def test_sound_comes_along_where_it_is_wanted(root: Path) -> None:
    item = next(iter(read_items("DIEM", root, "train", Skipped())))
    for with_sound in (False, True):
        clip = real_clip(item, SIZE, CLIPS, np.random.default_rng(2), [], with_sound=with_sound)
        batch = collate_clips([clip], CLIPS.frames, EMBED)
        assert float(batch.heard[0, : len(clip.images)].min()) == float(with_sound)
        assert (float(batch.mel.max()) > 0) == with_sound


def student() -> Student:
    torch.manual_seed(0)
    return Student(NativeNetwork(), Shares(), 0.0, torch.zeros(0, 128), torch.full((93,), 0.5))


def batch_of(frames: int) -> tuple[Clip, ClipsConfig]:
    config = ClipsConfig(frames=frames, most_gap=2)
    return generated_clip([photo(0.5, 0.5)], SIZE, config, np.random.default_rng(5)), config


def test_spans_go_on_from_each_other_and_stop_gradients() -> None:
    clip, config = batch_of(4)
    batch = collate_clips([clip], config.frames, EMBED)
    learner, lesson = student(), Lesson()
    whole = learner.teach(batch, lesson)
    first, second = batch.spans(2)
    one = learner.teach(first, lesson)
    two = learner.teach(second, lesson, None, one.state)
    torch.testing.assert_close((one.loss + two.loss) / 2, whole.loss, atol=1e-5, rtol=1e-5)
    assert one.state is not None
    assert not any(tensor.requires_grad for tensor in one.state)
    fresh = learner.teach(second, lesson)
    assert abs(float((fresh.loss - two.loss).detach())) > 1e-4  # the state says something


def test_gradients_go_back_through_the_filter() -> None:
    clip, config = batch_of(3)
    batch = collate_clips([clip], config.frames, EMBED)
    batch.weight[:, :2] = 0  # only the last frame teaches
    learner = student()
    learner.teach(batch, Lesson()).loss.backward()
    through = learner.network.decoder.head.weight.grad
    learner.zero_grad()
    *_, last = batch.spans(2)
    before = learner.teach(next(iter(batch.spans(2))), Lesson()).state
    learner.teach(last, Lesson(), None, before).loss.backward()
    alone = learner.network.decoder.head.weight.grad
    assert through is not None
    assert alone is not None
    assert float((3 * through - alone).norm()) > 1e-4 * float(alone.norm())


def test_held_body_learns_nothing_from_clips() -> None:
    clip, config = batch_of(2)
    learner = student()
    learner.teach(collate_clips([clip], config.frames, EMBED), Lesson(is_held=True)).loss.backward()
    assert all(p.grad is None for p in learner.network.body.parameters())
    assert learner.network.decoder.head.weight.grad is not None
    assert all(p.requires_grad for p in learner.network.body.parameters())


@pytest.mark.parametrize("is_heard", [False, True])
def test_hearing_learns_from_what_is_heard_alone(is_heard: bool) -> None:
    clip, config = batch_of(2)
    batch = collate_clips([clip], config.frames, EMBED)
    if is_heard:
        batch.heard[:] = 1
        batch.mel[:] = torch.rand(batch.mel.shape)
    learner = student()
    learner.teach(batch, Lesson()).loss.backward()
    assert any(p.grad is not None for p in learner.network.hearing.parameters()) == is_heard


def test_short_clips_are_filled_up_with_what_does_not_count() -> None:
    clip, _ = batch_of(2)
    batch = collate_clips([clip], 5, EMBED)
    assert batch.images.shape == (1, 5, *SIZE, 3)
    assert batch.weight[0, 2:].tolist() == [0, 0, 0]
