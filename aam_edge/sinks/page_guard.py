"""Who may open the live page.

On loopback any program of this machine may, but no web site through the user's own browser: the
Host header must name this machine (a site that points its own name at 127.0.0.1 fails here), and an
Origin must be the page itself (a foreign site that opens a websocket fails here). On any other
address a token is needed, or the word that none is wanted.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import logging
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from aam_edge.config import NetConfig, PageConfig
from aam_edge.errors import SinkError, UsageError
from aam_edge.sinks.address import is_loopback
from aam_edge.sinks.seldom import Seldom

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

logger = logging.getLogger(__name__)

LISTEN = re.compile(r"(\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})", re.ASCII)
SHORTEST_TOKEN = 8
WRONG_TOKEN_S = 0.2
"""An answer to a wrong token takes this long, so that guessing does."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page listens; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True where only this machine can connect."""
        return is_loopback(self.host)

    @property
    def is_everywhere(self) -> bool:
        """True for 0.0.0.0 and ::, all addresses of this machine."""
        address = _address_of(self.host)
        return address is not None and address.is_unspecified


def parse_listen(text: str, what: str = "page") -> Address:
    """`127.0.0.1:8088` or `[::1]:8088` to an address; raises UsageError, which names `what`."""
    match = LISTEN.fullmatch(text)
    if match is not None and int(match["port"]) < 65536:
        return Address((match["ipv6"] or match["host"]).lower(), int(match["port"]))
    todo = "give HOST:PORT such as 127.0.0.1:8088, or none"
    raise UsageError(f"{what} address is wrong", text, todo)


def listen_on(address: Address) -> socket.socket:
    """A listening socket; raises SinkError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        # localhost is often both ::1 and 127.0.0.1, and browsers try both: one is enough.
        family, kind, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listening = socket.socket(family, kind)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(64)
        except OSError:
            listening.close()
            raise
        return listening
    except OSError as problem:
        todo = "choose another with --page HOST:PORT or --page none"
        if problem.errno == errno.EADDRINUSE:
            raise SinkError("port is in use", address, todo) from problem
        why = f"{address}: {problem.strerror or problem}"
        raise SinkError("page cannot listen there", why, todo) from problem


class Guard:
    """Lets a request in or says why not."""

    def __init__(self, address: Address, config: PageConfig, net: NetConfig) -> None:
        """Raises SinkError if the address would be open to all without a word that it may."""
        self._address = address
        self._token = config.token or None
        self._names = LOOPBACK_NAMES | {address.host}
        if address.is_everywhere:
            name = socket.gethostname().lower()
            self._names |= {name, f"{name}.local", socket.getfqdn().lower()}
        if address.is_loopback:
            return
        if self._token:
            if len(self._token) < SHORTEST_TOKEN and not net.insecure:
                todo = f"give page.token at least {SHORTEST_TOKEN} characters that nobody guesses"
                raise SinkError("page token is too short", f"{len(self._token)} characters", todo)
            return
        if not net.insecure:
            todo = "give --set page.token=SECRET, or --set net.insecure=true to open it to all"
            raise SinkError("page would be open to the network", address, todo)
        logger.warning("page is open to the network without a token (%s): net.insecure", address)

    def needs_token(self) -> bool:
        """True if a browser must show one."""
        return self._token is not None

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        name = _host_name(host)
        if self._address.is_loopback:
            return name in self._names
        # Over the network this machine has names that we cannot know. A token proves enough, and an
        # address in the Host header cannot be the name of a foreign site.
        return self._token is not None or name in self._names or _address_of(name) is not None

    def knows_token(self, shown: str) -> bool:
        """Whether a request shows the token, where there is one."""
        if self._token is None:
            return True
        # What is no UTF-8 in a header comes as surrogates.
        mine, theirs = self._token.encode(), shown.encode(errors="surrogateescape")
        return hmac.compare_digest(theirs, mine)

    def refusal(self, request: web.Request) -> web.HTTPException | None:
        """The answer to a request that may not pass."""
        host, origin = request.headers.get("Host", "").lower(), request.headers.get("Origin")
        if not self.knows_host(host):
            text = "this name is not mine: open the page by the address that aam-edge printed\n"
            return web.HTTPForbidden(text=text)
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return web.HTTPForbidden(text="another site may not use this page\n")
        # The page's code is no secret, and a link to it cannot carry the token.
        if not request.path.startswith("/static/") and not self.knows_token(_token_of(request)):
            text = "a token is needed: add ?token=SECRET to the address\n"
            return web.HTTPUnauthorized(text=text)
        return None


def guarded(guard: Guard) -> Middleware:
    """The guard as aiohttp's middleware."""
    refused = Seldom(logger)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard.refusal(request)
        if refusal is not None:
            refused.warn(f"page {request.path} for {request.remote}: {refusal.status}")
            if refusal.status == web.HTTPUnauthorized.status_code and _token_of(request):
                await asyncio.sleep(WRONG_TOKEN_S)
            raise refusal
        return await handler(request)

    return check


def _token_of(request: web.Request) -> str:
    kind, _, shown = request.headers.get("Authorization", "").partition(" ")
    return shown.strip() if kind.lower() == "bearer" else request.query.get("token", "")


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
