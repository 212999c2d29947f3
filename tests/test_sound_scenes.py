"""Synthetic scenes of sight and sound, and the fit of hearing to them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from aam_edge.model.native.hearing import Hearing
from aam_edge.training.evaluate_sound import figures
from aam_edge.training.fit_sound import SoundFitConfig, SoundFitting, draw_batch, fit
from aam_edge.training.sound_drives import DRIVE_HZ, RHYTHMS, draw_drive, synthesise
from aam_edge.training.sound_pictures import Material, read_material
from aam_edge.training.sound_scenes import SHARES, Kind, Scene, draw_scene

SHAPE = (24, 32)
TINY = SoundFitConfig(steps=4, batch=2, frames=12, warm_up_steps=1)


def scene(seed: int, kind: Kind | None = None, frames: int = 40) -> Scene:
    return draw_scene(np.random.default_rng(seed), SHAPE, frames, kind=kind)


def motion(of: Scene) -> float:
    """Mean change of luminance from frame to frame, but for that of the lamp."""
    change = np.diff(of.luminance, axis=0)
    return float(np.abs(change - np.median(change, axis=(1, 2), keepdims=True)).mean())


@pytest.mark.parametrize("kind", list(SHARES))
@pytest.mark.parametrize("seed", range(4))
def test_scene_is_whole_and_its_seed_alone_decides(kind: Kind, seed: int) -> None:
    one, again = scene(seed, kind), scene(seed, kind)
    for name in Scene.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    frames = len(one.dt_s)
    assert one.luminance.shape == one.truth.shape == (frames, *SHAPE)
    assert one.mel.shape == (frames, 64, 100)
    for array in (one.luminance, one.truth):
        assert array.dtype == np.float32
        assert array.min() >= 0
        assert array.max() <= 1
    assert np.isfinite(one.mel).all()
    assert one.dt_s[0] == 0
    assert (one.dt_s[1:] > 0.03).all()
    assert abs(np.exp(one.silent_log_density).sum() - 1) < 1e-4


def test_only_sounding_scenes_have_something_that_sounds() -> None:
    for kind in SHARES:
        found = [scene(seed, kind) for seed in range(6)]
        assert any(s.truth.any() and s.sounds.any() for s in found) == (kind == "sounding")


def test_still_scenes_are_still_and_the_others_move() -> None:
    still = [motion(scene(seed, "still")) for seed in range(6)]
    assert np.median(still) < 0.01
    assert np.median([motion(scene(seed, "sounding")) for seed in range(6)]) > 2 * np.median(still)


def test_silent_scenes_have_no_microphone_or_nothing_to_hear() -> None:
    for seed in range(6):
        silent = scene(seed, "silent")
        assert not silent.heard.any() or silent.mel.max() < -0.99


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_sound_is_loud_when_its_drive_is(rhythm: str) -> None:
    agreements = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        drive = draw_drive(rng, 5.0, rhythm)  # type: ignore[arg-type]
        samples = synthesise(rng, drive)
        assert len(samples) == 5 * 16_000
        loudness = np.sqrt(np.mean(samples.reshape(-1, 160) ** 2, axis=1))
        level = drive.level.reshape(-1, DRIVE_HZ // 100).mean(axis=1)
        if level.std() > 0.01:
            agreements.append(np.corrcoef(loudness, level)[0, 1])
    assert np.median(agreements) > 0.6


def test_things_and_backgrounds_are_cut_from_photos(tmp_path: Path) -> None:
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 255, (90, 120), np.uint8)
        cv2.imwrite(str(tmp_path / f"{seed}.jpg"), noise)
    material = read_material(tmp_path, most=2)
    assert len(material.photos) == 2
    drawn = draw_scene(np.random.default_rng(0), SHAPE, 5, material)
    assert not np.array_equal(
        drawn.luminance, draw_scene(np.random.default_rng(0), SHAPE, 5).luminance
    )


def test_loss_falls_on_a_batch_that_is_seen_again_and_again() -> None:
    fitting = SoundFitting(
        SoundFitConfig(steps=14, batch=3, frames=30, warm_up_steps=1), Material()
    )
    losses = []
    for _ in range(14):
        losses.append(fitting.step())
        fitting.steps = 0
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_interrupted_fit_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    fit(tmp_path / "whole.pt", TINY, Material(), save_every=2)
    stopped = SoundFitting(TINY, Material())
    stopped.step()
    stopped.step()
    stopped.save(tmp_path / "parts.pt")
    fit(tmp_path / "parts.pt", TINY, Material(), save_every=2)
    whole, parts = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("whole", "parts"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name])
    lines = (tmp_path / "whole.jsonl").read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == [2, 4]


def test_weights_are_a_plain_state_dict_and_figures_come_of_them(tmp_path: Path) -> None:
    fit(tmp_path / "hearing.pt", TINY, Material())
    hearing = Hearing()
    hearing.load_state_dict(torch.load(tmp_path / "hearing.pt", weights_only=True))
    found = figures(hearing.eval(), 4, frames=60)
    assert found["stray_silent"] == 0
    assert 0 < found["mass_silent"] < 1


def test_batches_are_decided_by_their_seed() -> None:
    one, again = draw_batch((3, 1), 2, 6, Material()), draw_batch((3, 1), 2, 6, Material())
    assert torch.equal(one.mel, again.mel)
    assert torch.equal(one.sight.displacement, again.sight.displacement)
