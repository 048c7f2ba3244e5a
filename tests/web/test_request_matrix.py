"""Reliability S11: every combination of token, cookie, Host, Origin, CSRF header, content type and method.

Which cells are right is written down here from the rule in words, not from the code: to come in, a POST from the page's
own origin to its own host with JSON and a token that is new; to change something, the same with cookie and CSRF header
in place of the token; to read, GET or HEAD to its own host with the cookie and not from a foreign origin.
"""

import asyncio
import itertools
import json

import pytest
from house import PORT, House, Pairs, head, instead, post, talk, without

OWN = f"127.0.0.1:{PORT}"
TOKENS = ("none", "wrong", "right", "used")
COOKIES = ("none", "forged", "right")
HOSTS = {
    "missing": [],
    "evil": ["evil.example"],
    "other port": [f"localhost:{PORT + 1}"],
    "other IP": [f"192.168.1.7:{PORT}"],
    "doubled": [OWN, OWN],
    "right": [OWN],
}
ORIGINS = {"missing": [], "null": ["null"], "evil": ["http://evil.example"], "same": [f"http://{OWN}"]}
CSRF = ("none", "wrong", "right")
TYPES = {"none": [], "text": ["text/plain"], "json": ["application/json"]}
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
CELLS = list(itertools.product(TOKENS, COOKIES, HOSTS, ORIGINS, CSRF, TYPES, METHODS))


def comes_in(token, cookie, host, origin, csrf, kind, method):
    return (token, host, origin, kind, method) == ("right", "right", "same", "json", "POST")


def changes(token, cookie, host, origin, csrf, kind, method):
    return (cookie, host, origin, csrf, kind, method) == ("right", "right", "same", "right", "json", "POST")


def reads(token, cookie, host, origin, csrf, kind, method):
    return (cookie, host) == ("right", "right") and origin in ("missing", "same") and method in ("GET", "HEAD")


def request(house: House, cell: tuple, own: str) -> tuple[Pairs, bytes]:
    token, cookie, host, origin, csrf, kind, _ = cell
    headers = [("Host", value) for value in HOSTS[host]] + [("Origin", value) for value in ORIGINS[origin]]
    headers += [("Content-Type", value) for value in TYPES[kind]]
    if cookie != "none":
        value = own if cookie == "right" else own[:-1] + ("0" if own[-1] != "0" else "1")
        headers.append(("Cookie", f"llmtrain-{PORT}={value}"))
    if csrf != "none":
        headers.append(("X-CSRF-Token", house.doors.csrf("anna" if csrf == "right" else "ben")))
    key = house.doors.link("anna") if token in ("right", "used") else "x" * 43
    if token == "used":
        house.doors.redeem(key)
    return headers, b"{}" if token == "none" else json.dumps({"token": key}).encode()


@pytest.mark.parametrize(
    ("path", "right"), [("/enter", comes_in), ("/api/change", changes), ("/api/me", reads)], ids=lambda x: str(x)[:12]
)
def test_only_the_right_cells_pass(path, right, record_property):
    house = House()
    own = house.cookie()

    async def passed() -> set[tuple]:
        found = set()
        for cell in CELLS:
            headers, body = request(house, cell, own)
            answer = await house.ask(cell[-1], path, headers, body if cell[-1] == "POST" else b"")
            assert answer.status == 200 or 400 <= answer.status < 500, cell
            assert answer.status == 200 or set(answer.json) == {"error"}, cell
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert ("set-cookie" in answer.headers) == (path == "/enter" and answer.status == 200)
            found |= {cell} if answer.status == 200 else set()
        return found

    wanted = {cell for cell in CELLS if right(*cell)}
    got = asyncio.run(passed())
    assert got == wanted
    assert len(house.changes) == (len(wanted) if path == "/api/change" else 0)  # nothing that was refused had an effect
    refused = f"{path}: refused {len(CELLS) - len(got)} of {len(CELLS) - len(wanted)}, passed {len(got)}"
    record_property("matrix", refused)
    print(refused)


