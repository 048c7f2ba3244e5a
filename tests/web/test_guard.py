import asyncio
import logging

import pytest
from house import FREE, PAGE, PORT, House, instead, without

from llmtrain.web.guard import HEADERS
from llmtrain.web.limits import Limits, Rate

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'none'",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
}


@pytest.fixture
def house():
    return House()


def ask(house, method, path, headers, body=b""):
    return asyncio.run(house.ask(method, path, headers, body))


def reading(house, name="anna"):
    return [pair for pair in house.right(name) if pair[0] in ("Host", "Cookie")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/static/page.js", 200),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/static/../guard.py", 404),
        ("GET", "/static/", 404),
        ("GET", "/favicon.ico", 204),
        ("GET", "/nowhere", 404),
        ("GET", "/api/me/", 404),
        ("GET", "/api/change", 405),
        ("PUT", "/api/change", 405),
        ("POST", "/api/change", 200),
        ("POST", "/", 405),
        ("GET", "/api/broken", 500),
    ],
)
def test_every_answer_has_the_headers(house, method, path, status):
    answer = ask(house, method, path, house.right(), b"{}")
    assert answer.status == status
    assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.items() >= HEADERS.items()
    assert not [name for name in answer.headers if name.startswith("access-control")]  # /api/change tries
    if status >= 400:
        assert set(answer.json) == {"error"}


def test_what_breaks_is_logged_and_not_told(house, caplog):
    with caplog.at_level(logging.ERROR):
        answer = ask(house, "GET", "/api/broken", reading(house))
    assert answer.status == 500
    assert b"secret" not in answer.body and b"ValueError" not in answer.body
    assert "a secret of the inside" in caplog.text


def test_strangers_get_the_door_and_nothing_else(house):
    stranger = [("Host", f"127.0.0.1:{PORT}")]
    door = ask(house, "GET", "/", stranger)
    assert door.status == 200 and b"door.js" in door.body and PAGE not in door.body
    assert ask(house, "GET", "/", reading(house)).body == PAGE
    for path in ("/api/me", "/api/change", "/api/nothing", "/enter", "/page.html", "/statics", "/Static/page.js"):
        assert ask(house, "GET", path, stranger).status == 401


def test_me_and_a_link_for_another_device(house):
    me = ask(house, "GET", "/api/me", reading(house, "ben")).json
    assert me == {"name": "ben", "csrf": house.doors.csrf("ben")}
    url = ask(house, "POST", "/api/link", house.right("ben"), b"{}").json["url"]
    before, _, token = url.partition("/#k=")
    assert before == f"http://127.0.0.1:{PORT}"
    assert house.doors.who(house.doors.redeem(token)) == "ben"


def test_a_body_is_counted_while_it_comes(house):
    house = House(Limits(body=100, person=FREE))
    fits = b'{"a": "' + b"x" * 91 + b'"}'
    assert len(fits) == 100
    assert ask(house, "POST", "/api/change", house.right(), [fits[:50], fits[50:]]).status == 200
    assert ask(house, "POST", "/api/change", house.right(), [fits, b" "]).status == 413
    told = [*house.right(), ("Content-Length", "101")]
    assert ask(house, "POST", "/api/change", told, []).status == 413  # refused before it came
    assert ask(house, "POST", "/api/change", instead(told, "Content-Length", "9" * 40), []).status == 413
    assert len(house.changes) == 1


def test_a_body_that_breaks_off(house):
    assert ask(house, "POST", "/api/change", house.right(), []).status == 400
    assert house.changes == []


def test_each_person_has_a_rate_of_their_own():
    house = House(Limits(person=Rate(0.5, 3), people=FREE, strangers=Rate(0.5, 2)))
    anna, ben = reading(house), reading(house, "ben")
    stranger = without(anna, "Cookie")
    assert [ask(house, "GET", "/api/me", anna).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert ask(house, "GET", "/api/me", anna).headers["retry-after"] == "2"
    assert [ask(house, "GET", "/", stranger).status for _ in range(3)] == [200, 200, 429]
    assert ask(house, "GET", "/api/me", ben).status == 200  # neither anna nor strangers took it


def test_all_people_together_have_a_rate():
    house = House(Limits(person=FREE, people=Rate(0.5, 2), strangers=FREE))
    people = [reading(house), reading(house, "ben"), reading(house)]
    assert [ask(house, "GET", "/api/me", one).status for one in people] == [200, 200, 429]


def test_cookies_of_other_pages_do_no_harm(house):
    others = "; ".join(["a=b", f"llmtrain-{PORT + 1}=x", "junk", f"llmtrain-{PORT}={house.cookie()}", "=;="])
    assert ask(house, "GET", "/api/me", instead(reading(house), "Cookie", others)).json["name"] == "anna"
