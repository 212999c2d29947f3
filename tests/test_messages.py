"""Messages: what leaves is what CONTRACT 2 promises, and what comes in is checked."""

from __future__ import annotations

import contextlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_edge import wire
from aam_edge.messages import (
    SOUND_RATE_HZ,
    Attention,
    CameraHealth,
    Frame,
    Gaze,
    Health,
    Map,
    RawAttention,
    Recorded,
    Sound,
    SoundReading,
    Target,
)

GOLDEN = Path(__file__).parent / "golden" / "attention.msgpack"
"""Made by `python tests/test_messages.py`; the test below says how close a reader must come."""

ATTENTION_KEYS = {
    *("schema", "seq", "camera", "frame_id", "model", "weights", "capture_ns", "publish_ns"),
    *("dt_s", "prompt", "prompt_id", "image", "map", "entropy", "presence", "uncertainty"),
    *("sound", "targets", "gaze", "cut", "gap"),
}


def ramp(height: int, width: int) -> Map:
    cells = np.arange(1, height * width + 1, dtype=np.float32).reshape(height, width)
    return cells / np.float32(cells.sum())


def full_attention() -> Attention:
    return Attention(
        camera="0",
        frame_id="7",
        capture_ns=1_760_000_000_123_456_789,
        publish_ns=1_760_000_000_133_456_789,
        prompt="search for cup",
        prompt_id=3,
        image=(640, 480),
        density=ramp(3, 4),
        entropy=3.25,
        targets=(Target(1, 100.5, 50.25, 8.0, 0.5, -0.25, 0.125), Target(4, 0.0, 0.0, 2.0, 0.25)),
        gaze=Gaze(100.5, 50.25, target_id=1),
        presence=0.75,
        uncertainty=0.125,
        sound=SoundReading(0.5, -30.0),
        dt_s=0.03125,
        gap=2,
        model="nano",
        weights="0123456789ab",
        seq=42,
    )


def same(left: Attention, right: Attention, step: float) -> bool:
    """Equal in all but the map, whose cells may differ by `step` of the peak."""
    np.testing.assert_allclose(left.density, right.density, atol=step * right.density.max())
    names = [field.name for field in fields(Attention) if field.name != "density"]
    return all(getattr(left, name) == getattr(right, name) for name in names)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False)
times_ns = st.integers(0, 2**63 - 1)
ids = st.integers(0, 2**63 - 1)
targets = st.builds(
    Target, ids, numbers, numbers, numbers, numbers, st.none() | numbers, st.none() | numbers
)
attentions = st.builds(
    Attention,
    camera=texts,
    frame_id=texts,
    capture_ns=times_ns,
    publish_ns=times_ns,
    prompt=texts,
    prompt_index=st.integers(0, 9),
    prompt_id=ids,
    image=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    density=st.builds(ramp, st.integers(1, 9), st.integers(1, 9)),
    entropy=numbers,
    targets=st.lists(targets, max_size=8).map(tuple),
    gaze=st.none() | st.builds(Gaze, numbers, numbers, target_id=st.none() | ids),
    presence=st.none() | numbers,
    sound=st.none() | st.builds(SoundReading, numbers, numbers),
    cut=st.booleans(),
    gap=ids,
    seq=ids,
)


@given(attentions)
def test_attention_comes_back_as_it_was_sent(attention: Attention) -> None:
    assert same(Attention.from_bytes(attention.to_bytes("<f4")), attention, step=1e-6)


def test_map_of_each_type_comes_back_within_its_step() -> None:
    # fp16 has 11 significant bits; u1 has 255 steps to the peak, and rounding moves the sum.
    attention = full_attention()
    assert same(Attention.from_bytes(attention.to_bytes("<f2")), attention, step=1e-3)
    assert same(Attention.from_bytes(attention.to_bytes("u1")), attention, step=1e-2)


def test_golden_message_of_the_first_version_is_still_read() -> None:
    # Written as <f2: 11 significant bits.
    assert same(Attention.from_bytes(GOLDEN.read_bytes()), full_attention(), step=1e-3)


