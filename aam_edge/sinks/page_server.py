"""The live page's server: what runs in its own thread, in its own event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from importlib import resources

from aiohttp import WSMsgType, web

from aam_edge.commands import Answer, Command, Commands, refusal
from aam_edge.config import PageConfig
from aam_edge.crops import Crops
from aam_edge.messages import Health
from aam_edge.sinks import page_wire
from aam_edge.sinks.page_door import PageDoor
from aam_edge.sinks.page_guard import Guard, guarded
from aam_edge.sinks.page_viewer import Viewer
from aam_edge.sinks.page_wire import JpegEncoder, Shown

logger = logging.getLogger(__name__)

BROWSERS_AT_MOST = 16
COMMANDS_AT_MOST = 4
"""Commands of one browser that may wait for the loop at a time."""
LEAVE_S = 0.2
"""Given to a browser to say goodbye when the page closes."""
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "page_plot.js": "text/javascript",
    "page_view.js": "text/javascript",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Latest:
    """One slot a camera between the loop and the page: the newest wins, nobody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, Shown] = {}

    def put(self, shown: Shown) -> None:
        with self._lock:
            self._slots[shown.frame.camera] = shown

    def get(self, camera: str | None) -> Shown | None:
        """The newest of a camera, None for the camera that came first."""
        with self._lock:
            first = next(iter(self._slots), "")
            return self._slots.get(first if camera is None else camera)

    def others(self, camera: str | None) -> list[Shown]:
        """The newest of all cameras but one; None is the camera that came first."""
        with self._lock:
            left_out = next(iter(self._slots), "") if camera is None else camera
            return [shown for name, shown in self._slots.items() if name != left_out]

    def cameras(self) -> list[str]:
        with self._lock:
            return list(self._slots)