def test_a_refused_token_is_not_used_up():
    house = House()
    token = house.doors.link("ben")
    body = json.dumps({"token": token}).encode()
    right = without(house.right("ben"), "Cookie")
    for wrong in (instead(right, "Origin", "null"), instead(right, "Host", "evil"), without(right, "Content-Type")):
        assert asyncio.run(house.ask("POST", "/enter", wrong, body)).status >= 400
    answer = asyncio.run(house.ask("POST", "/enter", right, body))
    assert answer.status == 200 and answer.json == {"name": "ben"}
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"llmtrain-{PORT}=")
    assert {flag.lower() for flag in flags} == {"httponly", "samesite=strict", "path=/", "max-age=2592000"}


@pytest.fixture(scope="module")
def opened():
    house = House()
    with house.open() as port:
        yield house, port


def test_the_right_cell_passes_over_a_socket_and_every_single_fault_is_refused(opened):
    house, port = opened
    right = house.right(port=port)
    assert talk(port, post("/api/change", right, {"n": 1})).status == 200
    faults = {
        "no host": without(right, "Host"),
        "host twice": [("Host", f"127.0.0.1:{port}"), *right],
        "host of a list": instead(right, "Host", f"127.0.0.1:{port}, evil"),
        "host without port": instead(right, "Host", "127.0.0.1"),
        "evil host": instead(right, "Host", "evil.example"),
        "rebound host": instead(right, "Host", f"evil.example:{port}"),
        "host with user": instead(right, "Host", f"evil@127.0.0.1:{port}"),
        "no origin": without(right, "Origin"),
        "origin twice": [*right, ("Origin", f"http://127.0.0.1:{port}")],
        "null origin": instead(right, "Origin", "null"),
        "other port": instead(right, "Origin", f"http://127.0.0.1:{port + 1}"),
        "our other name": instead(right, "Origin", f"http://localhost:{port}"),
        "other scheme": instead(right, "Origin", f"https://127.0.0.1:{port}"),
        "cross-site": [*right, ("Sec-Fetch-Site", "cross-site")],
        "same-site": [*right, ("Sec-Fetch-Site", "same-site")],
        "no cookie": without(right, "Cookie"),
        "cookie of another port": instead(right, "Cookie", f"llmtrain-{port + 1}={house.cookie()}"),
        "no csrf": without(right, "X-CSRF-Token"),
        "csrf of another": instead(right, "X-CSRF-Token", house.doors.csrf("ben")),
        "csrf that is no ASCII": instead(right, "X-CSRF-Token", "\xe9" * 64),
        "form": instead(right, "Content-Type", "application/x-www-form-urlencoded"),
        "two types": [*right, ("Content-Type", "text/plain")],
    }
    before = len(house.changes)
    statuses = {name: talk(port, post("/api/change", headers, {"n": 2})).status for name, headers in faults.items()}
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
    assert len(house.changes) == before
    assert statuses["evil host"] == statuses["rebound host"] == 421
    site = [*without(right, "Origin"), ("Sec-Fetch-Site", "same-origin")]  # browsers that keep Origin back
    assert talk(port, post("/api/change", site, {"n": 3})).status == 200


SMUGGLED = b"POST /api/change HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("extra", "body"),
    [
        ([("Content-Length", "5"), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n" + SMUGGLED),
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "0")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("Content-Length", "2"), ("Content-Length", "40")], b"{}" + SMUGGLED),
        ([("Content-Length", "2, 40")], b"{}" + SMUGGLED),
        ([("Content-Length", "+2")], b"{}"),
        ([("Content-Length", "-1")], b"{}"),
        ([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("Transfer-Encoding", "xchunked")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("Transfer-Encoding ", "chunked")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("X", "a\r\n folded")], b""),
        ([("X", "a\nHost: evil")], b""),
        ([("X", "a\0b")], b""),
    ],
    ids=repr,
)
def test_nothing_is_smuggled_in_headers(opened, extra, body):
    house, port = opened
    before = len(house.changes)
    answer = talk(port, head("POST", "/api/change", [*house.right(port=port), *extra]) + body)
    if extra[0][1] == "a\nHost: evil":  # a bare newline ends a line in h11, so this is a Host twice
        assert answer.status == 400
    assert answer is None or 400 <= answer.status < 500
    assert len(house.changes) == before


def test_a_get_takes_no_body(opened):
    _, port = opened
    asked = head("GET", "/", [("Host", f"127.0.0.1:{port}"), ("Content-Length", str(len(SMUGGLED)))])
    assert talk(port, asked + SMUGGLED).status == 400
