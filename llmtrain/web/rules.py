"""The rules that a request has to pass (reliability S11), one function each: HTTPException says why not."""

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from llmtrain.web.doors import same

METHODS = ("GET", "HEAD", "POST")


def one(headers: Headers, name: str) -> str | None:
    """The value of a header that may come once at most."""
    values = headers.getlist(name)
    if len(values) > 1:
        raise HTTPException(400, f"The header {name} came {len(values)} times.")
    return values[0] if values else None


def method(verb: str) -> None:
    if verb not in METHODS:
        raise HTTPException(405, f"This page knows {', '.join(METHODS)}.", {"Allow": ", ".join(METHODS)})


def host(headers: Headers, hosts: frozenset[str], port: int) -> str:
    """The name and port that were asked for. One that is not ours is a foreign name bound to this address."""
    given = one(headers, "host")
    if given is None:
        raise HTTPException(400, "The header Host is missing.")
    known = {f"{name}:{port}" for name in hosts} | (hosts if port == 80 else set())
    if given.lower() not in known:
        raise HTTPException(421, "This page is not served under that name. Take the address that the terminal shows.")
    return given.lower()


def framing(headers: Headers, verb: str) -> None:
    """A body has one length, and only POST has a body: nothing can hide behind it."""
    length, coding = one(headers, "content-length"), one(headers, "transfer-encoding")
    if length is not None and coding is not None:
        raise HTTPException(400, "Content-Length and Transfer-Encoding exclude each other.")
    if verb != "POST" and (coding is not None or length not in (None, "0")):
        raise HTTPException(400, f"{verb} takes no body.")


def origin(headers: Headers, authority: str) -> None:
    """A POST comes from a page of this very host and port; a browser says so in Origin, or in Sec-Fetch-Site."""
    given, site = one(headers, "origin"), one(headers, "sec-fetch-site")
    if given is None and site is None:
        raise HTTPException(403, "The request does not say which page it comes from.")
    if given not in (None, f"http://{authority}") or site not in (None, "same-origin"):
        raise HTTPException(403, "The request comes from another page.")


def reader(headers: Headers, authority: str) -> None:
    """Another site may link to the page, and nothing else. Programs that are no browsers say nothing of all this."""
    given, site, mode = (one(headers, name) for name in ("origin", "sec-fetch-site", "sec-fetch-mode"))
    if given not in (None, f"http://{authority}") or (site not in (None, "same-origin", "none") and mode != "navigate"):
        raise HTTPException(403, "The request comes from another page.")


def media(headers: Headers) -> None:
    kind = (one(headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The body is not application/json.")


def csrf(headers: Headers, expected: str) -> None:
    if not same(one(headers, "x-csrf-token") or "", expected):
        raise HTTPException(403, "The header X-CSRF-Token is missing or wrong. Reload the page.")


def fields(body: bytes) -> dict[str, Any]:
    """The JSON object of a body: each key once, finite numbers, and no text that a database or UTF-8 cannot hold."""
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        for leaf in _leaves(found):
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise ValueError("a number is not finite")
            if isinstance(leaf, str) and "\0" in leaf:
                raise ValueError("a text holds a NUL character")
            if isinstance(leaf, str):
                leaf.encode("utf-8")
    except UnicodeError:
        raise HTTPException(400, "The body is not a JSON object: it is not UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise HTTPException(400, f"The body is not a JSON object: {reason[:200]}.") from None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _leaves(value: object) -> Iterator[object]:
    """Keys and values that hold no others."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
