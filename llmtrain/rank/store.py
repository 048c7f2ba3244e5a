"""The votes of people in a database: each acknowledged vote is on the disk exactly once, and none is ever deleted.

A vote comes with a key that the client drew (a UUID): sent again, it is the same vote. A vote taken back is marked, not
removed. One (item, rater) has at most one standing vote; one item at most `raters_per_prompt` votes and promises of a
vote: who gets an item gets a lease on it, and a place that is kept until the lease ends.
"""

import json
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from llmtrain.data.records import Message
from llmtrain.errors import LlmtrainError
from llmtrain.rank import queries
from llmtrain.rank.database import Database
from llmtrain.rank.records import Ballot, Item, Progress, Vote, dense


class Refused(LlmtrainError):
    """A vote that cannot be stored as things are. Its message is a sentence for the rater."""


class Store:
    """Items, votes and leases in the database at `url`, which any number of processes may share.

    raters_per_prompt   votes wanted for an item, skips among them; another number at reopening is the rule from then on
    lease_seconds       how long an item that was handed out waits for its vote before somebody else may get it
    clock               seconds since 1970

    Raises ConfigError for a url of no use; every method raises StoreError when the database fails.
    """

    def __init__(
        self, url: str | URL, raters_per_prompt: int, lease_seconds: float, clock: Callable[[], float] = time.time
    ):
        self._database = Database(url)
        self._wanted, self._lease_seconds, self._clock = raters_per_prompt, lease_seconds, clock
        self._read: dict[str, Item] = {}  # an item never changes

    def close(self) -> None:
        self._database.close()

    def add(self, new: Sequence[Item]) -> int:
        """Add what is not yet there, in this order behind the others; how many were new. Nothing is ever removed."""

        def work(connection: Connection) -> int:
            known = set(connection.scalars(queries.ITEM_IDS))
            missing = {item.id: item for item in new if item.id not in known}
            rows = [
                {"id": item.id, "position": position, "votes": 0, "content": _to_json(item)}
                for position, item in enumerate(missing.values(), start=len(known))
            ]
            if rows:
                connection.execute(queries.ADD_ITEMS, rows)
            return len(rows)

        return self._database.write(work)

    def next(self, rater: str) -> Item | None:
        """What this rater is to judge now: what they hold already, else the item with fewest votes and leases.

        None when no item has a place left for them. Handing out begins the lease, or begins it anew.
        """
        return self._database.write(lambda connection: self._next(connection, rater))

    def vote(self, rater: str, key: str, item: str, ballot: Ballot) -> bool:
        """Store a ballot on the item of this id; True once it is on the disk, False when `key` had been stored before.

        Raises Refused when the key stands for another vote, or the item has no place for one of this rater;
        ValueError when the ballot does not fit the item.
        """
        return self._database.write(lambda connection: self._vote(connection, rater, key, item, ballot))

    def vote_and_next(self, rater: str, key: str, item: str, ballot: Ballot) -> Item | None:
        """vote() and then next(), in one transaction: the disk is waited for once."""

        def work(connection: Connection) -> Item | None:
            self._vote(connection, rater, key, item, ballot)
            return self._next(connection, rater)

        return self._database.write(work)

    def undo(self, rater: str, key: str) -> tuple[Item, Ballot] | None:
        """Take back the newest standing vote of this rater, who gets the item again; None when there is none.

        A repeated `key` gives the same answer and takes nothing back. Raises Refused for a key of somebody else.
        """

        def work(connection: Connection) -> tuple[Item, Ballot] | None:
            taken = connection.execute(queries.BY_UNDO_KEY, {"sent_as": key}).one_or_none()
            if taken is not None and taken.rater != rater:
                raise Refused("This key was used by somebody else: reload the page.")
            if taken is None:
                taken = connection.execute(queries.NEWEST, {"who": rater}).one_or_none()
                if taken is None:
                    return None
                now = self._clock()
                connection.execute(queries.MARK, {"which": taken.number, "now": now, "sent_as": key})
                connection.execute(queries.LESS, {"what": taken.item})
                self._lease(connection, rater, taken.item, now)
            return self._item(connection, taken.item), Ballot.from_json(taken.ballot)

        return self._database.write(work)

    def progress(self, rater: str) -> Progress:
        """How far everyone and this rater are."""

        def work(connection: Connection) -> Progress:
            told = {"who": rater, "wanted": self._wanted}
            counts = connection.execute(queries.BY_COUNT).all()
            raters: dict[str, int] = dict(connection.execute(queries.BY_RATER).tuples().all())
            still_open = sum(many for number, many in counts if number < self._wanted)
            return Progress(
                done=sum(min(number, self._wanted) * many for number, many in counts),
                total=self._wanted * sum(many for _, many in counts),
                mine=raters.get(rater, 0),
                skipped=connection.execute(queries.MY_SKIPS, told).scalar_one(),
                left_for_me=still_open - connection.execute(queries.MINE_OF_OPEN, told).scalar_one(),
                raters=raters,
            )

        return self._database.read(work)

    def complete(self) -> bool:
        """Whether no item wants another vote."""
        return self._database.read(lambda c: c.scalar(queries.WANTING, {"wanted": self._wanted})) is None

    def item(self, item: str) -> Item | None:
        """The item of this id, None when there is none."""
        if item not in self._read:
            content = self._database.read(lambda c: c.scalar(queries.CONTENT, {"what": item}))
            return None if content is None else self._known(item, content)
        return self._read[item]

    def items(self) -> list[Item]:
        """All items, in the order in which they were added."""
        rows = self._database.read(lambda c: c.execute(queries.ITEMS).all())
        return [self._known(row.id, row.content) for row in rows]

    def votes(self) -> list[Vote]:
        """The standing votes, oldest first."""
        items = {item.id: item for item in self.items()}
        rows = self._database.read(lambda c: c.execute(queries.STANDING).all())
        missing = {row.item for row in rows} - items.keys()  # added by another process a moment ago
        items |= {item.id: item for item in (self.items() if missing else [])}
        return [Vote(items[row.item], row.rater, Ballot.from_json(row.ballot), row.time) for row in rows]

    def _next(self, connection: Connection, rater: str) -> Item | None:
        now = self._clock()
        told = {"who": rater, "now": now, "wanted": self._wanted}
        chosen = connection.scalar(queries.HELD, told)
        if chosen is None:
            found = [connection.execute(query, told).one_or_none() for query in (queries.FREE, queries.SHARED)]
            best = min((row for row in found if row), key=lambda row: (row.load, row.position), default=None)
            if best is None:
                return None
            chosen = best.id
        self._lease(connection, rater, chosen, now)
        return self._item(connection, chosen)

    def _vote(self, connection: Connection, rater: str, key: str, item: str, ballot: Ballot) -> bool:
        said = ballot.to_json()
        earlier = connection.execute(queries.BY_KEY, {"sent_as": key}).one_or_none()
        if earlier is not None:
            if (earlier.rater, earlier.item, earlier.ballot) != (rater, item, said):
                raise Refused("This key was used for another vote: reload the page.")
            return False
        now = self._clock()
        self._require_place(connection, rater, item, now)
        _fits(ballot, self._item(connection, item))
        row = dict(key=key, rater=rater, item=item, ballot=said, skipped=ballot.ranks is None, time=now)
        connection.execute(queries.ADD_VOTE, row)
        connection.execute(queries.MORE, {"what": item})
        connection.execute(queries.RELEASE, {"who": rater, "what": item})
        return True

    def _lease(self, connection: Connection, rater: str, item: str, now: float) -> None:
        told = {"who": rater, "what": item, "until": now + self._lease_seconds}
        if not connection.execute(queries.RENEW, told).rowcount:
            connection.execute(queries.GRANT, told)

    def _require_place(self, connection: Connection, rater: str, item: str, now: float) -> None:
        """Raises Refused unless this rater was handed the item and it has a place for them."""
        told = {"who": rater, "what": item, "now": now}
        if connection.scalar(queries.OWN, told) is not None:
            raise Refused("You have judged this prompt already: undo that vote to change it.")
        expires = connection.scalar(queries.EXPIRES, told)
        if expires is None:
            raise Refused("This prompt was never handed to you: reload the page.")
        taken = connection.execute(queries.TAKEN, told).scalar_one()
        if expires <= now:  # whose lease ended has a place only where nobody else holds it
            taken += connection.execute(queries.PROMISED, told).scalar_one()
        if taken >= self._wanted:
            raise Refused("This prompt has got all its votes while you had it; yours was not stored. Reload the page.")

    def _item(self, connection: Connection, item: str) -> Item:
        if item not in self._read:
            return self._known(item, connection.execute(queries.CONTENT, {"what": item}).scalar_one())
        return self._read[item]

    def _known(self, item: str, content: str) -> Item:
        if item not in self._read:
            row = json.loads(content)
            messages = tuple(Message(role, said) for role, said in row["messages"])
            self._read[item] = Item(item, messages, tuple(row["responses"]), tuple(row["sources"]))
        return self._read[item]


def _to_json(item: Item) -> str:
    messages = [[message.role, message.content] for message in item.messages]
    return json.dumps({"messages": messages, "responses": item.responses, "sources": item.sources}, ensure_ascii=True)


def _fits(ballot: Ballot, item: Item) -> None:
    """Raises ValueError unless the ballot ranks every response of the item, or skips it."""
    ranks = ballot.ranks
    if (ranks is None) == (ballot.skip is None):
        raise ValueError("a ballot holds either ranks or the reason of a skip")
    if ranks is not None and (len(ranks) != len(item.responses) or ranks != dense(ranks)):
        raise ValueError(f"{ranks} are no ranks from 1 on of {len(item.responses)} responses")
    if ballot.flags and len(ballot.flags) != len(item.responses):
        raise ValueError(f"{len(ballot.flags)} sets of flags for {len(item.responses)} responses")