class PageServer:
    """HTTP, websockets and encoding. All of it but `latest` belongs to the page's thread."""

    def __init__(self, config: PageConfig, guard: Guard, commands: Commands) -> None:
        self._config, self._guard, self._commands = config, guard, commands
        self._files = {name: _read_static(name) for name in ("index.html", *STATIC)}
        self._viewers: set[Viewer] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._transports: set[asyncio.Transport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._health: str | None = None
        self._stop = asyncio.Event()
        self.latest = Latest()
        self.encoder = JpegEncoder(config.width, config.quality)
        self.dropped_before = 0
        """Pictures dropped for browsers that have left."""

    @property
    def browsers(self) -> int:
        return len(self._viewers)

    @property
    def dropped(self) -> int:
        # A copy first: the loop asks while browsers come and go in the page's thread.
        return self.dropped_before + sum(viewer.pace.dropped for viewer in tuple(self._viewers))

    async def run(self, listening: socket.socket) -> None:
        """Serves until `stop`; closes the socket."""
        app = web.Application(middlewares=[guarded(self._guard)])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._static)
        app.router.add_get("/ws", self._connect)
        door = PageDoor(app, leave_s=LEAVE_S)
        await door.open(listening)
        try:
            await self._stop.wait()
        finally:
            await self._part()
            await door.close()

    def stop(self) -> None:
        """Makes `run` return soon."""
        self._stop.set()

    def show(self, camera: str) -> None:
        """There is a new picture of a camera."""
        now_s = asyncio.get_running_loop().time()
        shown = self.latest.get(None)
        first = None if shown is None else shown.frame.camera
        for viewer in self._viewers:
            is_looked_at = camera == (viewer.camera or first)
            (viewer.pace if is_looked_at else viewer.others).offer(now_s)
            viewer.plan()

    def show_crops(self, crops: Crops) -> None:
        """There are new crops of a camera; who has not got the last ones gets these instead."""
        text = page_wire.crops_message(crops)
        shown = self.latest.get(None)
        first = None if shown is None else shown.frame.camera
        for viewer in self._viewers:
            if crops.camera == (viewer.camera or first):
                viewer.crops = text
                viewer.changed.set()

    def report(self, health: Health) -> None:
        """There is a new health report."""
        self._health = page_wire.health_message(health)
        for viewer in self._viewers:
            viewer.health = self._health
            viewer.changed.set()

    async def _page(self, request: web.Request) -> web.Response:
        body = self._files["index.html"]
        return web.Response(body=body, content_type="text/html", charset="utf-8")

    async def _static(self, request: web.Request) -> web.Response:
        # A name that stands in the table, not a path: there is nothing to climb out of.
        name = request.match_info["name"]
        if name not in STATIC:
            raise web.HTTPNotFound(text="no such file\n")
        return web.Response(body=self._files[name], content_type=STATIC[name], charset="utf-8")

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._viewers) >= BROWSERS_AT_MOST:
            raise web.HTTPServiceUnavailable(text="too many browsers look: close one\n")
        ws = web.WebSocketResponse(
            max_msg_size=page_wire.MESSAGE_BYTES, heartbeat=20, timeout=LEAVE_S, compress=False
        )
        await ws.prepare(request)
        viewer = Viewer(self._config.fps)
        self._enter(viewer, ws, request)
        both = [asyncio.create_task(work(viewer, ws)) for work in (self._read, self._send)]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            self._leave(viewer, ws, request)
        return ws

    def _enter(self, viewer: Viewer, ws: web.WebSocketResponse, request: web.Request) -> None:
        logger.info("page: a browser looks (%s)", request.remote)
        assert request.transport is not None, "the connection was just prepared"
        self._viewers.add(viewer)
        self._sockets.add(ws)
        self._transports.add(request.transport)
        viewer.health = self._health
        self._look(viewer, None, 0)
        viewer.changed.set()

    def _leave(self, viewer: Viewer, ws: web.WebSocketResponse, request: web.Request) -> None:
        viewer.forget()
        self._viewers.discard(viewer)
        self._sockets.discard(ws)
        self._transports = {t for t in self._transports if not t.is_closing()}
        self.dropped_before += viewer.pace.dropped
        logger.info("page: a browser left (%s)", request.remote)

    async def _part(self) -> None:
        """Says goodbye to all browsers, and hangs up on those that do not listen."""
        goodbyes = [asyncio.ensure_future(ws.close(code=1001)) for ws in self._sockets]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=LEAVE_S)
        for task in (*goodbyes, *self._tasks):
            task.cancel()
        for transport in self._transports:
            transport.abort()

    async def _send(self, viewer: Viewer, ws: web.WebSocketResponse) -> None:
        """All that goes to one browser unasked. Where its way is full this waits, nobody else."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await viewer.changed.wait()
                viewer.changed.clear()
                if viewer.health is not None:
                    text, viewer.health = viewer.health, None
                    await ws.send_str(text)
                if viewer.crops is not None:
                    text, viewer.crops = viewer.crops, None
                    await ws.send_str(text)
                if viewer.pace.delay_s(loop.time()) == 0:
                    await self._send_picture(viewer, ws)
                if viewer.others.delay_s(loop.time()) == 0:
                    await self._send_others(viewer, ws)
                viewer.plan()
        except ConnectionError:
            pass  # the browser has gone

    async def _send_picture(self, viewer: Viewer, ws: web.WebSocketResponse) -> None:
        viewer.pace.begin(asyncio.get_running_loop().time())
        shown = self.latest.get(viewer.camera)
        if shown is not None:
            jpeg = self.encoder.encode(shown)
            cameras = self.latest.cameras()
            await ws.send_bytes(page_wire.picture_message(shown, jpeg, viewer.index, cameras))
        viewer.pace.end()

    async def _send_others(self, viewer: Viewer, ws: web.WebSocketResponse) -> None:
        viewer.others.begin(asyncio.get_running_loop().time())
        await ws.send_bytes(page_wire.others_message(self.latest.others(viewer.camera)))
        viewer.others.end()

    async def _read(self, viewer: Viewer, ws: web.WebSocketResponse) -> None:
        async for message in ws:
            if message.type is WSMsgType.ERROR:
                return
            try:
                text = message.data if message.type is WSMsgType.TEXT else "binary"
                await self._obey(viewer, ws, text)
            except ConnectionError:
                return

    async def _obey(self, viewer: Viewer, ws: web.WebSocketResponse, text: str) -> None:
        request = None
        try:
            request = page_wire.parse_request(text)
            command = page_wire.check_request(request)
        except ValueError as problem:
            answer = refusal(f"message is not understood: {problem}")
            await ws.send_str(page_wire.answer_message(answer, request))
            return
        if command["cmd"] == "seen":
            (viewer.others if command["others"] else viewer.pace).seen()
            viewer.plan()
        elif command["cmd"] == "look":
            answer = self._look(viewer, command["camera"], command["index"])
            await ws.send_str(page_wire.answer_message(answer, request))
        elif viewer.commands_waiting >= COMMANDS_AT_MOST:
            answer = refusal("too many commands are waiting")
            await ws.send_str(page_wire.answer_message(answer, request))
        else:
            self._pass_on(viewer, ws, command, request)

    def _look(self, viewer: Viewer, camera: str | None, index: int) -> Answer:
        if camera is not None and camera not in self.latest.cameras():
            return refusal(f"there is no camera {camera}")
        viewer.camera, viewer.index = camera, index
        if self.latest.get(camera) is not None:
            viewer.pace.offer(asyncio.get_running_loop().time())
            viewer.plan()
        return {"ok": True}

    def _pass_on(
        self, viewer: Viewer, ws: web.WebSocketResponse, command: Command, request: object
    ) -> None:
        """Hands a command to the loop; the answer goes back when it comes."""

        async def wait() -> None:
            try:
                answer = await _submit(self._commands, command)
                await ws.send_str(page_wire.answer_message(answer, request))
            except ConnectionError:
                pass
            finally:
                viewer.commands_waiting -= 1

        viewer.commands_waiting += 1
        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _submit(commands: Commands, command: Command) -> asyncio.Future[Answer]:
    """`commands.submit` in a daemon thread.

    Not in an executor: Python waits for an executor's threads at exit, and a command that nobody
    answers any more would hold up Ctrl-C for its whole timeout.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def deliver(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    def work() -> None:
        answer = commands.submit(command)
        try:
            loop.call_soon_threadsafe(deliver, answer)
        except RuntimeError:
            logger.debug("page closed before the answer to %s came", command["cmd"])

    threading.Thread(target=work, name="aam-page-command", daemon=True).start()
    return future


def _read_static(name: str) -> bytes:
    return (resources.files("aam_edge.sinks") / "static" / name).read_bytes()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
