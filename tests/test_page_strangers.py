"""The page's door as strangers meet it: raw sockets and foreign sites in a real browser."""

from __future__ import annotations

import base64
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import ClientSession

from aam_edge.config import NetConfig, PageConfig
from aam_edge.errors import SinkError
from aam_edge.sinks import page_door, page_guard
from aam_edge.sinks.page import PageSink
from tests.browser import open_chromium, wait_for
from tests.page_client import offer, open_sink, picture, run, watching

DEADLINE_S = 15.0
HOST = b"Host: 127.0.0.1\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


@pytest.fixture
def sink() -> Iterator[PageSink]:
    page = open_sink()
    yield page
    page.close()


def connect(sink: PageSink) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", sink.address.port))
    connection.settimeout(DEADLINE_S)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; fails if it does not."""
    got = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while data := connection.recv(65536):
            got += data
    return got


def ask(sink: PageSink, request: bytes) -> bytes:
    """The answer to raw bytes, whose connection must end."""
    with connect(sink) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
        return read_to_end(connection)


def check_alive(sink: PageSink) -> None:
    assert ask(sink, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 2000 + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n" + HOST + b"\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"403"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", b"403"),
        (b"GET /static/../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET /static/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET /static//etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n" + b"x" * 10, b"405"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999\r\n\r\nx", b"200"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 200, b"400"),
        (b"\0" * 5000, b"400"),
    ],
    ids=lambda part: ascii(part[:40]),
)
def test_request_that_no_browser_sends_is_answered_and_ended_without_a_trace(
    sink: PageSink, request_: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(sink, request_)
    assert answer.split(b" ")[1] == status
    assert b"root:" not in answer
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    check_alive(sink)


def test_head_without_end_is_cut(sink: PageSink) -> None:
    ask(sink, b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 1_000_000)
    check_alive(sink)


@pytest.mark.parametrize("shown", [b"\xff\xfe", b"", b"\xc3\xa9", b"x" * 5000])
def test_token_that_is_no_text_is_a_wrong_one(
    shown: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sink = open_sink(token="tell-nobody")
    try:
        head = b"GET / HTTP/1.1\r\n" + HOST
        answer = ask(sink, head + b"Authorization: Bearer " + shown + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
        answer = ask(sink, b"GET /?token=%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
    finally:
        sink.close()
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_connection_that_does_not_say_what_it_wants_is_closed(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(page_door, "HEAD_S", 0.3)
    sink = open_sink()
    try:
        assert ask(sink, said) == b""
        check_alive(sink)
    finally:
        sink.close()


def test_second_request_of_a_connection_is_not_waited_for(sink: PageSink) -> None:
    twice = (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2
    assert ask(sink, twice).count(b"HTTP/1.1 200 ") == 1


def test_connections_beyond_the_limit_are_cut_and_who_looks_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_door, "HEAD_S", 3.0)
    sink = open_sink()

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            offer(sink, 1)
            await picture(ws)
            with ExitStack() as opened:
                room = page_door.CONNECTIONS_AT_MOST - 1
                for _ in range(room):
                    opened.enter_context(connect(sink))
                last = opened.enter_context(connect(sink))
                assert read_to_end(last) == b""
                offer(sink, 2)
                assert (await picture(ws))["frame_id"] == 2

    try:
        run(work)
        wait_for("there is room again", lambda: ask(sink, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"))
    finally:
        sink.close()


@pytest.mark.parametrize("kind", ["one frame of 8 GB", "fragments without end"])
def test_endless_message_of_a_websocket_is_cut_and_not_kept(sink: PageSink, kind: str) -> None:
    before = rss_mb()
    with connect(sink) as connection:
        connection.sendall(UPGRADE)
        assert connection.recv(12) == b"HTTP/1.1 101"
        fragment = b"\x00\xfe" + (1000).to_bytes(2, "big") + bytes(4) + b"x" * 1000
        begin, piece = b"\x01\x80" + bytes(4), fragment * 500
        if kind == "one frame of 8 GB":
            begin, piece = b"\x81\xff" + (1 << 33).to_bytes(8, "big") + bytes(4), b"x" * (1 << 19)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
            connection.sendall(begin)
            for _ in range(200):
                connection.sendall(piece)
    assert rss_mb() - before < 30
    check_alive(sink)


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_strangers_do_not_fill_the_log(sink: PageSink, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(50):
        ask(sink, b"GET /a%0aWARNING%20all%20is%20well HTTP/1.1\r\nHost: evil\r\n\r\n")
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) <= 3
    assert all("\n" not in line for line in lines)


def test_open_page_needs_a_token_that_is_not_guessed() -> None:
    with pytest.raises(SinkError) as refused:
        open_sink("0.0.0.0:0", token="1234567")
    assert str(refused.value) == (
        "page token is too short (7 characters): give page.token at least "
        f"{page_guard.SHORTEST_TOKEN} characters that nobody guesses"
    )
    open_sink("0.0.0.0:0", token="12345678").close()
    open_sink(token="1").close()


class Site(BaseHTTPRequestHandler):
    """A page of somebody else, that tries what it can with the live page of who opens it."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def site() -> Iterator[int]:
    """Its port on 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


OPEN_SOCKET = """address => new Promise(done => {
    const ws = new WebSocket(address);
    ws.onopen = () => done("open");
    ws.onerror = () => done("refused");
})"""
FETCH = """address => fetch(address).then(a => a.text()).then(() => "read", () => "refused")"""


def test_foreign_sites_get_nothing_through_the_users_own_browser(sink: PageSink, site: int) -> None:
    port = sink.address.port
    # What an attacker's name server does: his name is the user's own machine.
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with open_chromium(rebound) as browser:
        page = browser.new_page()
        page.goto(f"http://evil.example:{site}/")
        assert page.title() == "evil"
        for host in ("127.0.0.1", "localhost", "evil.example"):
            assert page.evaluate(OPEN_SOCKET, f"ws://{host}:{port}/ws") == "refused"
            assert page.evaluate(FETCH, f"http://{host}:{port}/") == "refused"
        answer = page.goto(f"http://evil.example:{port}/")
        assert answer is not None
        assert answer.status == 403
        # From the page itself all of it works: the refusals above are not the network's.
        page.goto(sink.url)
        assert page.evaluate(OPEN_SOCKET, f"ws://127.0.0.1:{port}/ws") == "open"
        assert page.evaluate(FETCH, f"http://127.0.0.1:{port}/") == "read"


def test_insecure_page_is_still_closed_to_foreign_sites(site: int) -> None:
    from aam_edge.commands import Commands

    sink = PageSink(PageConfig(listen="0.0.0.0:0"), NetConfig(insecure=True), Commands())
    try:
        for origin in (b"http://127.0.0.1:1", b"null", b"http://evil.example"):
            origin_line = b"Origin: " + origin + b"\r\n\r\n"
            assert b" 403 " in ask(sink, UPGRADE[:-2] + origin_line)[:20]
    finally:
        sink.close()
