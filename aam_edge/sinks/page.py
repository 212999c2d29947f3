"""The live page: camera picture, map, targets, health and a prompt box in a browser.

The loop puts the newest picture of each camera into a slot and goes on. A thread of its own serves,
and encodes only what a connected browser gets. `page_wire` says what passes over the websocket,
`page_guard` who may look, `page_viewer` when a browser gets its next picture.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial

from aam_edge.commands import Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.crops import Crops
from aam_edge.messages import Attention, Frame, Health
from aam_edge.sinks.page_guard import Address, Guard, listen_on, parse_listen
from aam_edge.sinks.page_server import PageServer
from aam_edge.sinks.page_wire import Shown

logger = logging.getLogger(__name__)

CLOSE_S = 0.9


class PageSink:
    """The live page as a sink; listens from its constructor on.

    Raises UsageError if `config.listen` is no address, SinkError if it cannot or must not be used.
    """

    name = "page"

    def __init__(self, config: PageConfig, net: NetConfig, commands: Commands) -> None:
        asked = parse_listen(config.listen)
        self._guard = Guard(asked, config, net)
        listening = listen_on(asked)
        self.address = Address(asked.host, listening.getsockname()[1])
        self._server = PageServer(config, self._guard, commands)
        self._loop = asyncio.new_event_loop()
        self._woken: set[str] = set()
        self._woken_lock = threading.Lock()
        self._trouble = ""
        self._thread = threading.Thread(
            target=self._serve, args=(listening,), name="aam-page", daemon=True
        )
        self._thread.start()
        logger.info("page: %s%s", self.url, " with a token" if self._guard.needs_token() else "")

    @property
    def url(self) -> str:
        """What to open in a browser, without the token."""
        host = socket.gethostname() if self.address.is_everywhere else self.address.host
        return f"http://{Address(host, self.address.port)}/"

    @property
    def dropped(self) -> int:
        """Pictures that a browser should have had and did not get because it was slow."""
        return self._server.dropped

    @property
    def browsers(self) -> int:
        """How many look."""
        return self._server.browsers

    @property
    def encoded(self) -> int:
        """Pictures encoded since the start; stands still while nobody looks."""
        return self._server.encoder.encoded

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Puts the picture into its camera's slot, over an older one."""
        self._server.latest.put(Shown(frame, tuple(attentions)))
        if not self._server.browsers:
            return
        with self._woken_lock:
            is_known = frame.camera in self._woken
            self._woken.add(frame.camera)
        # One call a camera at a time: a page that is busy must not gather a queue of them.
        if not is_known:
            self._call(partial(self._show, frame.camera))

    def offer_crops(self, crops: Crops) -> None:
        """Shown below the picture of their camera."""
        if self._server.browsers:
            self._call(partial(self._server.show_crops, crops))

    def offer_health(self, health: Health) -> None:
        """Sent to every browser that looks."""
        self._call(partial(self._server.report, health))

    def state(self) -> str:
        """`ok`, or what is wrong."""
        return self._trouble or "ok"

    def close(self) -> None:
        """Hangs up on all browsers; twice is fine."""
        self._call(self._server.stop)
        self._thread.join(CLOSE_S)

    def _show(self, camera: str) -> None:
        with self._woken_lock:
            self._woken.discard(camera)
        self._server.show(camera)

    def _call(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            # The page's thread has ended, by `close` or by a failure that `state` tells.
            logger.debug("page is closed")

    def _serve(self, listening: socket.socket) -> None:
        """The page's thread."""
        try:
            self._loop.run_until_complete(self._server.run(listening))
        except Exception as problem:
            self._trouble = f"stopped: {problem}"
            logger.exception("page stopped")
        finally:
            listening.close()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
