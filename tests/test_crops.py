"""The best targets as pictures: what is cut, and that it arrives in every place."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

import aam_edge
from aam_edge import wire
from aam_edge.config import GazeConfig, load_config
from aam_edge.crops import Crops, crop_targets
from aam_edge.errors import UsageError
from aam_edge.messages import Attention, Frame, Image, Target
from aam_edge.sinks.cropper import Cropper
from tests.page_client import next_of, offer, open_sink, picture, run, watching
from tests.program import Program
from tests.rosbridge import RosBridge
from tests.test_ros_sink import sink_of

ROOT = Path(__file__).parent.parent
START_NS = 1_800_000_000_000_000_000
NOISE: Image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def seen(
    *targets: tuple[float, float], image: Image = NOISE, at_ns: int = START_NS
) -> tuple[Frame, Attention]:
    frame = Frame(image.copy(), at_ns, "0", 5)
    found = tuple(Target(7 + k, x, y, 3.0, 0.5 - 0.1 * k) for k, (x, y) in enumerate(targets))
    density = np.full((6, 8), 1 / 48, np.float32)
    attention = Attention(
        camera="0",
        frame_id="5",
        capture_ns=at_ns,
        prompt="search for cup",
        image=frame.size,
        density=density,
        entropy=5.6,
        targets=found,
    )
    return frame, attention


@given(st.floats(-0.5, 159.5), st.floats(-0.5, 119.5), st.integers(16, 300))
def test_crop_is_the_source_pixel_by_pixel_around_its_target(x: float, y: float, side: int) -> None:
    frame, attention = seen((x, y))
    (crop,) = crop_targets(frame, [attention], side_px=side, form="bgr8").crops
    left, top, width, height = crop.box
    assert (width, height) == (min(side, 160), min(side, 120))
    assert 0 <= left <= 160 - width
    assert 0 <= top <= 120 - height
    assert left - 0.5 <= x <= left + width - 0.5
    np.testing.assert_array_equal(
        crop.image(), frame.image[top : top + height, left : left + width]
    )
    inside = side / 2 < x < 159 - side / 2
    if inside:
        assert abs(left + (width - 1) / 2 - x) <= 1, "in the middle where there is room"


def test_best_targets_come_first_with_their_ids_and_as_jpeg() -> None:
    smooth = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 5), np.uint8)
    frame, attention = seen((40, 40), (100, 60), (20, 100), image=smooth)
    crops = crop_targets(frame, [attention], count=2, side_px=64)
    assert [(c.target_id, c.score, c.prompt) for c in crops.crops] == [
        (7, 0.5, "search for cup"),
        (8, 0.4, "search for cup"),
    ]
    left, top, *_ = crops.crops[0].box
    away = np.abs(crops.crops[0].image().astype(int) - smooth[top : top + 64, left : left + 64])
    assert away.mean() < 2


def test_message_comes_back_as_it_was_and_others_are_refused() -> None:
    frame, attention = seen((40, 40))
    sent = crop_targets(frame, [attention], form="bgr8").published(3, START_NS + 9)
    got = Crops.from_bytes(sent.to_bytes())
    assert (got.topic, got.seq, got.publish_ns, got.image) == (
        "crops/0",
        3,
        START_NS + 9,
        (160, 120),
    )
    assert got.crops[0].box == sent.crops[0].box
    np.testing.assert_array_equal(got.crops[0].image(), sent.crops[0].image())
    for body in (attention.to_bytes(), b"\x80", b"junk"):
        with pytest.raises(ValueError, match=r"not a crops message|not msgpack|map is expected"):
            Crops.from_bytes(body)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"image": [160]}, {"camera": 0}, {"crops": [3]}, {"capture_ns": "now"}),
        *({"box": [1, 2, 3]}, {"form": "png"}, {"data": "text"}, {"score": None}),
    ],
)
def test_crops_of_another_type_are_refused(wrong: dict[str, Any]) -> None:
    frame, attention = seen((40, 40))
    message = wire.unpack(crop_targets(frame, [attention]).to_bytes())
    inside = message["crops"][0] if set(wrong) <= set(message["crops"][0]) else message
    inside |= wrong
    with pytest.raises(ValueError, match="not a crops message"):
        Crops.from_bytes(wire.pack(message))


def taken(cropper: Cropper, count: int) -> list[Crops]:
    """The next crops, as many as are asked for."""
    found: list[Crops] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        found += cropper.take()
    assert len(found) == count
    return found


def test_crops_are_made_so_often_and_numbered() -> None:
    cropper = Cropper(GazeConfig(crops=1, crops_hz=10.0))
    try:
        for k in range(2):
            frame, attention = seen((40, 40), at_ns=START_NS + k * 100_000_000)
            cropper.offer(frame, [attention])
            between, maps = seen((40, 40), at_ns=START_NS + k * 100_000_000 + 50_000_000)
            cropper.offer(between, [maps])
            (crops,) = taken(cropper, 1)
            assert (crops.seq, crops.capture_ns) == (k, frame.capture_ns)
            assert crops.publish_ns > 0
        back, attention = seen((40, 40), at_ns=START_NS - 10**12)
        cropper.offer(back, [attention])
        assert taken(cropper, 1)[0].capture_ns == back.capture_ns
        assert cropper.dropped == 0
    finally:
        cropper.close()
        cropper.close()


def test_program_publishes_crops_where_they_are_asked_for() -> None:
    asked = ("--set", "gaze.crops=2", "--set", "gaze.crop_px=100", "--set", "gaze.crops_hz=20")
    with Program("--camera", "demo", "--engine", "onnx", *asked) as program:
        got = aam_edge.subscribe_crops(program.pub, camera="demo", timeout_s=40)
        first = next(got)
        later = next(crops for crops in got if crops.seq > first.seq)
        got.close()  # type: ignore[attr-defined]
        assert program.stop() < 5
    assert later.capture_ns > first.capture_ns
    assert later.publish_ns >= later.capture_ns
    for crop in later.crops:
        assert crop.image().shape == (100, 100, 3)
        assert crop.image().std() > 1
    assert 1 <= len(later.crops) <= 2


def test_settings_out_of_range_are_refused() -> None:
    for name, value in {"crops": 9, "crops_hz": 0, "crop_px": 8, "crop_form": "png"}.items():
        with pytest.raises(UsageError, match=f"gaze.{name}={value}"):
            load_config(sets=[f"gaze.{name}={value}"])


def test_page_gets_the_newest_crops_of_its_camera() -> None:
    frame, attention = seen((40, 40), (100, 60))
    crops = crop_targets(frame, [attention], form="bgr8")

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            offer(sink, 5)
            await picture(ws)
            sink.offer_crops(crops)
            while (message := json.loads((await next_of(ws, WSMsgType.TEXT)).data)) is not None:
                if message["type"] == "crops":
                    break
        assert [crop["target_id"] for crop in message["crops"]] == [7, 8]
        jpeg = np.frombuffer(base64.b64decode(message["crops"][0]["jpeg"]), np.uint8)
        shown = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.shape == crops.crops[0].image().shape

    sink = open_sink()
    try:
        sink.offer_crops(crops)  # nobody looks
        run(work)
    finally:
        sink.close()


@pytest.mark.parametrize("form", ["jpeg", "bgr8"])
def test_ros_gets_each_crop_as_a_picture_and_what_it_shows(form: str) -> None:
    frame, attention = seen((40, 40), (100, 60))
    crops = crop_targets(frame, [attention], side_px=64, form="jpeg" if form == "jpeg" else "bgr8")
    with RosBridge(2) as server, sink_of(server) as sink:
        sink.offer_crops(crops)
        server.wait(lambda: server.messages["/aam/crops/info"], "crops")
        info = json.loads(server.messages["/aam/crops/info"][0]["data"])
        assert [crop["target_id"] for crop in info["crops"]] == [7, 8]
        assert info["crops"][0]["box"] == list(crops.crops[0].box)
        (message,) = server.messages[f"/aam/{info['crops'][1]['topic']}"]
        assert message["header"]["stamp"] == {"sec": START_NS // 10**9, "nanosec": 0}
        data = np.frombuffer(message["data"], np.uint8)
        image = cv2.imdecode(data, 1) if form == "jpeg" else data.reshape(64, 64, 3)
        np.testing.assert_array_equal(image, crops.crops[1].image())
        assert server.log == []


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ask", ROOT / "examples" / "ask_about_crops.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def model_server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """What a server with OpenAI's chat interface answers, and what it was asked."""
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"path": self.path} | json.loads(body))
            answer = json.dumps({"choices": [{"message": {"content": "a cup"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()
            thread.join()


def test_example_asks_a_model_about_the_crops_of_a_running_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        model_server() as (url, asked),
        Program("--camera", "demo", "--engine", "onnx", "--set", "gaze.crops=1") as program,
    ):
        arguments = ["ask", "--server", url, "--endpoint", program.pub, "--frames", "1"]
        monkeypatch.setattr(sys, "argv", arguments)
        example().main()
    assert "256x256 px: a cup" in capsys.readouterr().out
    assert asked[0]["path"] == "/v1/chat/completions"
    text, image = asked[0]["messages"][0]["content"]  # type: ignore[index]
    assert text["type"] == "text"
    data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert decoded is not None
    assert decoded.shape == (256, 256, 3)