def test_what_is_written_today_is_what_the_golden_message_says() -> None:
    assert msgpack.unpackb(full_attention().to_bytes()) == msgpack.unpackb(GOLDEN.read_bytes())


def test_message_has_every_key_of_the_contract() -> None:
    message = msgpack.unpackb(full_attention().to_bytes())
    assert message.keys() >= ATTENTION_KEYS
    assert message["schema"] == 1
    assert message["image"] == [640, 480]
    assert message["map"].keys() == {"shape", "dtype", "scale", "data"}
    assert message["targets"][0].keys() == {"id", "x", "y", "sigma_px", "score", "yaw", "pitch"}
    assert message["gaze"].keys() == {"x", "y", "yaw", "pitch", "target_id"}
    assert message["sound"].keys() == {"gate", "level_db"}


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    message = msgpack.unpackb(full_attention().to_bytes("<f4"))
    message["pupil"] = 3
    message["targets"][0]["name"] = "cup"
    assert same(Attention.from_bytes(wire.pack(message)), full_attention(), step=1e-6)


def test_other_schema_is_refused() -> None:
    message = msgpack.unpackb(full_attention().to_bytes())
    with pytest.raises(ValueError, match="schema 1 is expected, got 2"):
        Attention.from_bytes(wire.pack(message | {"schema": 2}))


def test_publisher_adds_number_and_time_and_nothing_else() -> None:
    attention = full_attention()
    published = attention.published(seq=43, publish_ns=attention.publish_ns + 1)
    assert (published.seq, published.publish_ns - attention.publish_ns) == (43, 1)
    assert same(replace(published, seq=42, publish_ns=attention.publish_ns), attention, step=0)
    assert published.topic == "attention/0/0"


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=200))
def test_garbage_is_a_value_error(body: bytes) -> None:
    for read in (Attention.from_bytes, Health.from_bytes):
        with pytest.raises(ValueError):  # noqa: PT011 any sentence will do
            read(body)


@given(st.sampled_from(sorted(ATTENTION_KEYS)), anything)
def test_message_with_one_field_spoilt_is_a_message_or_a_value_error(key: str, value: Any) -> None:
    message = msgpack.unpackb(full_attention().to_bytes())
    with contextlib.suppress(ValueError):
        assert isinstance(Attention.from_bytes(wire.pack(message | {key: value})).camera, str)


@given(st.sampled_from(["id", "x", "yaw", "score"]), anything)
def test_target_with_one_field_spoilt_is_a_target_or_a_value_error(key: str, value: Any) -> None:
    message = msgpack.unpackb(full_attention().to_bytes())
    message["targets"][0][key] = value
    with contextlib.suppress(ValueError):
        target = Attention.from_bytes(wire.pack(message)).targets[0]
        assert isinstance(getattr(target, key), int | float | None)


@pytest.mark.parametrize("key", sorted(ATTENTION_KEYS - {"prompt_id", "seq"}))
def test_field_of_another_type_is_refused(key: str) -> None:
    message = msgpack.unpackb(full_attention().to_bytes())
    with pytest.raises(ValueError, match=r"attention|schema"):
        Attention.from_bytes(wire.pack(message | {key: [b"?"]}))


