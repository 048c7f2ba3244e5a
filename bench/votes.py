"""Votes under fire: 50 raters at once, the server killed with SIGKILL 20 times, on SQLite and on PostgreSQL.

    python -m bench.votes [--votes 10000] [--raters 50] [--kills 20] [--pause 2]

The real guarded page in a child process, over loopback HTTP. Every rater is a thread with one connection: it comes in
by a one-time link, asks for a task and votes on it; between votes it waits for up to --pause seconds, drawn evenly.
What gets no answer is sent again under its own key until it gets one. At the end every acknowledged vote is looked up
in the database, past the code that stored it.

Latency is what a rater waits: from the first sending of a vote to the whole answer, the next task in it. p50, p95 and
p99 are of votes outside of gaps. A gap begins with a kill and ends when everything that met the dead server has its
answer; votes that were under way within one are counted apart, and the longest wait of all is told.
"""

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL

from llmtrain.data.records import Message
from llmtrain.rank import app, tables
from llmtrain.rank.database import local
from llmtrain.rank.records import Item
from llmtrain.rank.store import Store
from llmtrain.web.doors import Doors
from llmtrain.web.guard import guarded
from llmtrain.web.hosts import names
from llmtrain.web.limits import Limits, Rate
from llmtrain.web.serve import serve
from tests.rank import postgres

PER_PROMPT = 5
ANSWERS = 4
LEASE = 60  # seconds
PATIENCE = 600  # seconds for one database
LIMITS = Limits(person=Rate(1e5, 10**5), people=Rate(1e6, 10**6), strangers=Rate(1e5, 10**5))


def main() -> int:
    """Print the table; 1 when a vote was lost or doubled."""
    parser = argparse.ArgumentParser()
    for name, kind, default in (("votes", int, 10_000), ("raters", int, 50), ("kills", int, 20), ("pause", float, 2.0)):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return _server(Path(asked.serve[0]), int(asked.serve[1]), int(asked.serve[2]))
    print(
        f"{asked.raters} raters, {asked.votes} votes, {asked.kills} kills, pauses up to {asked.pause:g} s, "
        f"{os.cpu_count()} CPU cores\n"
        f"{'database':10} {'votes':>6} {'kills':>5} {'lost':>4} {'doubled':>7} {'p50 ms':>7} {'p95 ms':>7} "
        f"{'p99 ms':>7} {'in gaps':>8} {'sent again':>10} {'longest s':>9} {'votes/s':>7} {'s':>5}"
    )
    wrong = 0
    for kind in ("sqlite", "postgresql"):
        with (
            tempfile.TemporaryDirectory() as folder,
            postgres.server() if kind == "postgresql" else nullcontext() as db,
        ):
            url = db.url if db else local(Path(folder) / "votes.db")
            trial = Trial(Path(folder), url, asked.votes, asked.raters, asked.kills, asked.pause)
            wrong += trial.run(kind)
    return 1 if wrong else 0


def _server(folder: Path, port: int, raters: int) -> int:
    """The child: what `llmtrain rank` builds, with limits that a bench does not meet."""
    parent = os.getppid()
    doors = Doors.keyed(folder / "key", [f"rater-{number}" for number in range(raters)])
    store = Store((folder / "url").read_text(), PER_PROMPT, LEASE)
    key = (folder / "key").read_bytes()
    guarded_app = guarded(
        app.routes(store, doors, key, finish=lambda: None),
        doors=doors,
        hosts=names("127.0.0.1"),
        limits=LIMITS,
        files={},
        page=b"",
    )

    def announce(url: str) -> None:
        print(json.dumps({"url": url, "links": {name: doors.link(name) for name in doors.names}}), flush=True)

    orphaned: Callable[[], bool] = lambda: os.getppid() != parent  # noqa: E731
    serve(guarded_app, host="127.0.0.1", port=port, limits=LIMITS, announce=announce, poll=orphaned)
    return 0


