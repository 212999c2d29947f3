"""Bytes on the wire: what is written is read back, and garbage is a ValueError."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aam_edge import wire
from aam_edge.messages import Map

topics = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
densities = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    elements=st.floats(0, 1, width=32),
).filter(lambda cells: cells.max() > 1e-6)

# One step of each type's cells, relative to the peak; fp16 has 11 significant bits.
STEPS: dict[wire.MapType, float] = {"<f4": 1e-6, "<f2": 1e-3, "u1": 1 / 254}


def normalised(cells: Map) -> Map:
    return np.asarray(cells / cells.sum(dtype=np.float64), np.float32)


@given(topics, st.binary())
def test_topic_and_body_come_apart_as_they_were_joined(topic: str, body: bytes) -> None:
    assert wire.split(wire.join(topic, body)) == (topic, body)


def test_subscription_to_one_prompt_does_not_match_ten() -> None:
    assert not wire.join("attention/0/10", b"").startswith(wire.topic_bytes("attention/0/1"))


@given(densities, st.sampled_from(sorted(STEPS)))
def test_map_comes_back_within_a_step_and_sums_to_1(cells: Map, dtype: wire.MapType) -> None:
    density = normalised(cells)
    back = wire.decode_map(wire.encode_map(density, dtype))
    assert back.dtype == np.float32
    assert abs(float(back.sum(dtype=np.float64)) - 1) < 1e-3
    # Rounding also moves the sum, by at most a step for each cell of the peak's size.
    share = 1 + density.size * float(density.max())
    np.testing.assert_allclose(back, density, atol=STEPS[dtype] * share * float(density.max()))


@pytest.mark.parametrize("dtype", sorted(STEPS))
def test_small_cells_of_a_large_map_survive(dtype: wire.MapType) -> None:
    density = np.full((64, 96), 1 / (64 * 96), np.float32)
    back = wire.decode_map(wire.encode_map(density, dtype))
    np.testing.assert_allclose(back, density, rtol=2e-3)


def test_map_is_read_as_the_contract_says() -> None:
    density = normalised(np.arange(12, dtype=np.float32).reshape(3, 4))
    wired = msgpack.unpackb(msgpack.packb(wire.encode_map(density, "<f2")))
    cells = np.frombuffer(wired["data"], wired["dtype"]).reshape(wired["shape"])
    np.testing.assert_allclose(cells * wired["scale"], density, rtol=2e-3)


@given(st.binary(max_size=64))
def test_garbage_is_a_value_error_or_a_map(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(wire.unpack(body), dict)


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x91\x01", b"\xc1", b"\x81\xa1a", b"\x80\x80"])
def test_body_that_is_no_map_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"msgpack|map"):
        wire.unpack(body)


def test_message_without_a_topic_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="topic"):
        wire.split(b"attention")


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "<f8"},
        {"dtype": "O"},
        {"dtype": 3},
        {"dtype": ["<f2"]},
        {"shape": [2, 3]},
        {"shape": [-1, 4]},
        {"shape": [12]},
        {"shape": ["3", "4"]},
        {"shape": None},
        {"data": b"123"},
        {"data": None},
        {"scale": "much"},
        {"scale": None},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": 1e300},
    ],
)
def test_map_that_does_not_fit_itself_is_a_value_error(change: dict[str, object]) -> None:
    wired = wire.encode_map(np.full((3, 4), 1 / 12, np.float32), "<f2")
    with pytest.raises(ValueError, match="map"):
        wire.decode_map(wired | change)
    with pytest.raises(ValueError, match="map"):
        wire.decode_map({key: wired[key] for key in wired if key not in change})
