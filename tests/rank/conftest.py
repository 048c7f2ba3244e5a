"""Both databases for the tests of the votes: a SQLite file, and a real PostgreSQL server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from sqlalchemy.engine import URL

from llmtrain.data.records import Message
from llmtrain.rank.database import local
from llmtrain.rank.records import Item
from llmtrain.rank.store import Store


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """Skips without PostgreSQL; fails where LLMTRAIN_TEST_ALL says that nothing may be left out."""
    try:
        with postgres.server() as found:
            yield found
    except postgres.Missing as reason:
        if os.environ.get("LLMTRAIN_TEST_ALL"):
            pytest.fail(f"LLMTRAIN_TEST_ALL is set, but there is {reason}")
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return local(tmp_path / "votes 100%?.db")
    return request.getfixturevalue("server").emptied()


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(url: URL, clock: Clock) -> Iterator[Callable[..., Store]]:
    """open_store(raters_per_prompt) -> a store on the same database, leases of 60 s, under the test's clock."""
    opened: list[Store] = []

    def make(raters_per_prompt: int = 2, lease_seconds: float = 60) -> Store:
        opened.append(Store(url, raters_per_prompt, lease_seconds, clock))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def make_items() -> Callable[[int], list[Item]]:
    """make_items(n) -> items of three answers; some hold what databases choke on."""

    def make(count: int) -> list[Item]:
        return [
            Item.of(
                [Message("user", f"question {number} \0 \ud800 ' \" %s ?")],
                [f"first {number}", "second\n\u202e", "third 🙂"],
                ["sft", "ppo", "base"],
            )
            for number in range(count)
        ]

    return make
