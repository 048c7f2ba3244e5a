"""Every test on SQLite and on PostgreSQL."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy

import llmtrain
from llmtrain.rank import tables
from llmtrain.rank.records import Ballot
from llmtrain.rank.store import Refused, Store

BEST_FIRST = Ballot((1, 2, 3), None, ({"helpful": True, "honest": False}, {}, {"harmless": True}))
TIED = Ballot((1, 1, 2), None, ({}, {}, {}))
SKIP = Ballot(None, "not my language")


def key() -> str:
    return str(uuid.uuid4())


def judge(store: Store, rater: str, ballot: Ballot = BEST_FIRST) -> str:
    item = store.next(rater)
    assert item is not None
    assert store.vote(rater, key(), item.id, ballot)
    return item.id


def rows(url: sqlalchemy.URL) -> list[sqlalchemy.Row]:
    """What the table holds, by another road than the store."""
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(tables.votes).order_by(tables.votes.c.number)).all()
        counts = connection.execute(sqlalchemy.select(tables.items.c.id, tables.items.c.votes)).all()
    engine.dispose()
    standing = Counter(row.item for row in found if row.undone is None)
    assert {item: number for item, number in counts if number} == standing
    return list(found)


def test_items_come_back_as_they_were_and_are_never_removed(open_store, make_items):
    store = open_store()
    six = make_items(6)
    assert store.add(six[:4]) == 4
    assert store.add([six[5], six[0], six[4], six[5]]) == 2
    assert open_store().items() == [*six[:4], six[5], six[4]]
    assert store.item(six[2].id) == six[2]
    assert store.item("0" * 64) is None


def test_a_vote_is_told_as_it_was_cast(open_store, make_items, clock):
    store = open_store()
    (item,) = make_items(1)
    store.add([item])
    clock.now = 1_777_777_777.25
    judge(store, "ann", BEST_FIRST)
    judge(store, "bob", SKIP)
    ann, bob = open_store().votes()
    assert (ann.item, ann.rater, ann.ballot, ann.time) == (item, "ann", BEST_FIRST, 1_777_777_777.25)
    assert (bob.item, bob.rater, bob.ballot) == (item, "bob", SKIP)


def test_fewest_votes_first_and_leases_count(open_store, make_items):
    store = open_store(2)
    one, two, three = make_items(3)
    store.add([one, two, three])
    assert store.next("ann") == one
    assert store.next("ann") == one  # a reload
    assert store.next("bob") == two
    assert store.next("cat") == three
    assert store.next("dan") == one
    assert judge(store, "bob") == two.id
    assert store.next("bob") == three  # one has two leases, three has one
    assert store.next("eve") == two  # one vote
    assert store.next("fay") is None
    assert judge(store, "ann") == one.id
    assert store.next("ann") is None  # what is left is held


def test_nobody_judges_an_item_twice(open_store, make_items):
    store = open_store(3)
    items = make_items(2)
    store.add(items)
    assert {judge(store, "ann"), judge(store, "ann")} == {item.id for item in items}
    assert store.next("ann") is None
    with pytest.raises(Refused, match="judged this prompt already"):
        store.vote("ann", key(), items[0].id, TIED)


def test_a_key_is_one_vote(url, open_store, make_items):
    store = open_store()
    store.add(make_items(2))
    mine, item = key(), store.next("ann").id
    assert store.vote("ann", mine, item, BEST_FIRST) is True
    same = Ballot((1, 2, 3), None, ({"honest": False, "helpful": True}, {}, {"harmless": True}))
    assert open_store().vote("ann", mine, item, same) is False
    for rater, which, ballot in [
        ("bob", item, BEST_FIRST),
        ("ann", store.next("ann").id, BEST_FIRST),
        ("ann", item, TIED),
    ]:
        with pytest.raises(Refused, match="key was used for another vote"):
            store.vote(rater, mine, which, ballot)
    assert len(rows(url)) == 1


def test_a_vote_needs_that_the_item_was_handed_out(open_store, make_items):
    store = open_store()
    (item,) = make_items(1)
    store.add([item])
    with pytest.raises(Refused, match="never handed to you"):
        store.vote("ann", key(), item.id, TIED)


@pytest.mark.parametrize(
    "ballot",
    [
        Ballot((1, 2), None),
        Ballot((1, 3, 3), None),
        Ballot((0, 1, 2), None),
        Ballot(None, None),
        Ballot((1, 2, 3), "both"),
        Ballot((1, 2, 3), None, ({},)),
    ],
)
def test_a_ballot_that_does_not_fit_is_not_stored(url, open_store, make_items, ballot):
    store = open_store()
    store.add(make_items(1))
    with pytest.raises(ValueError):
        store.vote("ann", key(), store.next("ann").id, ballot)
    assert rows(url) == []


def test_an_expired_lease_gives_the_place_away(open_store, make_items, clock):
    store = open_store(1, lease_seconds=60)
    (item,) = make_items(1)
    store.add([item])
    assert store.next("ann") == item
    clock.now += 59
    assert store.next("bob") is None
    clock.now += 2
    assert store.next("bob") == item
    with pytest.raises(Refused, match="got all its votes"):
        store.vote("ann", key(), item.id, TIED)
    assert store.vote("bob", key(), item.id, TIED)


def test_who_is_late_still_votes_where_nobody_took_the_place(open_store, make_items, clock):
    store = open_store(1, lease_seconds=60)
    store.add(make_items(1))
    item = store.next("ann").id
    clock.now += 1000
    assert store.vote("ann", key(), item, TIED)


def test_a_reload_begins_the_lease_anew(open_store, make_items, clock):
    store = open_store(1, lease_seconds=60)
    store.add(make_items(1))
    store.next("ann")
    clock.now += 50
    store.next("ann")
    clock.now += 50
    assert store.next("bob") is None


def test_undo_takes_back_the_newest_and_keeps_it_marked(url, open_store, make_items, clock):
    store = open_store(1)
    one, two = make_items(2)
    store.add([one, two])
    judge(store, "ann", SKIP)
    judge(store, "ann", BEST_FIRST)
    mine = key()
    assert store.undo("ann", mine) == (two, BEST_FIRST)
    assert open_store().undo("ann", mine) == (two, BEST_FIRST)  # sent again
    assert [(row.item, row.undone) for row in rows(url)] == [(one.id, None), (two.id, clock.now)]
    assert store.next("bob") is None  # two is held for ann
    assert store.next("ann") == two
    judge(store, "ann", TIED)
    assert [vote.ballot for vote in store.votes()] == [SKIP, TIED]
    assert len(rows(url)) == 3
    with pytest.raises(Refused, match="somebody else"):
        store.undo("bob", mine)
    assert store.undo("ann", key()) == (two, TIED)
    assert store.undo("ann", key()) == (one, SKIP)
    assert store.undo("ann", key()) is None


def test_a_vote_taken_back_does_not_rise_again_when_it_is_sent_again(open_store, make_items):
    store = open_store()
    store.add(make_items(1))
    mine, item = key(), store.next("ann").id
    store.vote("ann", mine, item, TIED)
    store.undo("ann", key())
    assert store.vote("ann", mine, item, TIED) is False
    assert store.votes() == []


def test_progress(open_store, make_items):
    store = open_store(2)
    store.add(make_items(3))
    assert not store.complete()
    judge(store, "ann")
    judge(store, "ann", SKIP)
    judge(store, "bob")
    told = store.progress("ann")
    assert (told.done, told.total, told.mine, told.skipped, told.left_for_me) == (3, 6, 2, 1, 1)
    assert told.raters == {"ann": 2, "bob": 1}
    told = store.progress("cat")
    assert (told.mine, told.skipped, told.left_for_me) == (0, 0, 3)
    for rater in ("ann", "bob", "bob"):
        judge(store, rater)
    assert store.complete()
    told = store.progress("cat")
    assert (told.done, told.left_for_me) == (6, 0)


def test_raters_per_prompt_may_change_between_openings(open_store, make_items):
    store = open_store(2)
    store.add(make_items(1))
    judge(store, "ann")
    judge(store, "bob")
    assert open_store(2).next("cat") is None
    assert open_store(3).next("cat") is not None
    fewer = open_store(1)
    told = fewer.progress("ann")
    assert (told.done, told.total, fewer.complete()) == (1, 1, True)
    with pytest.raises(Refused):  # cat holds it, and the rule is another now
        fewer.vote("cat", key(), fewer.items()[0].id, TIED)


def test_racing_raters_never_exceed_raters_per_prompt(url, open_store, make_items):
    """16 people in two processes' worth of stores; every vote is sent twice at once."""
    stores = [open_store(3), open_store(3)]
    items = make_items(12)
    stores[0].add(items)
    stored, faults = Counter[str](), []

    def send(store: Store, rater: str, mine: str, item: str) -> None:
        try:
            if store.vote(rater, mine, item, TIED):
                stored[mine] += 1
        except Exception as error:
            faults.append(error)

    def rate(number: int) -> None:
        draw, rater = random.Random(number), f"rater {number}"
        while (item := stores[number % 2].next(rater)) is not None:
            mine = key()
            twice = [threading.Thread(target=send, args=(store, rater, mine, item.id)) for store in stores]
            for thread in twice:
                thread.start()
            for thread in twice:
                thread.join()
            if draw.random() < 0.1:
                stores[0].undo(rater, key())

    people = [threading.Thread(target=rate, args=(number,)) for number in range(16)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert faults == []
    found = rows(url)
    standing = [row for row in found if row.undone is None]
    assert set(Counter(row.item for row in standing).values()) == {3}
    assert len(standing) == 36
    assert max(Counter((row.item, row.rater) for row in standing).values()) == 1
    assert {row.key for row in found} == set(stored)
    assert set(stored.values()) == {1}


VOTING = """
import sys, uuid
from llmtrain.rank.records import Ballot
from llmtrain.rank.store import Store
store = Store(sys.argv[1], 1000, 60)
while True:
    rater = str(uuid.uuid4())
    while (item := store.next(rater)) is not None:
        key = str(uuid.uuid4())
        store.vote(rater, key, item.id, Ballot((1, 2, 3)))
        print(key, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(url, open_store, make_items):
    open_store().add(make_items(5))
    acknowledged: list[str] = []
    for number in range(2):
        environment = {**os.environ, "PYTHONPATH": str(Path(llmtrain.__file__).parent.parent)}
        voter = subprocess.Popen(
            [sys.executable, "-c", VOTING, url.render_as_string(hide_password=False)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert voter.stdout is not None
        acknowledged += [voter.stdout.readline().strip() for _ in range(20)]
        time.sleep(0.01 * number)
        voter.send_signal(signal.SIGKILL)
        acknowledged += voter.stdout.read().split()
        voter.wait()
        voter.stdout.close()
    stored = Counter(row.key for row in rows(url))
    assert set(stored.values()) == {1}
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 2  # committed, and killed before it could say so
    judge(open_store(1000), "ann")
