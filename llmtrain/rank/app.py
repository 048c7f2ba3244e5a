"""The JSON routes of the ranking page. What is written is answered after it is on the disk."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from threading import Lock
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llmtrain.errors import StoreError
from llmtrain.rank import forms
from llmtrain.rank.agreement import agreement
from llmtrain.rank.records import Ballot, Item
from llmtrain.rank.store import Refused, Store
from llmtrain.web.doors import Doors
from llmtrain.web.requests import fields, sender
from llmtrain.web.visible import visible

log = logging.getLogger(__name__)

Handler = Callable[[Request], Response]
OFTEN = 5.0  # seconds for which an agreement is told again; longer where it takes more than a twentieth of that


def routes(store: Store, doors: Doors, key: bytes, finish: Callable[[], None]) -> list[Route]:
    """For web.guard.guarded. The handlers are plain functions, which Starlette runs in threads.

    key blinds the answers: the same key gives a rater the same order and ids again. finish is called when the host, the
    first name of doors, ends the session.
    """
    blind, agreed = forms.Blind(key), _Agreed(store)

    def now_at(rater: str, item: Item | None, earlier: Ballot | None = None) -> Response:
        task = None if item is None else _task(item, blind.names(rater, item), earlier)
        return JSONResponse({"task": task, "progress": _progress(store, rater)})

    def next_task(request: Request) -> Response:
        forms.only(fields(request), ())
        return now_at(sender(request), store.next(sender(request)))

    def vote(request: Request) -> Response:
        rater, body = sender(request), fields(request)
        forms.only(body, ("key", "task", "ranks", "flags?"), ("key", "task", "skip"))
        key = forms.key(body)
        item = store.item(body["task"]) if isinstance(body["task"], str) else None
        if item is None:
            raise HTTPException(404, "There is no such task.")
        ballot = forms.ballot(body, blind.names(rater, item))
        return now_at(rater, store.vote_and_next(rater, key, item.id, ballot))

    def undo(request: Request) -> Response:
        rater, body = sender(request), fields(request)
        forms.only(body, ("key",))
        taken = store.undo(rater, forms.key(body))
        if taken is None:
            raise HTTPException(409, "There is no vote of yours to undo.")
        return now_at(rater, *taken)

    def progress(request: Request) -> Response:
        host = sender(request) == doors.names[0]  # who alone is offered to end the session
        return JSONResponse(_progress(store, sender(request)) | {"agreement": agreed(), "host": host})

    def end(request: Request) -> Response:
        forms.only(fields(request), ())
        if sender(request) != doors.names[0]:
            raise HTTPException(403, f"Only {doors.names[0]}, who began this session, can end it.")
        finish()
        return JSONResponse({"finished": True})

    posts: Mapping[str, Handler] = {"next": next_task, "vote": vote, "undo": undo, "finish": end}
    return [
        *(Route(f"/api/{name}", _answering(handler), methods=["POST"]) for name, handler in posts.items()),
        Route("/api/progress", _answering(progress)),
    ]


class _Agreed:
    """The agreement of all votes, worked out now and then: never for a vote, and never twice at once."""

    def __init__(self, store: Store):
        self._store, self._lock = store, Lock()
        self._until, self._last = 0.0, dict[str, Any]()

    def __call__(self) -> dict[str, Any]:
        with self._lock:
            began = time.monotonic()
            if began > self._until:
                self._last = asdict(agreement(self._store.votes()))
                took = time.monotonic() - began
                self._until = began + took + max(OFTEN, 20 * took)
            return {name: self._last[name] for name in ("pairwise", "tau", "alpha", "n_shared")}


def _answering(handler: Handler) -> Handler:
    @wraps(handler)
    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except Refused as refused:
            raise HTTPException(409, str(refused)) from None
        except StoreError as error:
            log.error("%s", error)
            raise HTTPException(
                503, "The votes cannot be reached now. Try again: the same vote sent twice counts once."
            ) from None

    return answer


def _task(item: Item, names: Mapping[str, int], earlier: Ballot | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "messages": [{"role": message.role, "content": visible(message.content)} for message in item.messages],
        "answers": [{"id": name, "text": visible(item.responses[index])} for name, index in names.items()],
        "ballot": None if earlier is None else _by_name(earlier, names),
    }


def _by_name(ballot: Ballot, names: Mapping[str, int]) -> dict[str, Any]:
    """A ballot in the words in which the page sent it."""
    if ballot.ranks is None:
        return {"skip": ballot.skip}
    return {
        "ranks": {name: ballot.ranks[index] for name, index in names.items()},
        "flags": {name: ballot.flags[index] for name, index in names.items() if ballot.flags[index]},
    }


def _progress(store: Store, rater: str) -> dict[str, Any]:
    told = asdict(store.progress(rater))
    return told | {"raters": [{"name": name, "votes": number} for name, number in told["raters"].items()]}
