"""The routes, behind the real guard."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from llmtrain.data.records import Message
from llmtrain.errors import StoreError
from llmtrain.rank import app
from llmtrain.rank.database import local
from llmtrain.rank.records import Ballot, Item
from llmtrain.rank.store import Store
from llmtrain.web.doors import Doors
from llmtrain.web.guard import guarded
from llmtrain.web.limits import Limits, Rate

KEY = bytes(range(32))
ADDRESS = "http://127.0.0.1:8123"
MANY = Rate(1e6, 10**6)


class House:
    """A store, and a door to it."""

    def __init__(self, folder, items: list[Item], names=("ann", "bob"), each: int = 2):
        self.store = Store(local(folder / "votes.db"), each, 60)
        self.store.add(items)
        self.doors, self.finished = Doors(KEY, names), 0
        self.app = guarded(
            app.routes(self.store, self.doors, KEY, self.finish),
            doors=self.doors,
            hosts=["127.0.0.1"],
            limits=Limits(person=MANY, people=MANY),
            files={},
            page=b"page",
        )

    def finish(self) -> None:
        self.finished += 1

    def enter(self, name: str) -> Callable[..., Any]:
        """post(path, body, status) -> the answer's JSON; without a body it is a GET."""
        client = TestClient(self.app, base_url=ADDRESS)
        client.headers["Origin"] = ADDRESS
        assert client.post("/enter", json={"token": self.doors.link(name)}).status_code == 200
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]

        def ask(path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
            answer = client.get(path) if body is None else client.post(path, json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        return ask


def items(count: int = 2, answers: int = 3) -> list[Item]:
    return [
        Item.of(
            [Message("system", "be kind"), Message("user", f"question {number}")],
            [f"answer {letter}" for letter in "abcdefgh"[:answers]],
            [f"run {letter}" for letter in "abcdefgh"[:answers]],
        )
        for number in range(count)
    ]


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path, items())
    yield made
    made.store.close()


def key() -> str:
    return str(uuid.uuid4())


def ranked(task: dict, first: str = "answer b") -> dict[str, Any]:
    """A body that puts one answer first and ties the others, with a gap between."""
    ranks = {answer["id"]: 1 if answer["text"] == first else 7 for answer in task["answers"]}
    return {"key": key(), "task": task["id"], "ranks": ranks}


def test_a_session(house):
    ann = house.enter("ann")
    reply = ann("/api/next", {})
    task = reply["task"]
    assert task["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "question 0"},
    ]
    assert sorted(answer["text"] for answer in task["answers"]) == ["answer a", "answer b", "answer c"]
    assert task["ballot"] is None
    assert reply["progress"] == {
        "done": 0,
        "total": 4,
        "mine": 0,
        "skipped": 0,
        "left_for_me": 2,
        "raters": [],
    }
    body = ranked(task)
    flagged = next(answer["id"] for answer in task["answers"] if answer["text"] == "answer b")
    reply = ann("/api/vote", {**body, "flags": {flagged: {"honest": False}}})
    assert house.store.votes()[0].ballot == Ballot((2, 1, 2), None, ({}, {"honest": False}, {}))
    assert reply["task"]["messages"][1]["content"] == "question 1"
    assert (reply["progress"]["done"], reply["progress"]["mine"]) == (1, 1)
    reply = ann("/api/vote", {"key": key(), "task": reply["task"]["id"], "skip": " no idea "})
    assert reply["task"] is None
    assert house.store.votes()[1].ballot == Ballot(None, "no idea")
    reply = ann("/api/undo", {"key": key()})
    assert reply["task"]["ballot"] == {"skip": "no idea"}
    reply = ann("/api/undo", {"key": key()})
    assert reply["task"]["id"] == task["id"]
    assert reply["task"]["ballot"]["flags"] == {flagged: {"honest": False}}
    assert reply["task"]["ballot"]["ranks"] == {name: min(rank, 2) for name, rank in body["ranks"].items()}
    assert ann("/api/undo", {"key": key()}, 409)["error"] == "There is no vote of yours to undo."


def test_progress_and_agreement(house):
    ann, bob = house.enter("ann"), house.enter("bob")
    for rater in (ann, bob):
        rater("/api/vote", ranked(rater("/api/next", {})["task"]))
    rater = ann("/api/vote", ranked(ann("/api/next", {})["task"]))["progress"]["raters"]
    assert rater == [{"name": "ann", "votes": 2}, {"name": "bob", "votes": 1}]
    bob("/api/vote", ranked(bob("/api/next", {})["task"]))
    told = bob("/api/progress")
    assert told["agreement"] == pytest.approx({"pairwise": 1, "tau": 1, "alpha": 1, "n_shared": 2})
    assert (told["done"], told["total"], told["left_for_me"]) == (4, 4, 0)


def test_agreement_is_not_worked_out_for_every_question(house, monkeypatch):
    asked = []
    monkeypatch.setattr(house.store, "votes", lambda: asked.append(1) or [])
    ann = house.enter("ann")
    for _ in range(5):
        assert ann("/api/progress")["agreement"] == {"pairwise": None, "tau": None, "alpha": None, "n_shared": 0}
    ann("/api/vote", ranked(ann("/api/next", {})["task"]))
    assert len(asked) == 1


def test_each_rater_sees_an_order_of_their_own_that_lasts(tmp_path):
    names = [f"rater {number}" for number in range(60)]
    house = House(tmp_path, items(1, 4), names, each=60)
    orders, ids = [], set()
    for name in names:
        ask = house.enter(name)
        task = ask("/api/next", {})["task"]
        assert ask("/api/next", {})["task"] == task
        orders.append("".join(answer["text"][-1] for answer in task["answers"]))
        ids |= {answer["id"] for answer in task["answers"]}
        assert "run" not in str(task)
    assert len(ids) == 240
    assert len(set(orders)) > 15  # of 24
    for place in range(4):  # 15 expected, standard deviation 3.4
        assert all(4 <= sum(order[place] == letter for order in orders) <= 28 for letter in "abcd")
    house.store.close()


def test_text_of_models_arrives_visible(tmp_path):
    item = Item.of([Message("user", "a\u202eb")], ["x\u200by\n", "<script>alert(1)</script>\x1b[31m"], ["p", "q"])
    house = House(tmp_path, [item])
    task = house.enter("ann")("/api/next", {})["task"]
    assert task["messages"][0]["content"] == "a⟨U+202E⟩b"
    told = {answer["text"] for answer in task["answers"]}
    assert told == {"x⟨U+200B⟩y\n", "<script>alert(1)</script>⟨U+001B⟩[31m"}
    assert house.store.items() == [item]
    house.store.close()


def test_a_vote_sent_again_is_one_vote(house):
    ann = house.enter("ann")
    body = ranked(ann("/api/next", {})["task"])
    first = ann("/api/vote", body)
    assert ann("/api/vote", body) == first
    assert len(house.store.votes()) == 1
    other = {**body, "ranks": dict.fromkeys(body["ranks"], 1)}
    assert "key was used for another vote" in ann("/api/vote", other, 409)["error"]
    assert "judged this prompt already" in ann("/api/vote", {**body, "key": key()}, 409)["error"]


def test_a_double_click_is_one_vote(house):
    ann = house.enter("ann")
    body = ranked(ann("/api/next", {})["task"])
    clicks = [threading.Thread(target=ann, args=("/api/vote", body)) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(house.store.votes()) == 1


def test_what_was_not_handed_out_or_is_another_raters_is_refused(house):
    ann, bob = house.enter("ann"), house.enter("bob")
    task = ann("/api/next", {})["task"]
    body = ranked(task)
    assert "does not have" in bob("/api/vote", body, 400)["error"]  # ann's names for the answers
    assert "never handed to you" in bob("/api/vote", {"key": key(), "task": task["id"], "skip": "x"}, 409)["error"]
    assert bob("/api/vote", {**body, "task": "0" * 64}, 404)["error"] == "There is no such task."
    assert house.store.votes() == []


def test_an_item_that_has_all_its_votes_takes_no_more(tmp_path, monkeypatch):
    house = House(tmp_path, items(1), each=1)
    ann, bob = house.enter("ann"), house.enter("bob")
    late = ranked(ann("/api/next", {})["task"])
    assert bob("/api/next", {})["task"] is None
    clock = house.store._clock
    monkeypatch.setattr(house.store, "_clock", lambda: clock() + 61)
    bob("/api/vote", ranked(bob("/api/next", {})["task"]))
    assert "got all its votes" in ann("/api/vote", late, 409)["error"]
    assert len(house.store.votes()) == 1
    house.store.close()


BAD = {
    "no keys": (lambda b, n: {}, "must have {key, task, ranks, flags?} or {key, task, skip}"),
    "unknown key": (lambda b, n: {**b, "rater": "bob"}, "must have"),
    "ranks and skip": (lambda b, n: {**b, "skip": "x"}, "must have"),
    "flags of a skip": (lambda b, n: {"key": key(), "task": b["task"], "skip": "x", "flags": {}}, "must have"),
    "key no UUID": (lambda b, n: {**b, "key": "1"}, "'key' is not a UUID"),
    "key in braces": (lambda b, n: {**b, "key": "{" + key() + "}"}, "'key' is not a UUID"),
    "key a number": (lambda b, n: {**b, "key": 5}, "'key' is not a UUID"),
    "task a list": (lambda b, n: {**b, "task": [b["task"]]}, "no such task"),
    "task unknown": (lambda b, n: {**b, "task": "x"}, "no such task"),
    "ranks a list": (lambda b, n: {**b, "ranks": [1, 2, 3]}, "'ranks' must be an object"),
    "ranks null": (lambda b, n: {**b, "ranks": None}, "'ranks' must be an object"),
    "answer missing": (lambda b, n: {**b, "ranks": dict.fromkeys(n[:2], 1)}, "'ranks' lacks answer 3 of 3"),
    "no answer": (lambda b, n: {**b, "ranks": {}}, "'ranks' lacks answer 1, 2, 3 of 3"),
    "answer unknown": (lambda b, n: {**b, "ranks": {**b["ranks"], "x": 1}}, "does not have"),
    "rank 0": (lambda b, n: {**b, "ranks": dict.fromkeys(n, 0)}, "'ranks' holds 0"),
    "rank -1": (lambda b, n: {**b, "ranks": dict.fromkeys(n, -1)}, "'ranks' holds -1"),
    "rank 1.0": (lambda b, n: {**b, "ranks": dict.fromkeys(n, 1.0)}, "'ranks' holds 1.0"),
    "rank true": (lambda b, n: {**b, "ranks": dict.fromkeys(n, True)}, "'ranks' holds True"),
    "rank text": (lambda b, n: {**b, "ranks": dict.fromkeys(n, "1")}, "'ranks' holds '1'"),
    "rank a list": (lambda b, n: {**b, "ranks": dict.fromkeys(n, [1])}, "'ranks' holds [1]"),
    "flags a list": (lambda b, n: {**b, "flags": []}, "'flags' must be an object"),
    "flags of nobody": (lambda b, n: {**b, "flags": {"x": {}}}, "does not have"),
    "flags a word": (lambda b, n: {**b, "flags": {n[0]: "helpful"}}, "must be an object of helpful, honest, harmless"),
    "flag unknown": (lambda b, n: {**b, "flags": {n[0]: {"funny": True}}}, "'flags' has an unknown word"),
    "flag 1": (lambda b, n: {**b, "flags": {n[0]: {"helpful": 1}}}, "A flag is true or false"),
    "flag null": (lambda b, n: {**b, "flags": {n[0]: {"helpful": None}}}, "A flag is true or false"),
    "skip empty": (lambda b, n: {"key": key(), "task": b["task"], "skip": " \n"}, "'skip' must say why"),
    "skip true": (lambda b, n: {"key": key(), "task": b["task"], "skip": True}, "'skip' must say why"),
    "skip long": (lambda b, n: {"key": key(), "task": b["task"], "skip": "x" * 501}, "has 501 characters; at most 500"),
}


def test_bad_votes_get_one_clear_sentence(house):
    ann = house.enter("ann")
    task = ann("/api/next", {})["task"]
    names = [answer["id"] for answer in task["answers"]]
    for name, (change, said) in BAD.items():
        status = 404 if "task" in name else 400
        error = ann("/api/vote", change(ranked(task), names), status)["error"]
        assert said in error, name
        assert error.endswith(".") and "\n" not in error and len(error) < 250, name
    assert house.store.votes() == []
    ann("/api/vote", {"key": key().upper(), "task": task["id"], "skip": "x" * 500})


@pytest.mark.parametrize("path", ["/api/next", "/api/undo", "/api/finish"])
def test_other_bodies_are_read_as_strictly(house, path):
    ann = house.enter("ann")
    assert "must have" in ann(path, {"x": 1}, 400)["error"]
    ann(path, None, 405)


def test_only_the_host_ends_the_session(house):
    assert house.enter("bob")("/api/finish", {}, 403)["error"] == "Only ann, who began this session, can end it."
    assert house.finished == 0
    house.enter("ann")("/api/finish", {})
    assert house.finished == 1


def test_a_database_that_fails_is_told_without_its_place(house, monkeypatch, caplog):
    ann = house.enter("ann")
    body = ranked(ann("/api/next", {})["task"])

    def broken(*_: object) -> None:
        raise StoreError("the database /home/ann/votes.db has no space left on its disk")

    monkeypatch.setattr(house.store, "vote_and_next", broken)
    error = ann("/api/vote", body, 503)["error"]
    assert error == "The votes cannot be reached now. Try again: the same vote sent twice counts once."
    assert "no space left" in caplog.text
    monkeypatch.undo()
    ann("/api/vote", body)
    assert len(house.store.votes()) == 1
