from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aam_edge.commands import Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.sinks.page import PageSink
from tests.browser import DEADLINE_S, Feeder, Scene, is_near, open_chromium, pixel, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = (1280, 800), (390, 844)
EMPTY_CORNER = (0.95, 0.95)
HIDE = """(state) => {
    Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def sink(commands: Commands) -> Iterator[PageSink]:
    page = PageSink(PageConfig(listen="127.0.0.1:0"), NetConfig(), commands)
    yield page
    page.close()


@pytest.fixture
def feeder(sink: PageSink, commands: Commands) -> Iterator[Feeder]:
    with Feeder(sink, commands) as running:
        yield running


@pytest.fixture(scope="module")
def errors() -> list[str]:
    """What the tab's console said."""
    return []


@pytest.fixture(scope="module")
def tab(chromium: Browser, errors: list[str]) -> Page:
    """One for all tests: a new one costs a second."""
    tab = new_tab(chromium)
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda problem: errors.append(str(problem)))
    return tab


@pytest.fixture
def opened(tab: Page, feeder: Feeder, errors: list[str]) -> Iterator[Page]:
    open_page(tab, feeder.page)
    yield tab
    tab.goto("about:blank")
    # A page that was left behind may still have knocked where its stream no longer is.
    assert [error for error in errors if "ERR_CONNECTION_REFUSED" not in error] == []


def new_tab(chromium: Browser) -> Page:
    tab = chromium.new_page()
    tab.set_default_timeout(1000 * DEADLINE_S)
    return tab


def open_page(page: Page, sink: PageSink, size: tuple[int, int] = DESKTOP, query: str = "") -> Page:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(sink.url + query)
    wait_for("live", lambda: text(page, "#status") == "live", page)
    wait_for("a picture", lambda: corner_is(page, Scene().bgr), page)
    return page


