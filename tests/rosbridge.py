"""A small rosbridge with a ROS graph behind it, as strict and as silent as the real one.

What a real bridge refuses (unknown type, publishing without advertising, a field that is not there,
another type than the topic has) is refused here: it stands in `log`, and the client hears nothing.
`ros` chooses the personality: names of stamps and fields, and of types. Faults have switches.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

from tests.ros_fit import Refused, RosTypes, Tree
from tests.ros_types import SERVICES

DEADLINE_S = 90.0
MESSAGE_BYTES = 10 << 20


async def turns() -> None:
    """Some turns of the loop: what is accepted or aborted is so only after one or two."""
    for _ in range(9):
        await asyncio.sleep(0)


class Client:
    """One connection."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport):
        self.socket, self.transport = socket, transport
        self.advertised: set[str] = set()
        self.subscribed: dict[str, Tree] = {}
        self.services: set[str] = set()
        self.fragments: dict[str, dict[int, str]] = defaultdict(dict)


class RosBridge(RosTypes):
    """The server, in a thread of its own; use it with `with`."""

    def __init__(self, ros: int = 2, *, rosapi: bool = True, without: tuple[str, ...] = ()):
        super().__init__(ros, without)
        self.services = {n: t for n, t in SERVICES.items() if not n.startswith(without or ("-",))}
        self.has_rosapi = rosapi
        self.topics: dict[str, str] = {}
        """Topic to type: the graph."""
        self.messages: dict[str, list[Tree]] = defaultdict(list)
        """All that was published, as a ROS node would see it."""
        self.operations: list[Tree] = []
        """All that clients sent, in order."""
        self.log: list[str] = []
        self.attempts = self.connections = 0
        self.refuses = False
        self.fragment_size: int | None = None
        self.reads = True
        self.delay_s = 0.0
        self._clients: list[Client] = []
        self._answers: dict[str, asyncio.Future[Tree]] = {}
        self._numbers = count()
        self._changed = threading.Condition()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> RosBridge:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rosbridge")
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.reads, self.delay_s = True, 0.0
        self.stop()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # For tests, from their thread.

    def start(self) -> None:
        """Listens, on the same port as before."""
        self._run(self._start())

    def stop(self) -> None:
        """Goes away without a word, as a killed bridge does."""
        self._run(self._stop())

    def drop(self, half_a_message: bool = False) -> None:
        """Cuts all connections, if wanted in the middle of a frame; goes on listening."""
        self._run(self._drop(half_a_message))

    def publish(self, topic: str, kind: str, message: Tree) -> None:
        """What another ROS node publishes; not checked, as it is no client."""
        self._run(self._publish_from_ros(topic, kind, message))

    def call(self, service: str, arguments: Tree | None = None) -> Tree:
        """What another ROS node gets of a client's service."""
        answer: Tree = self._run(self._ask(service, arguments or {}))
        return answer

    def send_raw(self, content: str | bytes) -> None:
        """A frame that no bridge should send."""
        self._run(self._send_raw(content))

    def wait(self, is_so: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
        """Waits until something is true; fails by name."""
        with self._changed:
            done = self._changed.wait_for(is_so, timeout_s)
        assert done, f"{what} did not come; the bridge's log: {self.log[-3:]}"
        return done

    def next(self, topic: str, number: int = 1) -> Tree:
        """The `number`-th message of a topic from now on."""
        wanted = len(self.messages[topic]) + number
        self.wait(lambda: len(self.messages[topic]) >= wanted, topic)
        return self.messages[topic][wanted - 1]

    def has_service(self, name: str) -> bool:
        return any(name in client.services for client in list(self._clients))

    def has_subscriber(self, topic: str) -> bool:
        return any(topic in client.subscribed for client in list(self._clients))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # The connection.

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def _stop(self) -> None:
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            await turns()  # who was let in just now becomes a connection
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _finish(self) -> None:
        """Nothing may be left open when the loop ends: warnings are errors."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await turns()

    async def _drop(self, half_a_message: bool) -> None:
        for client in list(self._clients):
            if half_a_message:
                client.transport.write(b'\x81\x7e\x10\x00{"op":"publish","topic":"/half')
                await asyncio.sleep(0)
            client.transport.close() if half_a_message else client.transport.abort()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.attempts += 1
        self._notify()
        if self.refuses:
            return web.Response(status=403)
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        client = Client(socket, request.transport)
        self._clients.append(client)
        self.connections += 1
        self._notify()
        try:
            await self._read(client)
        finally:
            self._leave(client)
        return socket

    async def _read(self, client: Client) -> None:
        while True:
            frame = await client.socket.receive()
            while not self.reads and not client.transport.is_closing():
                await asyncio.sleep(0.005)
            if frame.type is not WSMsgType.TEXT:
                if frame.type is WSMsgType.BINARY:
                    self.log.append("binary frame")
                return
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._take(client, frame.data)
            self._notify()

    def _leave(self, client: Client) -> None:
        self._clients.remove(client)
        for topic in client.advertised | set(client.subscribed):
            if not self._is_used(topic):
                self.topics.pop(topic, None)
        self._notify()

    def _is_used(self, topic: str) -> bool:
        return any(topic in c.advertised or topic in c.subscribed for c in self._clients)

    async def _take(self, client: Client, text: str) -> None:
        try:
            operation = json.loads(text)
        except ValueError:
            self.log.append("broken JSON")
            return
        if operation.get("op") != "fragment":
            self.operations.append(operation)
        handler = getattr(self, f"_do_{operation.get('op')}", None)
        if handler is None:
            self.log.append(f"Unknown operation: {operation.get('op')}")
            return
        try:
            await handler(client, operation)
        except (Refused, KeyError, TypeError) as problem:
            self.log.append(f"{operation['op']}: {problem!r}")

    # The operations.

    async def _do_fragment(self, client: Client, operation: Tree) -> None:
        parts = client.fragments[operation["id"]]
        parts[operation["num"]] = operation["data"]
        if len(parts) == operation["total"]:
            del client.fragments[operation["id"]]
            await self._take(client, "".join(parts[n] for n in sorted(parts)))

    async def _do_advertise(self, client: Client, operation: Tree) -> None:
        self._join(operation["topic"], operation["type"])
        client.advertised.add(operation["topic"])

    async def _do_unadvertise(self, client: Client, operation: Tree) -> None:
        client.advertised.discard(operation["topic"])
        if not self._is_used(operation["topic"]):
            self.topics.pop(operation["topic"], None)

    async def _do_subscribe(self, client: Client, operation: Tree) -> None:
        topic = operation["topic"]
        if "type" not in operation and topic not in self.topics:
            raise Refused(f"Cannot infer topic type for topic {topic}")
        if operation.get("compression", "none") not in ("none", "png", "cbor", "cbor-raw"):
            raise Refused("unknown compression")
        self._join(topic, operation.get("type") or self.topics[topic])
        client.subscribed[topic] = operation

    async def _do_unsubscribe(self, client: Client, operation: Tree) -> None:
        client.subscribed.pop(operation["topic"], None)
        if not self._is_used(operation["topic"]):
            self.topics.pop(operation["topic"], None)

    async def _do_publish(self, client: Client, operation: Tree) -> None:
        topic = operation["topic"]
        if topic not in client.advertised:
            raise Refused(f"Cannot infer topic type for topic {topic} as it is not yet advertised")
        message = self._fit(operation.get("msg", {}), self.topics[topic], topic)
        self.messages[topic].append(message)
        await self._spread(topic, message)

    async def _do_call_service(self, client: Client, operation: Tree) -> None:
        name = operation["service"]
        answer = {"op": "service_response", "service": name}
        answer |= {"id": operation["id"]} if "id" in operation else {}
        try:
            values = await self._ask(name, operation.get("args") or {})
            answer |= {"values": values, "result": True}
        except Refused as problem:
            answer |= {"values": str(problem), "result": False}
        await self._send(client, answer)

    async def _do_advertise_service(self, client: Client, operation: Tree) -> None:
        if self._short(operation["type"]) not in self.services:
            raise Refused(f"Unable to load service class {operation['type']}")
        client.services.add(operation["service"])

    async def _do_unadvertise_service(self, client: Client, operation: Tree) -> None:
        client.services.discard(operation["service"])

    async def _do_service_response(self, client: Client, operation: Tree) -> None:
        waiting = self._answers.pop(operation["id"], None)
        if waiting is None:
            raise Refused("response to no request")
        waiting.set_result(operation)

    # The graph.

    def _join(self, topic: str, kind: str) -> None:
        short = self._short(kind)
        if not topic.startswith("/") or "//" in topic or "~" in topic:
            raise Refused(f"topic name is invalid: {topic}")
        if short not in self.types:
            package = short.split("/")[0]
            raise Refused(f"Unable to import {package}.msg from package {package}")
        if self.topics.setdefault(topic, short) != short:
            raise Refused(f"Tried to use {topic} as {short}, but it is {self.topics[topic]}")

    async def _publish_from_ros(self, topic: str, kind: str, message: Tree) -> None:
        self.topics.setdefault(topic, self._short(kind))
        await self._spread(topic, message)

    async def _spread(self, topic: str, message: Tree) -> None:
        for client in list(self._clients):
            if topic in client.subscribed:
                await self._send(client, {"op": "publish", "topic": topic, "msg": message})

    async def _send(self, client: Client, operation: Tree) -> None:
        text, size = json.dumps(operation), self.fragment_size
        if size is None or len(text) <= size:
            parts = [text]
        else:
            data = [text[at : at + size] for at in range(0, len(text), size)]
            what: Tree = {"op": "fragment", "id": str(next(self._numbers)), "total": len(data)}
            parts = [json.dumps(what | {"num": n, "data": piece}) for n, piece in enumerate(data)]
        for part in parts:
            if not client.socket.closed and not client.transport.is_closing():
                await client.socket.send_str(part)

    async def _send_raw(self, content: str | bytes) -> None:
        for client in list(self._clients):
            if isinstance(content, str):
                await client.socket.send_str(content)
            else:
                await client.socket.send_bytes(content)

    async def _ask(self, name: str, arguments: Tree) -> Tree:
        if name.startswith("/rosapi/") and self.has_rosapi:
            return self._rosapi(name.removeprefix("/rosapi/"), arguments)
        for client in self._clients:
            if name in client.services:
                call_id = f"service_request:{name}:{next(self._numbers)}"
                self._answers[call_id] = self._loop.create_future()
                request = {"op": "call_service", "id": call_id, "service": name, "args": arguments}
                await self._send(client, request)
                answer = await asyncio.wait_for(self._answers[call_id], DEADLINE_S)
                if not answer["result"]:
                    raise Refused(f"{name} failed")
                return dict(answer["values"])
        raise Refused(f"Service {name} does not exist")

    def _rosapi(self, name: str, arguments: Tree) -> Tree:
        if name == "get_time":
            return {"time": self._now()}
        if name == "topics":
            return {
                "topics": list(self.topics),
                "types": [self._long(t) for t in self.topics.values()],
            }
        if name == "topic_type":
            kind = self.topics.get(arguments["topic"], "")
            return {"type": self._long(kind) if kind else ""}
        if name in ("publishers", "subscribers"):
            used = "advertised" if name == "publishers" else "subscribed"
            count = sum(arguments["topic"] in getattr(client, used) for client in self._clients)
            return {name: [f"/rosbridge_{n}" for n in range(count)]}
        if name == "services":
            return {"services": [s for client in self._clients for s in client.services]}
        if name == "message_details":
            return {"typedefs": self._typedefs(arguments["type"])}
        raise Refused(f"Service /rosapi/{name} does not exist")

    def _typedefs(self, kind: str) -> list[Tree]:
        short = self._short(kind)
        if short not in self.types:
            self.has_rosapi = False  # as old versions do: the node dies of the question
            raise Refused("rosapi has died")
        found = [{"type": short, "fieldnames": list(self.types[short])}]
        for inner in self.types[short].values():
            if (element := inner.partition("[")[0]) in self.types:
                found += [d for d in self._typedefs(element) if d not in found]
        return found
