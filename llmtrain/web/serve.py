"""A guarded page on this machine: uvicorn in this process, with what it lacks against slow and idle connections."""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmtrain.errors import UsageError
from llmtrain.web.guard import HEADERS
from llmtrain.web.hosts import loopback, names
from llmtrain.web.limits import Limits

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
END_SECONDS = 3  # for answers that are under way when the page closes


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    limits: Limits,
    announce: Callable[[str], None],
    poll: Callable[[], bool],
    allow_remote: bool = False,
) -> None:
    """Serve `app` until poll() is true, which is asked every 0.2 seconds.

    port 0 takes any free one. announce gets the address, http://127.0.0.1:8080, once it is listened to. Signals stay
    with whoever handles them. Raises UsageError when the port is taken, the host is not of this machine, or it is more
    than this machine's own (loopback) without allow_remote.
    """
    if not loopback(host) and not allow_remote:
        raise UsageError(
            f"page.host={host} opens the page to the network. Take 127.0.0.1, and from elsewhere "
            "`ssh -L PORT:127.0.0.1:PORT this-machine`; or allow it with page.allow_remote=true"
        )
    with _bound(host, port) as listener:
        number = listener.getsockname()[1]
        if not loopback(host):
            log.warning(
                "the page is open to the network on %s:%d, without encryption: whoever can listen there reads what "
                "people read and write, and the cookie that lets them in",
                host,
                number,
            )
        server = _Server(_config(app, limits))
        asyncio.run(_until(server, listener, lambda: announce(f"http://{names(host)[0]}:{number}"), poll))


def listen(host: str, port: int) -> None:
    """Try whether serve() could listen there. Raises UsageError."""
    _bound(host, port).close()


async def _until(
    server: uvicorn.Server, listener: socket.socket, announce: Callable[[], None], poll: Callable[[], bool]
) -> None:
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not (server.started or task.done()):
            await asyncio.sleep(0.01)
        if not task.done():
            announce()
        while not (task.done() or poll()):
            await asyncio.sleep(POLL_SECONDS)
    finally:
        server.should_exit = True
        await task


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    """No access log, no header that names the program, nothing believed that a proxy says, and no WebSocket."""
    return uvicorn.Config(
        app,
        http=type("_Limited", (_Connection,), {"limits": limits}),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what fails in a handler is logged by the guard
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.head,
        timeout_graceful_shutdown=END_SECONDS,
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """uvicorn waits for ever for a request's head and for a slow reader; this one waits limits.seconds."""

    limits: Limits
    _head: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._last_word(503, "Too many connections are open.")
            return
        self._head = self.loop.call_later(self.limits.seconds, self._late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the head is complete; the guard times the body
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(self.limits.seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head)
        _cancel(self._reader)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader = self.loop.call_later(self.limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._reader)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._last_word(400, "This is no HTTP request.")

    def _late(self) -> None:
        self._last_word(408, f"The request did not come within {self.limits.seconds:g} seconds.")

    def _last_word(self, status: int, reason: str) -> None:
        """An answer to what never became a request, and the end of the connection."""
        if self.transport.is_closing():
            return
        body = json.dumps({"error": reason}).encode()
        lines = {**HEADERS, "content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if self.cycle is None or self.cycle.response_complete:  # else it would stand in the midst of another answer
            self.transport.write(f"HTTP/1.1 {status} Refused\r\n{head}\r\n".encode() + body)
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # a port whose last server ended a moment ago; elsewhere the option means stealing one
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"{host}:{port} cannot be listened on ({error}). Take another page.port, or 0 for any that is free"
        ) from None
    return listener