def test_whole_number_may_stand_for_a_float_but_not_the_other_way() -> None:
    message = msgpack.unpackb(full_attention().to_bytes("<f4"))
    message |= {"entropy": 3, "presence": 1}
    message["targets"][0] |= {"x": 100, "yaw": 0}
    read = Attention.from_bytes(wire.pack(message))
    assert (read.entropy, read.presence, read.targets[0].x, read.targets[0].yaw) == (3, 1, 100, 0)
    for wrong in ({"seq": 1.0}, {"capture_ns": None}, {"cut": "yes"}, {"entropy": None}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
            Attention.from_bytes(wire.pack(message | wrong))


def test_topic_names_the_camera_and_the_number_of_the_prompt() -> None:
    assert replace(full_attention(), camera="left", prompt_index=2).topic == "attention/left/2"


def full_health() -> Health:
    return Health(
        rate_hz=29.5,
        latency_ms={"p50": 12.5, "p99": 20.25},
        stages_ms={"engine": 9.5},
        dropped={"mailbox": 3},
        source_state={"0": "live"},
        sinks={"zmq": "ok"},
        engine="onnx f32",
        device="cpu",
        rss_bytes=123_456_789,
        uptime_s=60.5,
        warnings=("no microphone", "slow disk"),
        cameras={
            "0": CameraHealth(state="live", rate_hz=29.5, latency_ms={"p50": 12.5}, dropped=3),
            "1": CameraHealth(
                state="lost", rate_hz=0.0, latency_ms={}, dropped=0, maps="lost: no frame for 3 s"
            ),
        },
        map_age_s=0.25,
    )


def test_health_comes_back_as_it_was_sent() -> None:
    for health in (full_health(), Health.unknown()):
        assert Health.from_bytes(health.to_bytes()) == health


def test_health_of_a_later_program_is_read_for_what_is_known_of_it() -> None:
    message = msgpack.unpackb(full_health().to_bytes())
    message["mood"] = "fine"
    message["cameras"]["0"]["lens"] = "wide"
    assert Health.from_bytes(wire.pack(message)) == full_health()


def test_health_of_an_earlier_program_has_no_cameras() -> None:
    message = msgpack.unpackb(full_health().to_bytes())
    del message["cameras"], message["maps"], message["map_age_s"]
    assert Health.from_bytes(wire.pack(message)) == replace(
        full_health(), cameras={}, maps="ok", map_age_s=None
    )


def test_map_that_is_no_health_is_a_value_error() -> None:
    message = msgpack.unpackb(full_health().to_bytes())
    lacking = {key: value for key, value in message.items() if key != "warnings"}
    for wrong in ({}, lacking, message | {"warnings": 3}, message | {"cameras": [1]}):
        with pytest.raises(ValueError, match="not a health message"):
            Health.from_bytes(wire.pack(wrong))


@given(st.sampled_from(sorted(f.name for f in fields(Health))), anything)
def test_health_with_one_field_spoilt_is_a_whole_health_or_a_value_error(
    key: str, value: Any
) -> None:
    message = msgpack.unpackb(full_health().to_bytes())
    with contextlib.suppress(ValueError):
        health = Health.from_bytes(wire.pack(message | {key: value}))
        # What programs do with it.
        "".join([health.trouble, *health.source_state.values(), *health.sinks.values()])
        "".join(camera.state + camera.maps for camera in health.cameras.values())
        assert isinstance(sum(health.dropped.values()), int)
        assert isinstance(health.rate_hz + health.uptime_s + health.rss_bytes, int | float)
        health.to_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_hz": "29"},
        {"engine": 3},
        {"rss_bytes": 1.5},
        {"latency_ms": {"p50": None}},
        {"dropped": {"mailbox": 0.5}},
        {"source_state": {"0": 1}},
        {"sinks": ["zmq"]},
        {"warnings": "no microphone"},
        {"warnings": [1]},
        {"maps": None},
        {"map_age_s": "0.2"},
        {"cameras": {"0": {}}},
        {"cameras": {"0": "live"}},
        {"cameras": {"0": {"state": 1, "rate_hz": 0.0, "latency_ms": {}, "dropped": 0}}},
    ],
)
def test_health_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    message = msgpack.unpackb(full_health().to_bytes())
    with pytest.raises(ValueError, match="not a health message"):
        Health.from_bytes(wire.pack(message | wrong))


def test_trouble_is_that_no_map_leaves_or_else_the_first_warning() -> None:
    health = full_health()
    assert health.trouble == "no microphone"
    assert replace(health, maps="camera lost").trouble == "no fresh maps: camera lost"
    assert replace(health, warnings=()).trouble == ""
    assert Health.unknown().trouble == "no fresh maps: opening"