@dataclass
class Trial:
    """One database: the server that is killed, the raters, what they were told."""

    folder: Path
    url: URL
    votes: int
    raters: int
    kills: int
    pause: float
    port: int = 0
    told: dict[str, tuple[str, str, list[int]]] = field(default_factory=dict)  # key -> rater, task, ranks as shown
    waits: list[tuple[float, float, int]] = field(default_factory=list)  # per vote: sent, answered, how often sent
    killed: list[float] = field(default_factory=list)  # when
    back: list[float] = field(default_factory=list)  # when the next server listened
    faults: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, kind: str) -> int:
        """Print the row; how many votes are wrong."""
        (self.folder / "url").write_text(self.url.render_as_string(hide_password=False))
        store = Store(self.url, PER_PROMPT, LEASE)
        store.add(_items(self.votes // PER_PROMPT))
        child, links = self._start()
        began = time.monotonic()
        people = [threading.Thread(target=self._rate, args=(name, token)) for name, token in links.items()]
        for person in people:
            person.start()
        try:
            while not store.complete() and time.monotonic() - began < PATIENCE and not self.faults:
                so_far = len(self.killed)
                if so_far < self.kills and len(self.told) >= (so_far + 1) * self.votes / (self.kills + 1):
                    time.sleep(random.random() * 0.02)
                    self.killed.append(time.monotonic())
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    child, _ = self._start()
                    self.back.append(time.monotonic())
                time.sleep(0.02)
            took = time.monotonic() - began
            time.sleep(1)  # for the last answers
        finally:
            self.over.set()
            for person in people:
                person.join()
            child.kill()
            child.wait()
            store.close()
        return self._report(kind, took)

    def _start(self) -> tuple[subprocess.Popen, dict[str, str]]:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.votes", "--serve", str(self.folder), str(self.port), str(self.raters)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        self.port = int(told["url"].rsplit(":", 1)[1])
        return child, told["links"]

    def _rate(self, name: str, token: str) -> None:
        draw = random.Random(name)
        try:
            visitor = Visitor(self.port, token)
            reply = visitor.insist("/api/next", {}, self.over)[0]
            while not self.over.is_set():
                if reply["task"] is None:
                    time.sleep(0.2)  # the last ones are in other hands
                    reply = visitor.insist("/api/next", {}, self.over)[0]
                    continue
                time.sleep(draw.random() * self.pause)
                reply = self._vote(visitor, name, reply["task"], draw)
        except StopIteration:
            pass
        except Exception as error:
            self.faults.append(f"{name}: {error!r}")

    def _vote(self, visitor: "Visitor", name: str, task: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        key, ranks = str(uuid.uuid4()), [draw.randint(1, ANSWERS) for _ in range(ANSWERS)]
        by_answer = {answer["id"]: rank for answer, rank in zip(task["answers"], ranks, strict=True)}
        began = time.monotonic()
        reply, sendings = visitor.insist("/api/vote", {"key": key, "task": task["id"], "ranks": by_answer}, self.over)
        self.waits.append((began, time.monotonic(), sendings))
        self.told[key] = (name, task["id"], ranks)
        return reply

    def _report(self, kind: str, took: float) -> int:
        url = self.url if kind == "sqlite" else self.url.set(drivername="postgresql+psycopg")
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            stored = connection.execute(sqlalchemy.select(tables.votes)).all()
        engine.dispose()
        by_key = {row.key: row for row in stored}
        lost = sum(
            key not in by_key
            or (by_key[key].rater, by_key[key].item) != (name, task)
            or Counter(json.loads(by_key[key].ballot)["ranks"]) != Counter(_dense(ranks))
            for key, (name, task, ranks) in self.told.items()
        )
        doubled = len(stored) - len({(row.rater, row.item) for row in stored})
        doubled += sum(max(0, many - PER_PROMPT) for many in Counter(row.item for row in stored).values())
        unheard = len(by_key.keys() - self.told.keys())  # stored, though its rater was never told
        gaps = self._gaps()
        calm = sorted(end - sent for sent, end, _ in self.waits if not any(sent < b and end > a for a, b in gaps))
        p50, p95, p99 = (1000 * calm[int(len(calm) * share)] for share in (0.5, 0.95, 0.99))
        print(
            f"{kind:10} {len(stored):6} {len(self.killed):5} {lost:4} {doubled:7} {p50:7.1f} {p95:7.1f} {p99:7.1f} "
            f"{len(self.waits) - len(calm):8} {sum(sendings > 1 for *_, sendings in self.waits):10} "
            f"{max(end - sent for sent, end, _ in self.waits):9.1f} {len(stored) / took:7.0f} {took:5.0f}",
            flush=True,
        )
        missing = self.votes // PER_PROMPT * PER_PROMPT - len(stored)
        for fault in [*self.faults, *([f"{unheard} votes unheard, {missing} not cast"] if unheard or missing else [])]:
            print(f"            {fault}")
        return lost + doubled + unheard + missing + len(self.faults)

    def _gaps(self) -> list[tuple[float, float]]:
        again = [(sent, end) for sent, end, sendings in self.waits if sendings > 1]
        found = []
        for kill, back in zip(self.killed, self.back, strict=True):
            met = [end for sent, end in again if sent < back and end > kill]
            found.append((kill, max(met, default=back)))
        return found


class Visitor:
    """One browser: it comes in by its link, keeps its cookie, and sends again what gets no answer."""

    def __init__(self, port: int, token: str):
        self._port, self._headers = port, {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        answer, _ = self._ask("POST", "/enter", {"token": token})
        self._headers["Cookie"] = str(answer.headers["Set-Cookie"]).split(";")[0]
        self._headers["X-CSRF-Token"] = self._ask("GET", "/api/me")[1]["csrf"]

    def insist(self, path: str, body: dict[str, Any], over: threading.Event) -> tuple[dict[str, Any], int]:
        """The answer, and how often the request was sent. Raises StopIteration when all is over."""
        for sending in range(1, 10_000):
            if over.is_set():
                break
            try:
                return self._ask("POST", path, body)[1], sending
            except (OSError, http.client.HTTPException):
                self._line.close()
                time.sleep(0.05)
        raise StopIteration

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[http.client.HTTPResponse, Any]:
        self._line.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._line.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status} {told}")
        return answer, told


def _items(count: int) -> list[Item]:
    """Of the size of real ones: a question and four answers of some hundred characters."""
    return [
        Item.of(
            [Message("user", f"Question {number}: " + "what is to be done, and why? " * 5)],
            [f"Answer {letter} to {number}. " + "It depends on what is wanted. " * 10 for letter in "abcd"],
            ["sft"] * ANSWERS,
        )
        for number in range(count)
    ]


def _dense(ranks: list[int]) -> list[int]:
    return [1 + sum(other < rank for other in set(ranks)) for rank in ranks]


if __name__ == "__main__":
    raise SystemExit(main())
