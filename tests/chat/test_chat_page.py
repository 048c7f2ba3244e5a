"""The page's requests over a socket, behind the guard."""

import http.client
import json
import threading
import time

import pytest
from browser import Server

from llmtrain.chat.page import application
from llmtrain.chat.panel import Panel
from llmtrain.web.doors import Doors
from llmtrain.web.limits import Limits

ASKED = [{"role": "user", "content": "Where does Mira live?"}]


class Visitor:
    """Somebody who came in."""

    def __init__(self, server, doors):
        self.port = server.port
        cookie = doors.redeem(doors.link("you"))
        self.headers = {
            "Origin": f"http://127.0.0.1:{self.port}",
            "Cookie": f"llmtrain-{self.port}={cookie}",
            "X-CSRF-Token": doors.csrf("you"),
            "Content-Type": "application/json",
        }

    def open(self, method, path, body=None, **changes):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {name: value for name, value in {**self.headers, **changes}.items() if value is not None}
        link.request(method, path, None if body is None else json.dumps(body), headers)
        return link.getresponse()

    def say(self, label="sft", messages=ASKED, temperature=0, number=0):
        return self.open(
            "POST", "/api/say", dict(model=label, messages=messages, temperature=temperature, number=number)
        )


def told(answer):
    assert answer.status == 200, answer.read()
    return [json.loads(line) for line in answer.read().splitlines()]


class Slow(Panel):
    """A panel that lets a test say when the second and later pieces come."""

    go = threading.Event()

    def _spoken(self, voice, ids, temperature, number, tell):
        def later(piece):
            tell(piece)
            assert self.go.wait(20)

        return super()._spoken(voice, ids, temperature, number, later)


@pytest.fixture(scope="module")
def doors():
    return Doors(b"k" * 32, ["you"])


@pytest.fixture(scope="module")
def visitor(panel, doors):
    with Server(
        lambda: application(panel, "Be kind.", 0.5, doors=doors, hosts=["127.0.0.1"], limits=Limits())
    ) as server:
        yield Visitor(server, doors)


def test_the_page_learns_who_is_here(visitor):
    about = json.loads(visitor.open("GET", "/api/models").read())
    assert [(m["label"], m["templated"]) for m in about["models"]] == [("pretrain", True), ("sft", True)]
    assert (about["judged_by"], about["system"], about["temperature"]) == ("reward", "Be kind.", 0.5)
    assert b"chat.js" in visitor.open("GET", "/").read()


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_an_answer_comes_in_pieces_and_is_the_panels(visitor, panel, temperature):
    from llmtrain.data.records import Message
    from llmtrain.web.visible import visible

    *pieces, last = told(visitor.say(temperature=temperature, number=4))
    wanted = panel.answer("sft", [Message("user", ASKED[0]["content"])], temperature, 4, lambda _: None)
    assert "".join(event["piece"] for event in pieces) == visible(wanted.text)
    assert last["done"]["text"] == wanted.text, "as it was said: it goes back to the model"
    assert last["done"]["tokens"] == wanted.tokens
    assert last["done"]["score"] == pytest.approx(wanted.score, abs=1e-4)


def test_a_history_comes_along(visitor):
    more = [
        {"role": "system", "content": "Be kind."},
        *ASKED,
        {"role": "assistant", "content": "At the mill."},
        {"role": "user", "content": "Who?"},
    ]
    assert "done" in told(visitor.say(messages=more))[-1]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"label": "gpt"}, 400, "no such model here; known are pretrain, sft"),
        ({"label": None}, 400, "no such model"),
        ({"messages": []}, 400, "not a list of messages"),
        ({"messages": "hello"}, 400, "not a list of messages"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "x"}]}, 400, "does not end with a user message"),
        ({"messages": [*ASKED, *ASKED]}, 400, "does not alternate"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "a role, one of system, user, assistant"),
        ({"messages": [{"role": "user", "content": "x", "more": 1}]}, 400, "and nothing else"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, 400, "a role, one of"),
        ({"messages": [{"role": "user", "content": 7}]}, 400, "is not a text"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "is empty"),
        ({"messages": [{"role": "user", "content": "a\0"}]}, 400, "NUL"),
        ({"messages": [{"role": "user", "content": "x" * 16001}]}, 400, "at most 16000"),
        ({"messages": [{"role": "user", "content": "x" * 70000}]}, 413, "larger than"),
        ({"messages": [{"role": "user", "content": "z" * 900}]}, 422, "this model sees 192"),
        ({"temperature": -1}, 400, "must be 0"),
        ({"temperature": "hot"}, 400, "no number"),
        ({"temperature": True}, 400, "no number"),
        ({"number": -1}, 400, "whole number"),
        ({"number": 1.5}, 400, "whole number"),
        ({"number": 2**31}, 400, "whole number"),
    ],
)
def test_bodies_that_are_no_question(visitor, change, status, reason):
    answer = visitor.say(**change)
    assert answer.status == status
    assert reason in json.loads(answer.read())["error"]


def test_fields_that_are_missing_or_strange(visitor):
    answer = visitor.open("POST", "/api/say", {"model": "sft"})
    assert answer.status == 400
    assert "messages, model, number, temperature" in json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Cookie": None}, 401),
        ({"Cookie": "llmtrain-1=x"}, 401),
        ({"X-CSRF-Token": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_nobody_else_can_ask(visitor, change, status):
    body = dict(model="sft", messages=ASKED, temperature=0, number=0)
    assert visitor.open("POST", "/api/say", body, **change).status == status
    if "Cookie" in change:
        assert visitor.open("GET", "/api/models", **change).status == status


def test_a_busy_server_says_so_and_who_leaves_stops_the_answer(panel, doors):
    slow = Slow(list(panel.voices.values()), None, max_new_tokens=24, draws=panel.draws)
    with Server(lambda: application(slow, None, 0, doors=doors, hosts=["127.0.0.1"], limits=Limits())) as server:
        first, second = Visitor(server, doors), Visitor(server, doors)
        begun = first.say()
        assert begun.status == 200, "the first piece is here, and the answer is not over"
        busy = second.say("pretrain")
        assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
        assert "another window" in json.loads(busy.read())["error"]
        begun.close()
        slow.go.set()
        deadline = time.monotonic() + 10
        while (again := second.say("pretrain")).status == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "done" in told(again)[-1]