def test_health_before_anything_runs_has_nothing_but_zeros() -> None:
    message = msgpack.unpackb(Health.unknown().to_bytes())
    assert message.pop("latency_ms") == {"p50": 0, "p99": 0}
    assert {key for key, value in message.items() if value} == {"schema", "maps"}


def test_frame_refuses_what_is_no_bgr_picture() -> None:
    for shape in ((4, 4), (4, 4, 4), (0, 4, 3)):
        with pytest.raises(ValueError, match="image must be"):
            Frame(np.zeros(shape, np.uint8), 0, "0", 0)
    with pytest.raises(ValueError, match=r"uint8, got .* float32"):
        Frame(np.zeros((4, 4, 3), dtype="f4"), 0, "0", 0)


def test_sound_refuses_what_is_not_mono_float32() -> None:
    for samples in (np.zeros((2, 2), dtype="f4"), np.zeros(4, dtype="i2")):
        with pytest.raises(ValueError, match="samples must be"):
            Sound(samples, 0)


def test_sound_cannot_be_written_to_and_ends_behind_its_last_sample() -> None:
    sound = Sound(np.zeros(SOUND_RATE_HZ // 4, np.float32), 7)
    assert sound.end_ns == 250_000_007
    with pytest.raises(ValueError, match="read-only"):
        sound.samples[0] = 1


def test_frame_cannot_be_written_to() -> None:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 0, "0", 0)
    assert frame.size == (6, 4)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0, 0] = 1


def test_sound_level_is_db_over_full_scale() -> None:
    quiet = Sound(np.zeros(SOUND_RATE_HZ, np.float32), 0)
    half = Sound(np.full(SOUND_RATE_HZ, 0.5, np.float32), 0)
    assert quiet.level_db == Sound(np.zeros(0, np.float32), 0).level_db == -120.0
    assert half.level_db == pytest.approx(-6.02, abs=0.01)
    assert quiet.end_ns == 1_000_000_000


def test_heatmap_is_red_where_the_density_peaks_and_the_picture_elsewhere() -> None:
    density = np.full((6, 8), 1e-6, np.float32)
    density[1, 6] = 1
    picture = np.full((60, 80, 3), 128, np.uint8)
    blue, _, red = replace(full_attention(), density=density).heatmap(picture)[15, 65].tolist()
    assert red > blue + 50
    far = replace(full_attention(), density=density).heatmap(picture)[55, 5]
    np.testing.assert_allclose(far, 128, atol=3)


def test_heatmap_lays_the_colours_over_the_picture_whatever_the_scale_of_the_map() -> None:
    density = np.array([[0.25, 0.04], [0.01, 0.0]], np.float32)  # roots to the peak: 1, 0.4, 0.2, 0
    picture = np.full((2, 2, 3), 200, np.uint8)
    got = replace(full_attention(), density=density).heatmap(picture)
    scale = np.array([[255, 102, 51, 0]], np.uint8)
    colours = cv2.applyColorMap(scale, cv2.COLORMAP_TURBO).reshape(2, 2, 3)
    opacity = 0.65 * scale.reshape(2, 2, 1) / 255
    np.testing.assert_allclose(got, 200 * (1 - opacity) + colours * opacity, atol=3)


def test_what_nobody_says_of_a_map_is_nothing() -> None:
    raw = RawAttention(ramp(3, 4), ramp(3, 4), dt_s=0.0, cut=False)
    assert (raw.presence, raw.gate, raw.beta) == (None, 0, 1)
    assert not Recorded(0).hears
    told = {"camera": "0", "frame_id": "7", "capture_ns": 1, "prompt": "", "entropy": 3.5}
    attention = Attention(**told, image=(4, 3), density=ramp(3, 4))  # type: ignore[arg-type]
    others = {f.name for f in fields(Attention)} - {*told, "image", "density"}
    assert not any(getattr(attention, name) for name in others)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(full_attention().to_bytes())
