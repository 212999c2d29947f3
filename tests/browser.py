"""What the tests of the live page share: a stand-in for the loop, and Chromium."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from aam_edge.commands import Answer, Command, Commands, refusal
from aam_edge.messages import Attention, Frame, Gaze, Health, Map, Target
from aam_edge.sinks.page import PageSink

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DEADLINE_S = 10.0
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
HEALTH = Health(
    rate_hz=31.5,
    latency_ms={"p50": 9.25, "p99": 17.5},
    stages_ms={"network": 8.0},
    dropped={"camera 0": 3, "page": 0},
    source_state={"0": "live"},
    sinks={"zmq": "ok", "page": "ok"},
    engine="onnx f32",
    device="CPU",
    rss_bytes=123_000_000,
    uptime_s=3725.0,
    warnings=("sound is not used",),
)


@dataclass(frozen=True)
class Scene:
    """What the pictures show: one colour, and one place that is looked at."""

    bgr: tuple[int, int, int] = (60, 120, 30)
    spot: tuple[float, float] = (0.25, 0.3)
    """x, y, as parts of the picture."""
    size: tuple[int, int] = (320, 240)


def density_at(spot: tuple[float, float], shape: tuple[int, int] = (24, 32)) -> Map:
    """A round hill."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre_x, centre_y = spot[0] * shape[1] - 0.5, spot[1] * shape[0] - 0.5
    hill = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / 8) + 1e-6
    return np.asarray(hill / hill.sum(), np.float32)


def make_frame(frame_id: int, scene: Scene = Scene(), camera: str = "0") -> Frame:
    width, height = scene.size
    image = np.full((height, width, 3), scene.bgr, np.uint8)
    return Frame(image, time.time_ns(), camera, frame_id)


def make_attention(frame: Frame, scene: Scene, prompt: str, index: int = 0) -> Attention:
    (width, height), density = frame.size, density_at(scene.spot)
    x, y = scene.spot[0] * width - 0.5, scene.spot[1] * height - 0.5
    return Attention(
        camera=frame.camera,
        frame_id=str(frame.frame_id),
        capture_ns=frame.capture_ns,
        prompt=prompt,
        prompt_index=index,
        image=frame.size,
        density=density,
        entropy=float(-(density * np.log2(density)).sum()),
        targets=(Target(id=7, x=x, y=y, sigma_px=12.0, score=0.62),),
        gaze=Gaze(x=x, y=y, target_id=7),
        model="nano",
    )


class Feeder:
    """Stands in for the loop: offers pictures and health to a page, and executes commands."""

    def __init__(
        self,
        page: PageSink,
        commands: Commands,
        *,
        cameras: Sequence[str] = ("0",),
        prompts: Sequence[str] = ("free viewing",),
    ) -> None:
        self.page, self.scene, self.health = page, Scene(), HEALTH
        self.offered = 0
        self.heard: list[Command] = []
        self._commands, self._cameras, self._prompts = commands, cameras, list(prompts)
        self._is_paused = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder")

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        steps = 0
        while not self._stop.wait(1 / 60):
            self._commands.execute(self._obey)
            if not self._is_paused:
                self._offer()
            if steps % 12 == 0:
                states = dict.fromkeys(self._cameras, "live")
                self.page.offer_health(replace(self.health, source_state=states))
            steps += 1

    def _offer(self) -> None:
        self.offered += 1
        for camera in self._cameras:
            frame = make_frame(self.offered, self.scene, camera)
            maps = [make_attention(frame, self.scene, p, i) for i, p in enumerate(self._prompts)]
            self.page.offer(frame, maps)

    def _obey(self, command: Command) -> Answer:
        self.heard.append(command)
        if command["cmd"] == "set_prompt":
            if "unicorn" in command["prompt"]:
                return refusal("there are no unicorns")
            self._prompts[command["index"]] = command["prompt"]
        if command["cmd"] in ("pause", "resume"):
            self._is_paused = command["cmd"] == "pause"
        return {"ok": True}


@contextmanager
def open_chromium(*more: str) -> Iterator[Browser]:
    """The system's Chromium, with more arguments; skips where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser: Browser = running.chromium.launch(executable_path=path, args=[*CHROMIUM, *more])
        try:
            yield browser
        finally:
            browser.close()


def wait_for(what: str, holds: Callable[[], object], page: Page | None = None) -> None:
    """Returns as soon as it holds; fails by name after DEADLINE_S."""
    pause = threading.Event()
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"did not happen in {DEADLINE_S:g} s: {what}"
        # Playwright handles the browser's events only inside its own calls.
        pause.wait(0.01) if page is None else page.wait_for_timeout(10)


def pixel(page: Page, x: float, y: float) -> tuple[int, int, int]:
    """Red, green, blue of the picture on the page at parts x, y of its width and height."""
    script = """([x, y]) => {
        const view = document.getElementById("view");
        const at = [Math.floor(x * view.width), Math.floor(y * view.height)];
        return [...view.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    red, green, blue, _ = page.evaluate(script, [x, y])
    return red, green, blue


def is_near(rgb: tuple[int, int, int], bgr: tuple[int, int, int], within: int = 8) -> bool:
    """Whether a pixel on the page has the colour of a picture, up to JPEG."""
    return all(abs(a - b) <= within for a, b in zip(rgb, reversed(bgr), strict=True))
