"""The page of `chat --web`: routes behind web/guard.py. History lives in the page and comes with each question."""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from llmtrain.chat.conversation import LONGEST, plain, spoken
from llmtrain.chat.panel import Busy, Panel, Stop, heat
from llmtrain.chat.terminal import described
from llmtrain.data import validate
from llmtrain.data.records import Message
from llmtrain.data.validate import BadRow
from llmtrain.errors import DataError
from llmtrain.web.assets import assets
from llmtrain.web.doors import KEY_BYTES, Doors
from llmtrain.web.guard import guarded
from llmtrain.web.hosts import names
from llmtrain.web.limits import Limits
from llmtrain.web.requests import fields
from llmtrain.web.serve import serve as serve_app
from llmtrain.web.visible import visible

PERSON = "you"
ROLES = ("system", "user", "assistant")
FIELDS = {"model", "messages", "temperature", "number"}
Event = dict[str, Any] | HTTPException
NUMBERS = 2**31  # of questions; only a script in a loop gets there


def serve(
    panel: Panel,
    system: str | None,
    temperature: float,
    *,
    host: str,
    port: int,
    allow_remote: bool,
    tell: Callable[[str], None],
    poll: Callable[[], bool],
) -> None:
    """Serve the page on this machine until poll() is true; tell gets a line with the link. Raises UsageError."""
    doors, limits = Doors(secrets.token_bytes(KEY_BYTES), [PERSON]), Limits()

    def announce(address: str) -> None:
        tell(f"open {address}/#k={doors.link(PERSON)} (the link works once; Ctrl-C closes the page)")

    app = application(panel, system, temperature, doors=doors, hosts=names(host), limits=limits)
    serve_app(app, host=host, port=port, limits=limits, announce=announce, poll=poll, allow_remote=allow_remote)


def application(
    panel: Panel, system: str | None, temperature: float, *, doors: Doors, hosts: Sequence[str], limits: Limits
) -> ASGIApp:
    """The guarded app."""
    files = assets(Path(__file__).parent / "static")
    about = {
        "models": [
            {"label": voice.label, "about": described(voice), "templated": voice.templated}
            for voice in panel.voices.values()
        ],
        "judged_by": panel.scorer.label if panel.scorer else None,
        "system": system or "",
        "temperature": temperature,
        "longest": LONGEST,
        "body": limits.body,
    }

    async def models(_: Request) -> Response:
        return JSONResponse(about)

    async def say(request: Request) -> Response:
        return await _answering(panel, *_asked(panel, fields(request)))

    routes = [Route("/api/models", models), Route("/api/say", say, methods=["POST"])]
    page = files["chat.html"][1]
    return guarded(routes, doors=doors, hosts=hosts, limits=limits, files=files, page=page)


def _asked(panel: Panel, body: dict[str, Any]) -> tuple[str, list[Message], float, int]:
    """What a request asks for. Raises HTTPException with the reason."""
    if set(body) != FIELDS:
        raise HTTPException(400, f"A question has the fields {', '.join(sorted(FIELDS))}.")
    label, number, value = body["model"], body["number"], body["temperature"]
    if not isinstance(label, str) or label not in panel.voices:
        raise HTTPException(400, f"There is no such model here; known are {', '.join(panel.voices)}.")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < NUMBERS:
        raise HTTPException(400, f"The number of a question is a whole number from 0 to {NUMBERS - 1}.")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise HTTPException(400, "The temperature is no number.")
    try:
        return label, _messages(body["messages"]), heat(float(value)), number
    except (BadRow, DataError, OverflowError) as error:
        raise HTTPException(400, f"{str(error)[:300]}.") from None


def _messages(given: object) -> list[Message]:
    """A conversation that waits for an answer. Raises BadRow, DataError."""
    for item in given if isinstance(given, list) else ():
        if not isinstance(item, dict) or set(item) != {"role", "content"} or item["role"] not in ROLES:
            raise DataError(f"a message has a role, one of {', '.join(ROLES)}, and content, and nothing else")
    found = validate.question(validate.conversation(given, "messages"), "messages")
    spoken(found[-1].content, "prompt")
    return list(found)


async def _answering(panel: Panel, label: str, messages: list[Message], temperature: float, number: int) -> Response:
    """An answer as JSON lines while it is written: {"piece"}, at last {"done"} or {"error"}.

    Whoever closes the connection stops it. What comes instead of a first piece has a status of its own.
    """
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[Event]()
    gone = threading.Event()

    def put(event: Event) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, event)

    def tell(piece: str) -> None:
        if gone.is_set():
            raise Stop
        if piece:
            put({"piece": visible(piece)})

    def work() -> None:
        try:
            answer = panel.answer(label, messages, temperature, number, tell)
            put({"done": plain(answer)})
        except Busy:
            put(HTTPException(503, "The models are answering another window.", {"Retry-After": "1"}))
        except DataError as error:
            put(HTTPException(422, visible(f"{error}.")))
        except Exception:
            put(HTTPException(500, "The model could not answer; the terminal says why."))
            raise

    worker = loop.run_in_executor(None, work)
    first = await heard.get()
    if isinstance(first, HTTPException):
        await worker
        raise first

    async def lines() -> AsyncIterator[bytes]:
        event: Event = first
        try:
            while not isinstance(event, HTTPException):
                yield json.dumps(event).encode() + b"\n"
                if "done" in event:
                    return
                event = await heard.get()
            yield json.dumps({"error": event.detail}).encode() + b"\n"
        finally:
            gone.set()

    return StreamingResponse(lines(), media_type="application/x-ndjson")