def text(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def corner_is(page: Page, bgr: tuple[int, int, int]) -> bool:
    return is_near(pixel(page, *EMPTY_CORNER), bgr)


def frame_shown(page: Page) -> int:
    return int(page.locator("#view").get_attribute("data-frame") or 0)


def is_warm(rgb: tuple[int, int, int]) -> bool:
    """The bright end of the map's colours: red and green high."""
    return rgb[0] > 180 and rgb[1] > 120


def test_picture_is_shown_in_its_colours_and_follows_the_camera(
    opened: Page, feeder: Feeder
) -> None:
    feeder.scene = Scene(bgr=(20, 40, 200))
    wait_for("red", lambda: corner_is(opened, (20, 40, 200)), opened)


def test_map_lies_where_attention_is_and_moves_with_it(opened: Page, feeder: Feeder) -> None:
    opened.uncheck("#show-targets")
    opened.uncheck("#show-gaze")
    wait_for("map at its place", lambda: is_warm(pixel(opened, 0.25, 0.3)), opened)
    feeder.scene = Scene(spot=(0.7, 0.6))
    wait_for("map at the new place", lambda: is_warm(pixel(opened, 0.7, 0.6)), opened)
    wait_for("old place free", lambda: is_near(pixel(opened, 0.25, 0.3), Scene().bgr), opened)


def test_map_can_be_made_fainter_and_switched_off(opened: Page) -> None:
    opened.uncheck("#show-targets")
    opened.uncheck("#show-gaze")
    wait_for("map", lambda: is_warm(pixel(opened, 0.25, 0.3)), opened)
    strong = pixel(opened, 0.25, 0.3)[0]
    opened.locator("#opacity").fill("20")
    wait_for("fainter", lambda: 30 + 20 < pixel(opened, 0.25, 0.3)[0] < strong - 50, opened)
    opened.uncheck("#show-map")
    wait_for("plain", lambda: is_near(pixel(opened, 0.25, 0.3), Scene().bgr), opened)


def test_targets_are_ringed_at_two_sigma_and_listed(opened: Page) -> None:
    opened.uncheck("#show-map")
    # The ring's top: sigma is 12 of 240 pixels, so 2 sigma is a tenth of the height.
    wait_for("ring", lambda: min(pixel(opened, 0.25, 0.3 - 0.1)) > 200, opened)
    assert text(opened, "#targets li .rank") == "1"
    assert text(opened, "#targets li .share") == "62 %"


def test_gaze_is_a_cross(opened: Page) -> None:
    opened.uncheck("#show-map")
    width = opened.evaluate("document.getElementById('view').clientWidth")
    arm = (0.25 + 8 / width, 0.3)
    wait_for("cross", lambda: is_near(pixel(opened, *arm), (255, 211, 111), 30), opened)
    opened.uncheck("#show-gaze")
    wait_for("no cross", lambda: is_near(pixel(opened, *arm), Scene().bgr), opened)


def test_prompt_typed_into_the_box_reaches_the_loop_and_is_confirmed(
    opened: Page, feeder: Feeder
) -> None:
    opened.get_by_label("New prompt").fill("  search for cup ")
    opened.keyboard.press("Enter")
    opened.locator("#answer.is-good").wait_for()
    assert feeder.heard == [{"cmd": "set_prompt", "prompt": "search for cup", "index": 0}]
    wait_for("new prompt", lambda: text(opened, "#prompt-now") == "search for cup", opened)
    assert opened.get_by_label("New prompt").input_value() == ""


def test_refused_prompt_says_why_and_the_old_one_stays(opened: Page) -> None:
    opened.get_by_label("New prompt").fill("search for unicorn")
    opened.get_by_text("Look for it").click()
    opened.locator("#answer.is-bad").wait_for()
    assert text(opened, "#answer") == "refused: there are no unicorns"
    assert text(opened, "#prompt-now") == "free viewing"
    assert opened.get_by_label("New prompt").input_value() == "search for unicorn"


def test_pause_stops_the_stream_and_resume_lets_it_go_on(opened: Page, feeder: Feeder) -> None:
    opened.get_by_role("button", name="Pause").click()
    wait_for("paused", lambda: text(opened, "#status") == "paused", opened)
    opened.get_by_role("button", name="Reset").click()
    opened.get_by_role("button", name="Resume").click()
    before = frame_shown(opened)
    wait_for("live again", lambda: text(opened, "#status") == "live", opened)
    wait_for("new pictures", lambda: frame_shown(opened) > before, opened)
    assert [command["cmd"] for command in feeder.heard] == ["pause", "reset", "resume"]


def test_health_is_shown(opened: Page) -> None:
    wait_for("health", lambda: text(opened, "#rate") == "31.5", opened)
    assert (text(opened, "#p50"), text(opened, "#p99")) == ("9.3", "17.5")
    assert text(opened, "#dropped") == "3"
    system = text(opened, "#system")
    for words in ("onnx f32, CPU", "camera 0", "live", "123 MB", "01:02:05", "camera 0 3"):
        assert words in system
    assert text(opened, "#warnings") == "sound is not used"
    drawn = "[...document.querySelectorAll('.meter canvas')].map((c) => c.getContext('2d')"
    drawn += ".getImageData(0, 0, c.width, c.height).data.some((value) => value > 100))"
    wait_for("plots", lambda: opened.evaluate(drawn)[:2] == [True, True], opened)


def test_latency_of_a_slow_stream_leaves_room_for_its_unit(opened: Page, feeder: Feeder) -> None:
    feeder.health = replace(feeder.health, latency_ms={"p50": 99.94, "p99": 1195.4})
    wait_for("health", lambda: text(opened, "#p99") == "1195", opened)
    assert text(opened, "#p50") == "99.9"
    cut = "(p) => { const line = document.querySelector(p).parentElement;"
    cut += " return line.scrollWidth > line.clientWidth; }"
    assert not opened.evaluate(cut, "#p99")


def test_hidden_page_hangs_up_so_that_nothing_is_encoded_for_it(
    opened: Page, sink: PageSink, feeder: Feeder
) -> None:
    opened.evaluate(HIDE, "hidden")
    wait_for("hung up", lambda: sink.browsers == 0, opened)
    encoded, offered = sink.encoded, feeder.offered
    wait_for("more pictures", lambda: feeder.offered > offered + 30, opened)
    assert sink.encoded == encoded
    opened.evaluate(HIDE, "visible")
    wait_for("live again", lambda: text(opened, "#status") == "live", opened)
    wait_for("encoded again", lambda: sink.encoded > encoded, opened)


def test_page_says_that_it_is_disconnected_and_comes_back_by_itself(
    tab: Page, errors: list[str], commands: Commands
) -> None:
    first = PageSink(PageConfig(listen="127.0.0.1:0"), NetConfig(), commands)
    with Feeder(first, commands) as feeder:
        page = open_page(tab, first)
        first.close()
        wait_for("disconnected", lambda: text(page, "#status") == "disconnected", page)
        assert "Disconnected" in text(page, "#notice")
        assert page.get_by_role("button", name="Pause").is_disabled()
        second = PageSink(PageConfig(listen=str(first.address)), NetConfig(), commands)
        feeder.page = second
        wait_for("live again", lambda: text(page, "#status") == "live", page)
        assert page.locator("#notice").is_hidden()
        page.goto("about:blank")
        second.close()
    errors.clear()  # the browser itself reports each try that met no server


def test_token_in_the_address_opens_the_page_and_its_websocket(
    tab: Page, commands: Commands
) -> None:
    config = PageConfig(listen="127.0.0.1:0", token="a b&c")
    sink = PageSink(config, NetConfig(), commands)
    with Feeder(sink, commands):
        open_page(tab, sink, query="?token=a%20b%26c")
        tab.goto("about:blank")
    sink.close()


def test_two_browsers_see_the_same_camera(
    chromium: Browser, opened: Page, feeder: Feeder, sink: PageSink
) -> None:
    other = open_page(new_tab(chromium), sink, PHONE)
    assert sink.browsers == 2
    feeder.scene = Scene(bgr=(200, 10, 10))
    for page in (opened, other):
        wait_for("blue", partial(corner_is, page, (200, 10, 10)), page)
    other.close()


def test_camera_and_prompt_can_be_chosen_where_there_are_several(
    tab: Page, sink: PageSink, commands: Commands
) -> None:
    prompts = ["free viewing", "search for cup"]
    with Feeder(sink, commands, cameras=("left", "right"), prompts=prompts) as feeder:
        page = open_page(tab, sink)
        page.get_by_label("Camera", exact=True).select_option("right")
        page.get_by_label("Prompt", exact=True).select_option("1")
        wait_for("prompt", lambda: text(page, "#prompt-now") == "search for cup", page)
        page.get_by_label("New prompt").fill("search for plate")
        page.keyboard.press("Enter")
        wait_for("new prompt", lambda: text(page, "#prompt-now") == "search for plate", page)
        assert feeder.heard[-1]["index"] == 1
        page.get_by_label("Prompt", exact=True).select_option("0")
        wait_for("first prompt", lambda: text(page, "#prompt-now") == "free viewing", page)
        wait_for("camera", lambda: "Camera right" in label_of_view(page), page)


def label_of_view(page: Page) -> str:
    return page.locator("#view").get_attribute("aria-label") or ""


def test_phone_sized_window_has_no_sideways_scroll(tab: Page, feeder: Feeder) -> None:
    page = open_page(tab, feeder.page, PHONE)
    page.get_by_label("New prompt").fill("search for " + "x" * 300)
    page.keyboard.press("Enter")
    page.locator("#answer.is-good").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    view = page.locator("#view").bounding_box()
    assert view is not None
    assert view["width"] > 0.9 * PHONE[0]
    assert view["width"] / view["height"] == pytest.approx(4 / 3, abs=0.01)


def test_portrait_picture_keeps_its_shape(opened: Page, feeder: Feeder) -> None:
    feeder.scene = Scene(size=(120, 200))
    view = "document.getElementById('view')"
    shape = f"{view}.clientWidth / {view}.clientHeight"
    wait_for("portrait", lambda: abs(opened.evaluate(shape) - 0.6) < 0.01, opened)


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_screenshot_can_be_taken(
    tab: Page, feeder: Feeder, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    page = open_page(tab, feeder.page, size)
    wait_for("health", lambda: text(page, "#rate") == "31.5", page)
    folder = Path(os.environ.get("AAM_SCREENSHOTS", tmp_path))
    file = folder / f"page-{name}.png"
    page.screenshot(path=file)
    assert file.stat().st_size > 10_000
