"""A guarded page for tests: asked in memory, request by request, or over a real socket on loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llmtrain.web.doors import Doors
from llmtrain.web.guard import guarded
from llmtrain.web.limits import Limits, Rate
from llmtrain.web.requests import fields, sender
from llmtrain.web.serve import serve

PAGE = b"<!doctype html><title>in</title>the page"
FREE = Rate(1e9, 10**9)
EASY = Limits(person=FREE, people=FREE, strangers=FREE)  # for tests about anything but rates
PORT = 4711
Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    """The page of anna and ben: POST /api/change has an effect, /api/broken fails, /api/big is 32 MB."""

    limits: Limits = EASY
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    doors: Doors = field(default_factory=lambda: Doors(b"k" * 32, ["anna", "ben"]))
    changes: list[tuple[str, dict]] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def change(request: Request) -> JSONResponse:
            self.changes.append((sender(request), fields(request)))
            return JSONResponse({"changed": True}, headers={"Access-Control-Allow-Origin": "*"})

        async def broken(request: Request) -> JSONResponse:
            raise ValueError("a secret of the inside")

        async def big(request: Request) -> Response:
            return Response(b"x" * 32_000_000)

        self.app = guarded(
            [Route("/api/change", change, methods=["POST"]), Route("/api/broken", broken), Route("/api/big", big)],
            doors=self.doors,
            hosts=self.hosts,
            limits=self.limits,
            files={"page.js": ("text/javascript", b"1")},
            page=PAGE,
        )

    def cookie(self, name: str = "anna") -> str:
        value = self.doors.redeem(self.doors.link(name))
        assert value is not None
        return value

    def right(self, name: str = "anna", port: int = PORT) -> Pairs:
        """Headers of a POST that the page of `name` sends."""
        return [
            ("Host", f"127.0.0.1:{port}"),
            ("Origin", f"http://127.0.0.1:{port}"),
            ("Cookie", f"llmtrain-{port}={self.cookie(name)}"),
            ("X-CSRF-Token", self.doors.csrf(name)),
            ("Content-Type", "application/json"),
        ]

    async def ask(self, method: str, path: str, headers: Pairs, body: bytes | list[bytes] = b"") -> Answer:
        """One request in memory; a list is a body in chunks."""
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        chunks = [body] if isinstance(body, bytes) else body
        given = [{"type": "http.request", "body": c, "more_body": n < len(chunks)} for n, c in enumerate(chunks, 1)]
        sent: list[dict] = []

        async def receive() -> dict:
            return given.pop(0) if given else {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = dict(type="http", http_version="1.1", method=method, path=path, raw_path=path.encode(), root_path="")
        scope |= dict(query_string=b"", headers=raw, server=("127.0.0.1", PORT), client=("127.0.0.1", 1), scheme="http")
        await self.app(scope, receive, send)  # type: ignore[arg-type]
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        assert len(got) == len(sent[0]["headers"]), "a header twice"
        return Answer(sent[0]["status"], got, b"".join(m.get("body", b"") for m in sent[1:]))

    @contextmanager
    def open(self) -> Iterator[int]:
        """The same over a socket: gives the port."""
        ready, closed, urls = threading.Event(), threading.Event(), []

        def announce(url: str) -> None:
            urls.append(url)
            ready.set()

        def run() -> None:
            serve(self.app, host="127.0.0.1", port=0, limits=self.limits, announce=announce, poll=closed.is_set)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(10)
            yield int(urls[0].rpartition(":")[2])
        finally:
            closed.set()
            thread.join(15)
            assert not thread.is_alive()


def head(method: str, path: str, headers: Pairs) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(path: str, headers: Pairs, value: object) -> bytes:
    body = json.dumps(value).encode()
    return head("POST", path, [*headers, ("Content-Length", str(len(body)))]) + body


def talk(port: int, data: bytes, seconds: float = 5.0) -> Answer | None:
    """The first answer to raw bytes; None when the connection ended without one."""
    with socket.create_connection(("127.0.0.1", port), seconds) as link:
        with suppress(ConnectionError):  # it may refuse before it has all
            link.sendall(data)
        return hear(link)


def hear(link: socket.socket) -> Answer | None:
    got = b""
    try:
        while b"\r\n\r\n" not in got and (more := link.recv(65536)):
            got += more
        top, _, body = got.partition(b"\r\n\r\n")
        if not top:
            return None
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)) and (more := link.recv(65536)):
            body += more
    except ConnectionError:
        return None
    return Answer(int(first.split()[1]), headers, body)


def without(pairs: Pairs, name: str) -> Pairs:
    return [pair for pair in pairs if pair[0] != name]


def instead(pairs: Pairs, name: str, value: str) -> Pairs:
    return [*without(pairs, name), (name, value)]
