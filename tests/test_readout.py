"""Density to message: every field of an Attention that the readout fills."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aam_edge.config import ReadoutConfig
from aam_edge.messages import (
    SOUND_RATE_HZ,
    Attention,
    Frame,
    Map,
    Observation,
    RawAttention,
    Sound,
)
from aam_edge.readout.peaks import PLACE_SIGMA
from aam_edge.readout.readout import Readout

START_NS = 1_700_000_000_000_000_000


def observation(k: int = 0, camera: str = "0", sound: Sound | None = None) -> Observation:
    image = np.zeros((480, 640, 3), np.uint8)
    frame = Frame(image, START_NS + k * 33_000_000, camera, frame_id=7 + k, gap=2)
    return Observation(frame, sound)


def hill(x: float, y: float, sigma: float = 2.0) -> Map:
    rows, columns = np.mgrid[:48, :64]
    density = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) + 1e-6
    return np.asarray(density / density.sum(), np.float32)


def raw(density: Map, *, variance: float = 0.04, cut: bool = False) -> RawAttention:
    return RawAttention(density, np.full_like(density, variance), 0.033, cut, presence=0.7)


def read(
    readout: Readout,
    seen: Observation,
    density: RawAttention,
    *,
    prompt_index: int = 0,
    prompt_id: int = 1,
) -> Attention:
    return readout.read(
        seen,
        density,
        prompt="search for cup",
        prompt_index=prompt_index,
        prompt_id=prompt_id,
        model="nano",
        weights="0123456789ab",
    )


def only_id(attention: Attention) -> int:
    (target,) = attention.targets
    return target.id


def test_message_has_everything_but_what_the_publisher_knows() -> None:
    attention = read(Readout(ReadoutConfig()), observation(), raw(hill(20, 30)))
    assert (attention.camera, attention.frame_id) == ("0", "7")
    assert (attention.capture_ns, attention.dt_s, attention.gap) == (START_NS, 0.033, 2)
    assert (attention.prompt, attention.prompt_index, attention.prompt_id) == (
        "search for cup",
        0,
        1,
    )
    assert (attention.model, attention.weights) == ("nano", "0123456789ab")
    assert (attention.presence, attention.cut) == (0.7, False)
    assert (attention.seq, attention.publish_ns) == (0, 0)
    assert attention.image == (640, 480)
    (target,) = attention.targets
    assert (target.x, target.y) == pytest.approx((204.5, 304.5), abs=0.5)
    assert target.sigma_px == pytest.approx(PLACE_SIGMA * 20 * 0.2, rel=0.05)
    assert (target.yaw, target.pitch) == (None, None)
    assert attention.gaze is not None
    assert (attention.gaze.target_id, attention.gaze.x) == (target.id, target.x)
    assert 0 < attention.entropy < 8
    assert Attention.from_bytes(attention.to_bytes("<f4")).targets == attention.targets


def test_uncertainty_is_the_standard_error_where_the_density_is() -> None:
    density = hill(20, 30)
    variance = np.where(density > density.max() / 1000, 0.09, 9.0).astype(np.float32)
    attention = read(
        Readout(ReadoutConfig()), observation(), RawAttention(density, variance, 0.0, False)
    )
    assert attention.uncertainty == pytest.approx(0.3, rel=0.05)


def test_sound_is_measured_and_silence_of_the_microphone_is_none() -> None:
    readout = Readout(ReadoutConfig())
    assert read(readout, observation(), raw(hill(20, 30))).sound is None
    tone = np.sin(np.arange(SOUND_RATE_HZ) * 0.3).astype(np.float32)
    heard = observation(1, sound=Sound(tone, START_NS - 10**9))
    reading = read(readout, heard, raw(hill(20, 30))).sound
    assert reading is not None
    assert reading.gate == 0.0
    assert reading.level_db == pytest.approx(-3.01, abs=0.05)


def test_cameras_and_prompts_have_targets_of_their_own() -> None:
    readout = Readout(ReadoutConfig())
    for camera, index, x in (("0", 0, 20), ("0", 1, 40), ("1", 0, 30)):
        for k in range(3):
            seen = observation(k, camera)
            assert only_id(read(readout, seen, raw(hill(x, 20)), prompt_index=index)) == 1


def test_cut_new_prompt_and_reset_make_targets_new() -> None:
    readout, same = Readout(ReadoutConfig()), hill(20, 20)
    assert only_id(read(readout, observation(0), raw(same))) == 1
    assert only_id(read(readout, observation(1), raw(same))) == 1
    assert only_id(read(readout, observation(2), raw(same, cut=True))) == 2
    assert only_id(read(readout, observation(3), raw(same), prompt_id=2)) == 3
    readout.reset(camera="other")
    assert only_id(read(readout, observation(4), raw(same), prompt_id=2)) == 3
    readout.reset(camera="0", prompt_index=0)
    assert only_id(read(readout, observation(5), raw(same), prompt_id=2)) == 4


def test_settings_bound_the_targets() -> None:
    density = (hill(12, 12) + hill(40, 12) + hill(40, 36)) / np.float32(3)
    everything = read(Readout(ReadoutConfig()), observation(), raw(density))
    assert len(everything.targets) == 3
    two = read(Readout(ReadoutConfig(max_targets=2)), observation(), raw(density))
    assert two.targets == everything.targets[:2]
    none = read(Readout(ReadoutConfig(least_score=0.4)), observation(), raw(density))
    assert (none.targets, none.gaze) == ((), None)


def test_map_that_looks_nowhere_has_no_target() -> None:
    uniform = np.full((48, 64), 1 / (48 * 64), np.float32)
    attention = read(Readout(ReadoutConfig()), observation(), raw(uniform))
    assert (attention.targets, attention.gaze) == ((), None)
    assert attention.entropy == pytest.approx(np.log2(48 * 64), abs=1e-4)


def test_state_saved_as_text_and_restored_goes_on_with_the_same_messages() -> None:
    readout = Readout(ReadoutConfig())
    for k in range(4):
        read(readout, observation(k), raw(hill(20 + k, 20)))
        read(readout, observation(k), raw(hill(40, 20)), prompt_index=1)
    other = Readout(ReadoutConfig())
    other.restore(json.loads(json.dumps(readout.state())))
    for k in range(4, 10):
        for index in (0, 1):
            here, there = (
                read(r, observation(k), raw(hill(20 + k, 20)), prompt_index=index)
                for r in (readout, other)
            )
            assert (here.targets, here.gaze) == (there.targets, there.gaze)
    assert other.state() == readout.state()
