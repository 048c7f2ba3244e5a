"""Reliability S12: thousands of bad requests over a socket; no 5xx, no word of the inside, alive afterwards."""

import asyncio
import logging
import random
import re
from collections import Counter

import pytest
from house import FREE, House, head, post, talk

from llmtrain.web.limits import Limits

REQUESTS = 2000
AT_ONCE = 40
SECONDS = 0.5
WORDS = ["GET", "HEAD", "POST", "PUT", "TRACE", "CONNECT", "get", "G\0T", "", "X" * 300, "PRI", "\xff"]
PATHS = [
    "/", "/enter", "/api/me", "/api/link", "/api/change", "/static/door.js", "/static/../../../etc/passwd", "/static/",
    "/static/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fpyproject.toml", "/static/%00", "/%00", "//evil.example/",
    "/static//etc/passwd", "/%c0%ae%c0%ae/", "/%ff%fe", "/%", "/%zz", "*", "", "http://evil.example/", "/\xff", "/ /",
    "/" + "a" * 9000, "/" + "a" * 20000, "/?" + "q=1&" * 3000, "/api/me/", "/API/ME", "/api/%6de", "/\r\n\r\n", "a:80",
]  # fmt: skip
NAMES = ["Host", "Origin", "Cookie", "X-CSRF-Token", "Content-Type", "Content-Length", "Transfer-Encoding", "Expect"]
NAMES += ["Connection", "Upgrade", "Sec-Fetch-Site", "Range", "X-Forwarded-For", "X-Forwarded-Host", "", "A B", "\0"]
VALUES = ["", "0", "-1", "1e9", "99999999999999999999", "chunked", "gzip, chunked", "close", "keep-alive", "websocket"]
VALUES += [
    "h2c",
    "100-continue",
    "cross-site",
    "application/json",
    "null",
    "a" * 9000,
    "\xff\xfe",
    "a\0b",
    "; ;=;",
    "\t",
]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{",
    b"\xff\xfe",
    b'{"a": NaN}',
    b'{"a": 1, "a": 2}',
    b'{"a": 1e999}',
    b"[" * 30000,
]
BODIES += [
    b'{"a":' * 5000,
    b'{"a": "\\ud800"}',
    b'{"a": "\\u0000"}',
    b"1" * 60000,
    b"x" * 70000,
    b'{"token": 1}',
    b"\0",
]


def bad_request(draw: random.Random, house: House, port: int) -> bytes:
    """A request that would pass, with up to four parts of it replaced, added or left out."""
    headers = [pair for pair in house.right(port=port) if draw.random() < 0.95]
    for _ in range(draw.choice((0, 0, 0, 1, 2))):
        headers.insert(draw.randrange(len(headers) + 1), (draw.choice(NAMES), draw.choice(VALUES)))
    body = draw.choice(BODIES)
    framing = draw.random()
    if framing < 0.7:
        headers.append(("Content-Length", str(len(body))))
    elif framing < 0.9:
        headers.append(("Transfer-Encoding", "chunked"))
        end = draw.choice([b"0\r\n\r\n", b"", b"zz\r\n", b"ffffffff\r\n"])
        body = b"%x\r\n%s\r\n%s" % (len(body), body, end) if body else end
    path = draw.choice(PATHS if draw.random() < 0.5 else PATHS[:6])
    data = head(draw.choice(["POST", "POST", "POST", draw.choice(WORDS)]), path, headers) + body
    if draw.random() < 0.05:
        data = data[: draw.randrange(len(data))]  # the rest never comes
    if draw.random() < 0.05:
        data = draw.randbytes(draw.randrange(1, 300)) + data
    return data


LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")


async def answered(port: int, data: bytes) -> bytes:
    """The first final answer; b"" when the server ends the connection without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(20 * SECONDS):
            while (got := await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 "):
                pass
            length = LENGTH.search(got)
            return got + (await reader.readexactly(int(length[1])) if length and not data.startswith(b"HEAD") else b"")
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""
    except TimeoutError:
        pytest.fail(f"no answer and no end: {data[:300]!r}")
    finally:
        writer.close()


def test_bad_requests_get_no_5xx_and_leave_the_server_alive(caplog):
    draw = random.Random(11)
    house = House(Limits(seconds=SECONDS, person=FREE, people=FREE, strangers=FREE))
    seen: Counter[str] = Counter()

    async def all_of_them(port: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(data: bytes) -> None:
            async with gate:
                got = await answered(port, data)
            status = got.split(b" ", 2)[1].decode() if got else "closed"
            seen[status] += 1
            assert not status.startswith("5"), (data[:200], got[:300])
            assert b"Traceback" not in got and b'File "' not in got, (data[:200], got)
            assert not got or b"\r\ncontent-security-policy: default-src 'none';" in got, (data[:200], got[:300])

        await asyncio.gather(*(one(bad_request(draw, house, port)) for _ in range(REQUESTS)))

    with caplog.at_level(logging.WARNING), house.open() as port:
        asyncio.run(all_of_them(port))
        before = len(house.changes)
        assert talk(port, post("/api/change", house.right(port=port), {"alive": True})).status == 200
        assert house.changes[before:] == [("anna", {"alive": True})]
    assert seen.total() == REQUESTS
    assert {"400", "403", "405", "408", "413", "415"} <= set(seen), seen  # the fuzz reached every rule
    assert not caplog.records, caplog.text[:2000]
    print(dict(seen))
