"""What stands between a page on one's own machine and everybody else: reliability S10 to S12, for any routes."""

import asyncio
import json
import logging
import math
from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmtrain.web import rules
from llmtrain.web.assets import SHARED
from llmtrain.web.doors import Doors
from llmtrain.web.entrance import ENTER, OPEN, STATIC, entrance
from llmtrain.web.limits import Bucket, Limits
from llmtrain.web.requests import cookie

log = logging.getLogger(__name__)

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'none'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def guarded(
    routes: Sequence[BaseRoute],
    *,
    doors: Doors,
    hosts: Sequence[str],
    limits: Limits,
    files: Mapping[str, tuple[str, bytes]],
    page: bytes,
) -> ASGIApp:
    """An app of `routes`, which only people who came in through `doors` reach.

    routes: their handlers ask sender(request) of requests.py for the name and fields(request) for a POST's JSON object;
    what they refuse is an HTTPException with one sentence. hosts: names, without port, under which the page may be
    asked for; the port is that on which the request came in. files: name -> (content type, bytes), public under
    /static/, beside the shared ones. page: the HTML at / for those who are in; everybody else gets the door.
    """
    app = Starlette(
        routes=[*entrance(doors, {**SHARED, **files}, page), *routes],
        middleware=[Middleware(_Guard, doors=doors, hosts=frozenset(hosts), limits=limits)],
        exception_handlers={HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    return app


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


class _Guard:
    def __init__(self, app: ASGIApp, doors: Doors, hosts: frozenset[str], limits: Limits):
        self.app, self.doors, self.hosts, self.limits = app, doors, hosts, limits
        self.persons = {name: Bucket(limits.person) for name in doors.names}
        self.people, self.strangers = Bucket(limits.people), Bucket(limits.strangers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # nothing here speaks WebSocket
            return None
        answer = _Answer(send)
        try:
            await self.app(scope, await self._admit(scope, receive), answer)
        except HTTPException as error:
            # The rest of a refused request is not read, so nothing more can come on its connection.
            await answer.refuse(error.status_code, error.detail, {**(error.headers or {}), "connection": "close"})
        except Exception:
            log.exception("%s %r failed", scope["method"], scope["path"])
            if answer.begun:
                raise
            await answer.refuse(500, "The server could not do this; its terminal says why.", {"connection": "close"})

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Every rule, cheap ones first; gives the receive() of a request that passed them."""
        headers, verb, path = Headers(scope=scope), scope["method"], scope["path"]
        authority = rules.host(headers, self.hosts, scope["server"][1])
        rules.method(verb)
        rules.framing(headers, verb)
        name = self.doors.who(cookie_parser(rules.one(headers, "cookie") or "").get(cookie(scope), ""))
        self._pace(name)
        state = scope.setdefault("state", {})
        state.update(name=name, authority=authority)
        public = path == ENTER if verb == "POST" else path in OPEN or path.startswith(STATIC)
        if name is None and not public:
            raise HTTPException(401, "You are not in. Open the link that the terminal shows.")
        if verb != "POST":
            rules.reader(headers, authority)
            return receive
        rules.origin(headers, authority)
        rules.media(headers)
        if name is not None and path != ENTER:
            rules.csrf(headers, self.doors.csrf(name))
        body = await self._body(headers, receive)
        state["fields"] = rules.fields(body)
        return _again(body, receive)

    def _pace(self, name: str | None) -> None:
        buckets = (self.strangers,) if name is None else (self.persons[name], self.people)
        wait = max(bucket.take() for bucket in buckets)
        if wait:
            raise HTTPException(429, "Too many requests at once.", {"Retry-After": str(math.ceil(wait))})

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        too_big = HTTPException(413, f"The body is larger than {self.limits.body} bytes.")
        if len(length := headers.get("content-length", "0")) > 15 or int(length) > self.limits.body:
            raise too_big
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HTTPException(400, "The request ended before its body did.")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self.limits.body:
                        raise too_big
        except TimeoutError:
            raise HTTPException(408, f"The body did not come within {self.limits.seconds:g} seconds.") from None
        return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive() that gives the body which was read, and then what else comes: the end of the connection."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


class _Answer:
    """send() with HEADERS on every answer and CORS on none."""

    def __init__(self, send: Send):
        self.send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            kept = [pair for pair in message.get("headers", []) if not self._ours(pair[0].lower())]
            message = {**message, "headers": [*kept, *RAW]}
        await self.send(message)

    async def refuse(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        body = json.dumps({"error": reason}).encode()
        lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in lines.items()]
        await self({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    @staticmethod
    def _ours(name: bytes) -> bool:
        return name.decode("latin-1") in HEADERS or name.startswith(b"access-control-")
